"""Names of networks on the Hub: hf:NAMESPACE/NAME, with @REVISION for a branch, a tag or a commit."""

import re
from dataclasses import dataclass
from importlib.util import find_spec

from gradsculpt.errors import ArgumentError, ModelError, did_you_mean

PREFIX = "hf"

FORM = "hf:NAMESPACE/NAME"

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@(.*))?", re.DOTALL)
_REVISION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./+-]{0,198}[A-Za-z0-9_+-])?")
_ADDRESS = re.compile(rf"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/({_PART}/{_PART})(?:/.*)?")
_OTHERS = re.compile(rf"hf[_-]hub:({_PART}/{_PART})(?:@.*)?")
_LICENSE = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,48}[a-z0-9])?")
_LICENSES = ("mit", "apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "cc0-1.0", "bsd-3-clause", "gpl-3.0")


@dataclass(frozen=True)
class HubName:
    """A network on the Hub.

    Args:
        repository: Its namespace and name.
        revision: A branch, a tag or a commit; None for what is newest.

    Example:
        >>> print(HubName("somebody/cells", "v1"), HubName("somebody/cells").name)
        hf:somebody/cells@v1 cells
    """

    repository: str
    revision: str | None = None

    @property
    def name(self) -> str:
        """Its name without the namespace."""
        return self.repository.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{PREFIX}:{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_hub(word: str) -> bool:
    """Tell the name of a network on the Hub, spelled well or not, from other words.

    Example:
        >>> is_hub("hf:somebody/cells"), is_hub("runs/en"), is_hub("hf:")
        (True, False, False)
    """
    prefix, _, rest = word.partition(":")
    return prefix == PREFIX and bool(rest)


def parse(text: str, said: str = "") -> HubName:
    """Return what a name says, with hf: before it or without; raise `ArgumentError` if it can be no repository's.

    Args:
        text: The name.
        said: What names it, such as an option; nothing for a word.

    Example:
        >>> parse("hf:somebody/cells@v1")
        HubName(repository='somebody/cells', revision='v1')
    """
    text, where = str(text), f"{said} {text}".strip()
    found = _NAME.fullmatch(text.removeprefix(f"{PREFIX}:"))
    if found is None or any(mark in found[1] for mark in ("--", "..")) or found[1].endswith(".git"):
        raise ArgumentError(
            f"{where} is no name of a repository on the Hub, which has a namespace and a name of letters, digits, -, _ "
            f"and ., and one / between them; write {FORM}, and @REVISION after it for a branch, a tag or a commit."
            f"{likely(text)}"
        )
    if found[2] is not None:
        check_revision(found[2], where)
    return HubName(found[1], found[2])


def check_revision(text: str, said: str) -> None:
    """Raise `ArgumentError` if nothing on the Hub can be a revision of a name; `said` is what names it."""
    if not _REVISION.fullmatch(text) or any(mark in text for mark in ("..", "//", "/.")) or text.endswith(".lock"):
        raise ArgumentError(
            f"{said}: {text!r} can be no revision of a repository; write the name of a branch or a tag, or a commit."
        )


def likely(word: str) -> str:
    """Return the question that ends the message about a word that is the address of a repository.

    Example:
        >>> likely("https://huggingface.co/somebody/cells/tree/main"), likely("runs/en")
        (' Did you mean hf:somebody/cells?', '')
    """
    found = _ADDRESS.fullmatch(word.removeprefix(f"{PREFIX}:")) or _OTHERS.fullmatch(word)
    return f" Did you mean {PREFIX}:{found[1]}?" if found else ""


def check_installed(what: str) -> None:
    """Raise `ModelError` if the library of the Hub is not installed, for which something is needed."""
    if find_spec("huggingface_hub") is None:
        raise ModelError(
            f"{what} needs the package huggingface_hub, which is not installed; install it with: "
            "pip install 'gradsculpt[hub]'"
        )


def check_license(text: str) -> None:
    """Raise `ArgumentError` if terms go by no such name on the Hub.

    Example:
        >>> check_license("cc-by-4.0")
    """
    if not _LICENSE.fullmatch(text):
        near = did_you_mean(text.lower().replace(" ", "-"), _LICENSES, 2)
        raise ArgumentError(
            f"--license {text} is no name that the Hub has for terms: those are small letters, digits, - and ., "
            f"such as {', '.join(_LICENSES[:4])}, or other.{near}"
        )
