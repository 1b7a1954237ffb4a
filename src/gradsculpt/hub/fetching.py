"""A network of the Hub in a folder of this machine: a stranger's run, of which the named files alone are fetched."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gradsculpt.errors import ModelError, RunError, first_line
from gradsculpt.hub.faults import AbsentError, is_away, refusal
from gradsculpt.hub.names import HubName, check_installed
from gradsculpt.hub.quiet import PATIENCE, quietly
from gradsculpt.machine import free_memory
from gradsculpt.reading import LARGEST, SETTINGS, read_json
from gradsculpt.runs import CONFIG, PUBLISHED, WEIGHTS
from gradsculpt.wording import size_of

LIBRARY = "gradsculpt"
"""What the files of the Hub name as the library that reads them."""

_LARGEST_WEIGHTS = 64 << 30  # bytes, where nobody knows how much memory there is
_SLOW = 20_000_000  # bytes, of which it is told that they are fetched


def fetch(name: HubName, tell: Callable[[str], object] = lambda line: None) -> Path:
    """Return the folder of the Hub's own cache with a network: its description, weights and settings, and no more.

    They are of one commit. No code is run, no pickle fetched, and nothing that is larger than it may be. What is in the
    cache is not fetched again, and is used where the Hub cannot be reached.

    Args:
        name: Which network.
        tell: Told, in a line, what takes long.

    Raises: ModelError if it cannot be had, is no network of gradsculpt's, or the library of the Hub is not installed.
    """
    check_installed(str(name))
    with quietly():
        try:
            description = _file(name, PUBLISHED, name.revision, LARGEST, tell)
        except AbsentError:
            raise ModelError(_stranger(name, {})) from None
        check_ours(name, description)
        folder, most = description.parent, free_memory() or _LARGEST_WEIGHTS
        try:
            _file(name, WEIGHTS, folder.name, most, tell)
        except AbsentError as error:
            raise ModelError(
                f"{error}; weights of another kind, such as pickles, are not read, as opening them runs code. Ask for "
                f"the repository to be made by `gradsculpt push`."
            ) from None
        with suppress(AbsentError):
            _file(name, CONFIG, folder.name, SETTINGS, tell)
    return folder


@contextmanager
def fetched(name: HubName, tell: Callable[[str], object] = lambda line: None) -> Iterator[Path]:
    """Yield the folder that `fetch` returns; a `RunError` of what is in it, while the block lasts, says where it is."""
    folder = fetch(name, tell)
    try:
        yield folder
    except RunError as error:
        raise RunError(
            f"{error} It is what was fetched of {name}: delete {folder.parents[1]}, and it is fetched again; what is "
            "damaged on the Hub as well, its owner has to push again."
        ) from error


def check_ours(name: HubName, path: Path) -> None:
    """Raise `ModelError` unless a description is of a network of gradsculpt's."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the {PUBLISHED} of {name} cannot be read ({first_line(error, kind=False)}), so nothing is known of the "
            "network; name another, or another revision."
        ) from error
    if not isinstance(content, Mapping) or content.get("library_name") != LIBRARY:
        raise ModelError(_stranger(name, content if isinstance(content, Mapping) else {}))


def _stranger(name: HubName, content: Mapping[str, Any]) -> str:
    """Return what to say of a repository of another library, and how its network is had."""
    if "pretrained_cfg" in content or name.repository.startswith("timm/"):
        network = name.name if name.repository.startswith("timm/") else content.get("architecture", "NAME")
        given = "--weights default" if name.repository.startswith("timm/") else "--weights FILE, its model.safetensors"
        return f"{name} is a network of timm, and not of gradsculpt; name it so: timm:{network} {given}."
    if {"model_type", "architectures", "transformers_version"} & set(content):
        return (
            f"{name} is a network of transformers, and not of gradsculpt; load it there, and pass the module to "
            "gradsculpt.attributions in Python, or name a function that returns it: python:MODULE:FACTORY."
        )
    fact = f"whose {PUBLISHED} says how it is built" if content else f"as it has no {PUBLISHED}"
    return (
        f"{name} holds no network of gradsculpt's, {'of another library ' if content else ''}{fact}; name a repository "
        "that `gradsculpt push` has made."
    )


def _file(name: HubName, file: str, revision: str | None, most: int, tell: Callable[[str], object]) -> Path:
    """Return a file of a revision in the cache, where it is put if need be; `AbsentError` if there is none."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    given: dict[str, Any] = {"repo_id": name.repository, "filename": file, "revision": revision}
    failed = "the network cannot be opened"
    if revision is not None and isinstance(there := try_to_load_from_cache(**given), str) and _is_of(there, revision):
        return Path(there)
    try:
        size = get_hf_file_metadata(hf_hub_url(**given), timeout=PATIENCE).size or 0
    except Exception as error:
        if _lacks(error):
            raise AbsentError(f"{name} has no {file}") from error
        if is_away(error):
            with suppress(Exception):
                return Path(hf_hub_download(**given, local_files_only=True))
        raise refusal(error, name, failed) from error
    if size > most:
        raise ModelError(
            f"{file} of {name} has {size_of(size)}, and {size_of(most)} are the most that can be taken here, so it was "
            "not fetched; name another network, or a machine with more memory."
        )
    if size > _SLOW:
        tell(f"fetching {name}, {size_of(size)}, unless it is there already")
    try:
        return Path(hf_hub_download(**given, etag_timeout=PATIENCE))
    except Exception as error:
        raise refusal(error, name, failed) from error


def _is_of(path: str, revision: str) -> bool:
    """Tell whether a file of the cache is of a commit, which never changes, and not of a branch, which may have."""
    return Path(path).parent.name == revision


def _lacks(error: Exception) -> bool:
    return any(cls.__name__ in ("RemoteEntryNotFoundError", "EntryNotFoundError") for cls in type(error).__mro__) and (
        not is_away(error)
    )
