"""`gradsculpt evaluate`."""

from collections.abc import Sequence
from pathlib import Path

from gradsculpt.cli.networks import add_network_options, check_named, named_network
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import prepare, result_console
from gradsculpt.cli.scoring import FILE, VALUES, add_protocol, check_protocol, folder_of, read_protocol, score
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter

_EXAMPLES = (
    "gradsculpt evaluate runs/en",
    "gradsculpt evaluate runs/en --quick --out scores",
    "gradsculpt evaluate runs/en --groups sparsity fidelity:steps=50 --method smoothgrad:samples=64",
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Score a network and leave scorecard.json and scorecard.csv."""
    told = "Score a network's accuracy, and the sparsity, robustness, fidelity and truth of its maps. "
    told += "An evaluation that was interrupted goes on where it stopped when it is called again."
    parser = command_parser("evaluate", told, _EXAMPLES)
    add_network_options(parser)
    parser.add_argument("--out", type=Path | None, help=f"Folder of {FILE} and {VALUES}; default the run directory.")
    add_protocol(parser, words)
    options = parser.read(words)
    check_named([options["model"], options["network"]], options["data"])
    check_protocol(options)
    from gradsculpt.report import table

    prepare()
    network = named_network(options)
    folder, protocol = folder_of(network, options["out"]), read_protocol(options, network)
    with locked(folder, "evaluate", reporter.say):
        splits = network.data({**options, "out": folder}, reporter)
        card = score(network, splits, options, protocol, reporter, folder)
    result_console().print(table([card]))
    reporter.say(f"Written to {folder / FILE}, and a row an image to {folder / VALUES}")
