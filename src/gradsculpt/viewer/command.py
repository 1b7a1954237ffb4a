"""`gradsculpt view`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gradsculpt.cli.limits import at_least
from gradsculpt.cli.networks import NETWORKS, add_data_options, add_weight_options, check_named
from gradsculpt.cli.parser import Options, Parser, command_parser
from gradsculpt.cli.process import prepare
from gradsculpt.errors import ArgumentError, GradsculptError
from gradsculpt.progress import Reporter

if TYPE_CHECKING:
    from gradsculpt.viewer.subjects import Subjects

HOST, PORT = "127.0.0.1", 7860

_EXAMPLES = (
    "gradsculpt view runs/std runs/en",
    "gradsculpt view --model torchvision:resnet18 --weights default --data folder:photos",
    "gradsculpt view",
)
_TRIED = 100  # ports after the usual one, if none is asked for
_PREFIX = "gradsculpt-view-"

# Nothing is sent anywhere, and nobody is asked whether there is a newer Gradio.
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
_LOCAL = ("NO_PROXY", "no_proxy")


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Serve the page until it is interrupted."""
    options = _parser().read(words)
    names = _names(options)
    check_named(names, options["data"], options["weights"])
    if importlib.util.find_spec("gradio") is None:
        raise GradsculptError(
            "Gradio is not installed, so there is no page to show. Run `pip install 'gradsculpt[view]'`."
        )
    port = free_port(options["port"])
    prepare()
    with temporary_folder() as folder, _environment(folder):
        _serve(names, {**options, "port": port}, folder, reporter)


def _parser() -> Parser:
    parser = command_parser(
        "view",
        "Serve a page on this machine: look at a network's maps, attack them, compare networks, in the browser.",
        _EXAMPLES,
    )
    named = f"Run directories, or {NETWORKS}; by default, networks with the weights of ImageNet that are installed, or "
    named += "a small one that is trained at first use."
    parser.add_argument("networks", type=str, nargs="*", help=named)
    parser.add_argument("--model", type=str | None, group="networks by name", help="A network by name.")
    add_weight_options(parser)
    parser.add_argument(
        "--port", type=int | None, limit=at_least(1, 65535), help=f"Port; by default the first free one from {PORT} on."
    )
    told = "Folder where trainings of the page are kept; by default they are lost when it is closed."
    parser.add_argument("--out", type=Path | None, help=told)
    add_data_options(parser, "Pictures on offer; by default those that each run held out.")
    return parser


def _names(options: Options) -> list[str]:
    names = [*([options["model"]] if options["model"] else []), *options["networks"]]
    if not names and options["weights"]:
        raise ArgumentError("--weights are of a network by name, and none is named; pass --model NAME.")
    return names


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
def _environment(folder: Path) -> Iterator[None]:
    """Within the block, Gradio keeps its files in the folder, reports to nobody, and asks no proxy for this machine."""
    before = dict(os.environ)
    os.environ |= {**_QUIET, "GRADIO_TEMP_DIR": str(folder / "gradio")}
    for name in _LOCAL:
        os.environ[name] = ",".join(filter(None, [os.environ.get(name, ""), HOST, "localhost"]))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def _serve(names: Sequence[str], options: Options, folder: Path, reporter: Reporter) -> None:
    from gradsculpt.viewer.context import Context
    from gradsculpt.viewer.page.shell import opened
    from gradsculpt.viewer.work import Desk

    subjects = _subjects(names, options, folder)
    desk = Desk(waiting=_WAITING)
    runs = options["out"] or folder / "runs"
    context = Context(subjects, folder, desk, reporter, options["device"], runs=runs)
    with opened(context, HOST, options["port"]) as address:
        sys.stdout.write(f"The page is at {address}; Ctrl-C ends it.\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        finally:
            desk.close()


_WAITING = 64


def _subjects(names: Sequence[str], options: Options, folder: Path) -> Subjects:
    from gradsculpt.viewer.standby import standby
    from gradsculpt.viewer.subjects import named_subjects

    places = {"out": folder, "cache_dir": options["cache_dir"] or folder / "cache", "kept": options["out"]}
    if not names:
        return standby({**options, **places})
    subjects = named_subjects(names, {**options, **places})
    for subject in subjects:
        if subject.run is None:
            _ = subject.network  # weights that do not fit are told of before the page opens
    return subjects
