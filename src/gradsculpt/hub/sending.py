"""Files into a repository of the Hub, as one commit."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gradsculpt.errors import GradsculptError, RunError
from gradsculpt.hub.faults import LOG_IN, endpoint, refusal
from gradsculpt.hub.fetching import check_ours
from gradsculpt.hub.names import HubName, check_installed
from gradsculpt.hub.quiet import PATIENCE, quietly
from gradsculpt.runs import PUBLISHED
from gradsculpt.wording import one_line

_FAILED = "nothing was sent"


def check_may_send() -> None:
    """Raise an error if the library is not installed, nobody is logged in, or the Hub is not to be reached on purpose.

    Nothing is asked over the net.
    """
    check_installed("push")
    with quietly():
        from huggingface_hub import constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise RunError(
                f"HF_HUB_OFFLINE is set, so {_FAILED}; unset it, or pass --out FOLDER to keep the files here."
            )
        if not get_token():
            raise RunError(f"nobody is logged in to {endpoint()}, so {_FAILED}; log in: {LOG_IN}.")


def send(files: Mapping[str, bytes], target: HubName, *, private: bool, replaces: Collection[str], message: str) -> str:
    """Put files into a repository, which is made if need be, as one commit on a branch, and return its address.

    Args:
        files: What goes there, by name.
        target: The repository; its revision is a branch, which is made if need be, None for the main one.
        private: Whether others may not see it; one that is there and public is then an error.
        replaces: Names of files that are removed if they are there and not among the new ones.
        message: Of the commit.

    Raises: RunError or ModelError if it cannot be done.
    """
    with quietly():
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        api, repository = HfApi(library_name="gradsculpt"), target.repository
        try:
            api.create_repo(repository, private=private or None, exist_ok=True)
            known = api.model_info(repository, timeout=PATIENCE)
            _check_suits(api, target, known, private=private)
            there = _names(known)
            if target.revision is not None:
                api.create_branch(repository, branch=target.revision, exist_ok=True)
                there = _names(api.model_info(repository, revision=target.revision, timeout=PATIENCE))
            gone = sorted(set(replaces) & there - set(files))
            operations: list[Any] = [CommitOperationAdd(name, content) for name, content in files.items()]
            operations += [CommitOperationDelete(name) for name in gone]
            api.create_commit(repository, operations, commit_message=message, revision=target.revision)
        except GradsculptError:
            raise
        except Exception as error:
            raise refusal(error, target, "no commit was made there", RunError) from error
    return f"{endpoint()}/{repository}" + (f"/tree/{target.revision}" if target.revision else "")


def _check_suits(api: Any, target: HubName, known: Any, *, private: bool) -> None:
    """Raise an error if a repository is public that must not be, or holds the network of another library."""
    if private and not known.private:
        raise RunError(
            f"{target.repository} is there already, and everybody can see it, so {_FAILED} to it as --private; make it "
            f"private at {endpoint()}/{target.repository}/settings, or push to another name."
        )
    if PUBLISHED in _names(known):
        path = Path(api.hf_hub_download(target.repository, PUBLISHED, etag_timeout=PATIENCE))
        try:
            check_ours(target, path)
        except GradsculptError as error:
            raise RunError(
                f"{target.repository} holds something else already ({one_line(str(error)).partition(';')[0]}), which "
                f"would be overwritten, so {_FAILED}; push to another name."
            ) from error


def _names(known: Any) -> set[str]:
    return {each.rfilename for each in known.siblings or ()}
