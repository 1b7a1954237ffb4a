"""What goes wrong with the Hub, in one line each."""

from collections.abc import Callable

from gradsculpt.accidents import told
from gradsculpt.errors import GradsculptError, ModelError, first_line
from gradsculpt.hub.names import HubName
from gradsculpt.wording import printable

_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
LOG_IN = "`hf auth login`, or a token in HF_TOKEN"

_SERVER = 500


class AbsentError(ModelError):
    """A repository lacks a file."""


def is_away(error: BaseException) -> bool:
    """Tell whether the Hub could not be asked, or could not answer: what was fetched before may then be used."""
    status = _status(error)
    if status is not None:
        return status >= _SERVER
    client = type(error).__module__.partition(".")[0] in _CLIENTS
    return client or isinstance(error, ConnectionError | TimeoutError) or _named(error, "LocalEntryNotFoundError")


def refusal(error: Exception, name: HubName, failed: str, kind: type[GradsculptError] = ModelError) -> GradsculptError:
    """Return the error of ours that tells of one of the Hub's library.

    Args:
        error: What the library raised.
        name: The repository.
        failed: What did not happen, to follow "so".
        kind: Which error it becomes, if it is no accident of this machine.
    """
    if isinstance(error, GradsculptError):
        return error
    for kinds, told_of in _TOLD:
        if _named(error, *kinds):
            return kind(told_of(name, failed))
    if (status := _status(error)) is not None:
        return kind(_refused(status, error, name, failed))
    if is_away(error):
        return kind(
            f"{endpoint()} cannot be reached ({_reason(error)}), so {failed}; check the connection, and HF_ENDPOINT "
            "if it is set, and call it again."
        )
    if isinstance(error, OSError) and error.errno is not None and (accident := told(error)) is not None:
        return kind(f"{name} does not get into the Hub's cache {_cache()}: {accident} HF_HOME puts it elsewhere.")
    return kind(f"the Hub's library failed at {name} ({_reason(error)}), so {failed}; call it again.")


def endpoint() -> str:
    """Return the address of the Hub."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _of_gated(name: HubName, failed: str) -> str:
    return (
        f"{name.repository} is open to those alone who have accepted its terms, so {failed}; accept them at "
        f"{endpoint()}/{name.repository}, and log in: {LOG_IN}."
    )


def _of_nothing(name: HubName, failed: str) -> str:
    return (
        f"there is no repository {name.repository} at {endpoint()}, or it is private, so {failed}; check its name, or, "
        f"if it is private, log in: {LOG_IN}."
    )


def _of_no_revision(name: HubName, failed: str) -> str:
    return (
        f"{name.repository} has no revision {name.revision or 'main'}, so {failed}; name one of its branches, tags or "
        f"commits, listed at {endpoint()}/{name.repository}/tree/main, or leave @ and what follows away."
    )


def _of_offline(name: HubName, failed: str) -> str:
    return (
        f"HF_HUB_OFFLINE is set, and {name} was not fetched before, so {failed}; unset it, or fetch the network once "
        "while there is a connection."
    )


def _of_disabled(name: HubName, failed: str) -> str:
    return f"{name.repository} was closed by its owner or by the Hub, so {failed}; ask its owner, or name another."


_TOLD: tuple[tuple[tuple[str, ...], Callable[[HubName, str], str]], ...] = (
    (("GatedRepoError",), _of_gated),
    (("RepositoryNotFoundError",), _of_nothing),
    (("RevisionNotFoundError",), _of_no_revision),
    (("DisabledRepoError",), _of_disabled),
    (("OfflineModeIsEnabled",), _of_offline),
)
"""The errors of the library that say all by their names, which differ less between its versions than their homes."""


def _refused(status: int, error: Exception, name: HubName, failed: str) -> str:
    facts = {
        401: ("the Hub does not take the token that is set", f"log in again: {LOG_IN}"),
        402: ("the Hub wants to be paid for that", "see the settings of the account there"),
        403: (f"this token gives no right to that in {name.repository}", f"use another: {LOG_IN}"),
        413: ("a file is larger than the Hub takes", "share a smaller network"),
        429: ("the Hub has had too many requests from here", "wait some minutes, and call it again"),
    }
    usual = (f"the Hub is out of order (status {status})", "call it again later")
    other = (f"the Hub refuses it ({_reason(error)})", "mend what it names, and call it again")
    fact, mend = facts.get(status) or (usual if status >= _SERVER else other)
    return f"{fact}, so {failed}; {mend}."


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _named(error: BaseException, *names: str) -> bool:
    return any(cls.__name__ in names for cls in type(error).__mro__)


def _reason(error: BaseException) -> str:
    """Return what an error says in its last words: the library puts an address and a number in front of them."""
    from huggingface_hub import get_token

    said = getattr(error, "server_message", None) or first_line(error, kind=False).rstrip(":.")
    text = " ".join(str(said).split()) or type(error).__name__
    token = get_token()
    return printable(text.replace(token, "***") if token else text)
