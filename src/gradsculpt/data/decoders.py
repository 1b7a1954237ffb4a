"""Processes that decode images: Pillow's work on small files holds the interpreter's lock, of which each has its own.

They are plain children that read from their standard input: the main program is not imported again, as by
multiprocessing, so scripts and notebooks need no guard, and a child ends when its input does, however its parent ended.
"""

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from gradsculpt.data.decode import ROOMS, NotReadError, decode_with_size
from gradsculpt.errors import DataError

if TYPE_CHECKING:
    from gradsculpt.data.base import Bytes

_FEW = 2000  # files that are decoded before the processes would have started
_PATIENCE = 5.0  # seconds for a process to end
_START = "import sys; sys.path[:] = {path!r}; from gradsculpt.data.decoders import serve; serve()"


class Decoders:
    """Decodes files in a number of processes, for as many threads at once; in the calling thread if there are none.

    What a process cannot decode, the calling thread tries too: it may know formats that were made known to Pillow here.
    It also does the work of a process that was killed. To be used as a context, at whose end the processes end.

    Args:
        files: Number of files to come; for a few, no processes are started.
        processes: Their number; one alone would do no more than the thread that waits for it.
    """

    def __init__(self, files: int, processes: int) -> None:
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._count = processes if files >= _FEW and processes > 1 else 0

    def __call__(self, files: Sequence[Path], size: int) -> "list[tuple[Bytes, tuple[int, int]] | DataError]":
        """Return what `decode_with_size` returns or raises for each file; a `NotReadError` is raised."""
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            return [_decoded(file, size) for file in files]
        try:
            answers = _asked(process, (list(map(os.fspath, files)), size))
        except (OSError, EOFError, pickle.UnpicklingError):
            _end(process)
            return [_decoded(file, size) for file in files]
        self._idle.put(process)
        return [
            _decoded(file, size)
            if answer is None
            else (np.frombuffer(answer[0], np.uint8).reshape(size, size, 3), answer[1])
            for file, answer in zip(files, answers, strict=True)
        ]

    def __enter__(self) -> "Decoders":
        with suppress(OSError):  # no more processes may be had, or there is no interpreter of its own
            for _ in range(self._count):
                self._idle.put(_started())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for process in idle:  # all of them before any is waited for
            with suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
        for process in idle:
            _end(process)


def serve() -> None:
    """Answer requests on standard input until it ends; for each file, bytes and size of the whole, or None."""
    # Ctrl-C reaches all processes of a terminal: the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ROOMS.total = 0  # images that take much memory are the parent's, whose threads share a limit
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    with suppress(EOFError, OSError):
        while True:
            files, size = pickle.load(requests)  # noqa: S301 - of the parent
            pickle.dump([_answer(Path(file), size) for file in files], answers)
            answers.flush()


def _answer(file: Path, size: int) -> tuple[bytes, tuple[int, int]] | None:
    try:
        image, whole = decode_with_size(file, size)
    except DataError:
        return None
    return image.tobytes(), whole


def _decoded(file: Path, size: int) -> "tuple[Bytes, tuple[int, int]] | DataError":
    try:
        return decode_with_size(file, size)
    except NotReadError:
        raise
    except DataError as error:
        return error


def _started() -> "subprocess.Popen[bytes]":
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    command = [sys.executable or "", "-c", _START.format(path=sys.path)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **one}
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, env=environment)  # noqa: S603 - this code


def _asked(process: "subprocess.Popen[bytes]", request: object) -> Any:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    pickle.dump(request, process.stdin)
    process.stdin.flush()
    return pickle.load(process.stdout)  # noqa: S301 - of our own process


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
