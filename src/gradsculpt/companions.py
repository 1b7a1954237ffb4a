"""Processes that do a part of this one's work: the same command once more, and why one of them ended."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

_LINE = "gradsculpt: "  # begins what a command says when it ends


class Companion(NamedTuple):
    """A process beside this one, and the file that has what it says on standard error."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]

    @classmethod
    def started(cls, words: Sequence[str], environment: Mapping[str, str]) -> "Companion":
        """Start this process's program with other words, in this environment with some changes."""
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        program = [os.path.abspath(sys.argv[0])] if spec is None else ["-m", spec.name]
        command = [sys.executable, *flags, *program, *words]
        said = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process lives
        process = subprocess.Popen(  # noqa: S603 - this program, with words of its own
            command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=said, stdin=subprocess.DEVNULL
        )
        return cls(process, said)

    def failure(self, name: str) -> str:
        """Return why it ended, in its own words if it had any for that; empty while it goes on or if all went well."""
        if not (status := self.process.poll()):
            return ""
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        told = [line.removeprefix(_LINE) for line in lines if line.startswith(_LINE)]
        if told and status == 2:
            return told[-1].rstrip(".")
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"{name} ended {how}" + (f" ({lines[-1]})" if lines else "")


def end(companions: Sequence[Companion], patience: float = 0.0) -> None:
    """End processes, after they had some seconds to do so by themselves."""
    until = time.monotonic() + patience
    for each in companions:
        with suppress(subprocess.TimeoutExpired):
            each.process.wait(max(0.0, until - time.monotonic()))
        each.process.kill()
        each.process.wait()
