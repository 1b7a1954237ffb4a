"""Where the page is served, and where it keeps its files: an address of this machine, a folder that goes with it."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradsculpt.errors import ArgumentError

HOST, PORT = "127.0.0.1", 7860

UPLOADS = "gradio"
"""Where within the temporary folder Gradio keeps what is uploaded, and what may be downloaded."""

_TRIED = 100  # ports after the usual one, if none is asked for
_PREFIX = "gradsculpt-view-"

# Nothing is sent anywhere, and nobody is asked whether there is a newer Gradio.
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
_LOCAL = ("NO_PROXY", "no_proxy")


def free_port(wanted: int | None, host: str = HOST) -> int:
    """Return the port that is asked for, or the first free one from `PORT` on; `ArgumentError` if it is in use."""
    for port in [wanted] if wanted is not None else range(PORT, PORT + _TRIED):
        with socket.socket() as tried, suppress(OSError):
            # As servers do: a port whose last connections are only fading away is free.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            return port
    if wanted is None:
        raise ArgumentError(f"no port from {PORT} to {PORT + _TRIED - 1} is free; pass --port with one that is.")
    raise ArgumentError(
        f"--port {wanted} is in use or not allowed, perhaps by another `gradsculpt view`; pass another one, or leave "
        "--port away for the first that is free."
    )


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder for everything that is written, which is removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def environment(folder: Path) -> Iterator[None]:
    """Within the block, Gradio keeps its files in the folder, reports to nobody, and asks no proxy for this machine."""
    before = dict(os.environ)
    os.environ |= {**_QUIET, "GRADIO_TEMP_DIR": str(folder / UPLOADS)}
    for name in _LOCAL:
        os.environ[name] = ",".join(filter(None, [os.environ.get(name, ""), HOST, "localhost"]))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
