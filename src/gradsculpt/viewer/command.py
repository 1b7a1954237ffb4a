"""`gradsculpt view`."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradsculpt.cli.limits import at_least
from gradsculpt.cli.networks import NETWORKS, add_data_options, add_weight_options, check_named
from gradsculpt.cli.parser import Options, Parser, command_parser
from gradsculpt.cli.process import prepare
from gradsculpt.errors import ArgumentError, GradsculptError
from gradsculpt.progress import Reporter
from gradsculpt.viewer.place import HOST, PORT, environment, free_port, temporary_folder

if TYPE_CHECKING:
    from gradsculpt.viewer.subjects import Subjects

_EXAMPLES = (
    "gradsculpt view runs/std runs/en",
    "gradsculpt view --model torchvision:resnet18 --weights default --data folder:photos",
    "gradsculpt view",
)


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
    with temporary_folder() as folder, environment(folder):
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
        _ = subject.network  # what cannot be opened is told of before the page opens
    return subjects
