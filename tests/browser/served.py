"""The page as a user has it: a server in a process of its own, which is watched, and ended by Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib

PATIENCE = 90.0
"""Seconds that anything may take on a machine that has a lot to do."""

# Python imports it in every process that has its folder on the path: it writes down every host that is asked for.
_WATCH = """
import os, sys
_asked = os.open(os.environ["ASKED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def _watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        os.write(_asked, f"{arguments[0]}\\n".encode())
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        os.write(_asked, f"{arguments[1][0]}\\n".encode())
sys.addaudithook(_watch)
"""
LOCAL = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0", "None", ""})


class Server:
    """`gradsculpt view` in a process of its own, all of whose folders are below one.

    Args:
        place: An empty folder, in which it gets a home, a folder of temporary files, and one to work in.
        words: Its arguments.
    """

    def __init__(self, place: Path, words: Sequence[str] = ()) -> None:
        self.place, self._asked, self._log = place, place / "asked", place / "log"
        self.temporary = place / "temporary"
        place.mkdir(exist_ok=True)
        for name in ("home", "temporary", "work", "site"):
            (place / name).mkdir()
        (place / "site" / "sitecustomize.py").write_text(_WATCH)
        self.port = _free_port()
        command = [sys.executable, "-m", "gradsculpt", "view", *words, "--port", str(self.port)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=place / "work",
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_heed_interrupts,
            )

    def _environment(self) -> dict[str, str]:
        path = filter(None, [str(self.place / "site"), os.environ.get("PYTHONPATH")])
        home = self.place / "home"
        folders = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "TMPDIR": str(self.temporary)}
        folders["MPLCONFIGDIR"] = matplotlib.get_configdir()  # its list of fonts, which is made once for all programs
        return {**os.environ, **folders, "PYTHONPATH": os.pathsep.join(path), "ASKED": str(self._asked)}

    @property
    def said(self) -> str:
        """What it has written to its terminal."""
        return self._log.read_text()

    @property
    def hosts(self) -> set[str]:
        """The hosts that it has asked for, without this machine's own names."""
        return set(self._asked.read_text().split("\n")) - LOCAL

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def address(self) -> str:
        """Wait until it serves, and return the address that it prints."""
        end = time.monotonic() + PATIENCE
        while not (printed := re.search(r"^The page is at (http://\S+);", self.said, re.MULTILINE)):
            if not self.runs or time.monotonic() > end:
                raise AssertionError(f"the page was not served: {self.said}")
            time.sleep(0.2)
        return printed[1]

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the status with which it ends."""
        if self.runs:
            self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """End it in any case."""
        if self.runs:
            try:
                self.interrupt()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def files(self) -> set[str]:
        """Return what lies in its folders and above them, but the temporary ones."""
        above = self.place.parent
        written = (path for path in above.rglob("*") if self.temporary not in path.parents)
        return {path.relative_to(above).as_posix() for path in written}


def _heed_interrupts() -> None:
    """Let Ctrl-C end the process, although this one may have been started in the background, where it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])
