"""`gradsculpt evaluate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradsculpt.cli.console import progress_console, result_console
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import prepare
from gradsculpt.cli.runs import NETWORKS, Subject, add_network_options, check_there, open_classifier
from gradsculpt.cli.scoring import add_protocol, folder_of, read_protocol, score
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.per_image_values import VALUES
from gradsculpt.evaluation.scorecard import FILE
from gradsculpt.progress import Reporter
from gradsculpt.report import table


def run(words: Sequence[str]) -> None:
    """Score a network and leave scorecard.json and scorecard.csv."""
    prepare()
    parser = command_parser(
        "evaluate",
        "Score a network's accuracy, and the sparsity, robustness, fidelity and truth of its maps. "
        "An evaluation that was interrupted goes on where it stopped when it is called again.",
    )
    parser.add_argument("network", type=str, nargs="?", help=f"Run directory, or {NETWORKS}.")
    parser.add_argument("--model", type=str | None, help="A network by name, instead of naming it first.")
    add_network_options(parser)
    parser.add_argument("--out", type=Path | None, help=f"Folder of {FILE} and {VALUES}; default the run directory.")
    add_protocol(parser, words)
    options, reporter = parser.build(parser.read(words)), Reporter(progress_console())
    subject = named_network(options)
    folder, protocol = folder_of(subject, options["out"]), read_protocol(options, subject)
    splits = subject.data(options, folder, reporter.console)
    card = score(subject, splits, options, protocol, reporter, folder)
    result_console().print(table([card]))
    reporter.say(f"Written to {folder / FILE}, and a row an image to {folder / VALUES}")


def named_network(options: Mapping[str, Any]) -> Subject:
    """Open the one network that a command names, by `network` or `--model`, with the options of networks by name.

    Raises:
        ArgumentError: If none or two are named, or weights and settings do not suit.
        RunError: If there is no such run.
        ModelError: If the network cannot be built.
    """
    names = [name for name in (options["network"], options["model"]) if name is not None]
    if len(names) != 1:
        told = f"two networks are named, {' and '.join(names)}" if names else "no network is named"
        raise ArgumentError(f"{told}; pass one: a run directory, or {NETWORKS}.")
    check_there(names[0])
    weights = options["weights"] or [None]
    if len(weights) > 1:
        raise ArgumentError(f"there are {len(weights)} --weights for one network; pass one.")
    settings = {name: options[name] for name in ("mean", "std", "image_size") if options[name]}
    return open_classifier(names[0], weights=weights[0], **settings, device=options["device"])
