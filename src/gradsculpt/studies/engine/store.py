"""Results on disk: a folder a task, which counts once it says that it is done."""

import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradsculpt.errors import RunError
from gradsculpt.files import drafts, strict_json, sweep, whole
from gradsculpt.links import inside
from gradsculpt.locks import LOCK, locked, writer
from gradsculpt.machine import cores
from gradsculpt.reading import read_json

TASKS, CACHE, RUN = "tasks", "cache", "run"
"""In the folder of all results: that of tasks, and that of decoded images; and in the folder of a training, its run."""

LOG = "log.txt"

_DONE, _FAILED, _TOLD = "done.json", "failed.json", "task.json"
_SPENT = "seconds_spent"
_BEAT = 20.0  # seconds between two notes of the time that was spent, of which a killed process loses the last


class BusyError(RunError):
    """Another process is doing the task, or has just done it."""


@dataclass(frozen=True)
class Store:
    """The results of tasks by key, in a folder that any number of processes and machines may share.

    Args:
        root: The folder of all results.
    """

    root: Path

    def folder(self, key: str) -> Path:
        """Return the folder of a task, whether it is there or not."""
        return self.root / TASKS / key

    def run(self, key: str) -> Path:
        """Return the run directory of a training."""
        return self.folder(key) / RUN

    def done(self, key: str) -> Mapping[str, Any] | None:
        """Return what is noted of a task that is done: seconds and machine; None if it is not, or damaged."""
        content = _read(self.folder(key) / _DONE)
        return content if content is not None and content.get("key") == key else None

    def failed(self, key: str) -> str | None:
        """Return why a task failed when it was last tried; None if it did not."""
        content = _read(self.folder(key) / _FAILED)
        return None if content is None else str(content.get("error"))

    def writer(self, key: str) -> str | None:
        """Return who works on a task at the moment, in words; None if nobody does but this very thread."""
        told = writer(self.folder(key))
        if (self.folder(key) / LOCK).exists():
            # It may have been killed, on another machine, or its number may be another process's by now: whoever is
            # alive has the lock, and one that nobody has goes.
            with suppress(RunError), locked(self.folder(key), "study", lambda line: None, LOCK):
                return None
        return told

    @contextmanager
    def work(self, key: str, told: Mapping[str, Any]) -> Iterator[Path]:
        """Yield the folder of a task to work in, which nobody else works in; it is done when the block ends.

        What an earlier, interrupted try left there is there still, and the time that it took counts. If the block
        fails, why is noted. `told` is what the task is, for whoever looks into the folder.

        Raises:
            BusyError: If another process works on it, or has done it meanwhile.
            RunError: If the folder cannot be written to.
        """
        folder = inside(self.root / TASKS, key)
        inside(self.root, TASKS), inside(self.root, CACHE)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder, "study", lambda line: None, LOCK))
            except RunError as error:
                raise BusyError(str(error)) if writer(folder) else error from error
            if self.done(key) is not None:
                raise BusyError(f"{folder} was done by another process meanwhile; read it there.")
            for name in drafts(folder):
                sweep(folder / name)
            before = float((_read(folder / _TOLD) or {}).get(_SPENT, 0.0))
            with suppress(OSError):
                (folder / _FAILED).unlink(missing_ok=True)
            try:
                with _timed(folder / _TOLD, {"key": key, **told}, before) as spent:
                    yield folder
            except Exception as error:
                with suppress(RunError):
                    _write(folder / _FAILED, {"error": str(error) or type(error).__name__})
                raise
            _write(folder / _DONE, {"key": key, "seconds": round(spent(), 2), "machine": _machine()})


@contextmanager
def _timed(path: Path, told: Mapping[str, Any], before: float) -> Iterator[Callable[[], float]]:
    """Keep a file that tells of a task and of the time that it took so far; yield a function that returns this time."""
    started, ended = time.monotonic(), threading.Event()

    def spent() -> float:
        return before + time.monotonic() - started

    def note() -> None:
        _write(path, {**told, _SPENT: round(spent(), 2)})

    def beat() -> None:
        while not ended.wait(_BEAT):
            with suppress(RunError):
                note()

    note()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield spent
    finally:
        ended.set()
        thread.join()
        with suppress(RunError):
            note()


def _machine() -> dict[str, Any]:
    """Return the kind of machine that this is, and the versions that results may depend on."""
    gpu = None
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    kind = {"processor": platform.processor() or platform.machine(), "threads": cores().threads, "gpu": gpu}
    packages = {name: _version(name) for name in ("torch", "gradsculpt")}
    return {**kind, "python": platform.python_version(), **packages}


def _version(package: str) -> str | None:
    """Return the version of a package; None if it was not installed, as where a cluster sends it along."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        content = read_json(path)
        return content if isinstance(content, dict) else None
    return None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    try:
        with whole(path) as draft:
            draft.write_bytes(strict_json(content, indent=2) + b"\n")
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}), so the result would be lost; make room there, or "
            "pass another --out."
        ) from error
