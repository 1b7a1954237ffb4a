"""`gradsculpt evaluate`."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from gradsculpt.cli.folder import file_name
from gradsculpt.cli.known import check_out
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.networks import add_network_options, check_named, named_network
from gradsculpt.cli.opened import NamedNetwork
from gradsculpt.cli.pages import add_page_options, check_page, scores_folder
from gradsculpt.cli.parser import Parser, command_parser
from gradsculpt.cli.process import prepare, result_console
from gradsculpt.cli.scoring import FILE, VALUES, add_protocol, check_options, check_protocol, score
from gradsculpt.cli.side_by_side import companions, read_shard
from gradsculpt.errors import ArgumentError
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter
from gradsculpt.runs import is_run, scores_lock

_TOLD = (
    "Score a network's accuracy, and the sparsity, robustness, fidelity and truth of its maps. An evaluation that was "
    "interrupted goes on where it stopped when it is called again; scores that are there already, of the same weights, "
    "images and settings, are used again, and those of others are kept under names of their own."
)
_EXAMPLES = (
    "gradsculpt evaluate runs/en --quick",
    "gradsculpt evaluate runs/en --groups sparsity fidelity:steps=50 --method smoothgrad:samples=64",
    "gradsculpt evaluate pretrained:mobilenet_v2 --data folder:photos --html page.html",
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Score a network and leave scorecard.json and scorecard.csv, and a page if one is wanted."""
    options = _parser(words).read(words)
    check_named([options["model"], options["network"]], options["data"], options["weights"])
    check_protocol(options, [options["network"], options["model"]])
    part = read_shard(options["shard"])
    if part is not None and options["devices"] > 1:
        raise ArgumentError("--shard scores a part in one process; leave --devices out.")
    page: Path | None = options["html"]
    if page is not None:
        check_page(page)
    named = options["network"] or options["model"]
    if options["out"] is not None or (named and page is None and is_run(named)):
        check_out(options["out"] or Path(named), (FILE, VALUES))
    if named and page is None and options["out"] is None and not is_run(named):
        raise ArgumentError(
            f"{named} is no run with a folder for its scores; pass --out FOLDER, or --html FILE for a page."
        )
    from gradsculpt.cli.scored_images import scored_images
    from gradsculpt.cli.showing import samples, view, write_page
    from gradsculpt.evaluation import Shard
    from gradsculpt.report import table

    shard = None if part is None else Shard(*part)
    prepare()
    network = named_network(options, reporter)
    check_options(options, [network])
    folder = _folder(network, options["out"], page)
    alone = partial(locked, folder, "evaluate", reporter.say, scores_lock(folder))
    with alone() if shard is None else nullcontext():
        (scored,) = scored_images([network], options, reporter, folder, partial(check_options, options, [network]))
        helped = partial(companions, words, options["device"])
        card = score(network, scored, options, reporter, folder, shard=shard, helped=helped)
        if shard is not None:
            reporter.say(f"Part {options['shard']} is in {folder}; the command without --shard puts the parts together")
            return
        if page is not None:
            write_page(page, [view(network, scored, card, options)], samples(scored, options["count"]))
    result_console().print(table([card]))
    reporter.say(f"Written to {folder / FILE}, and a row an image to {folder / VALUES}")
    if page is not None:
        reporter.say(f"The page is {page}: open it in a browser. Its maps alone are in {page.with_suffix('.png')}")


def check(words: Sequence[str]) -> None:
    """Raise `ArgumentError` for what can be seen to be wrong in words that a run is scored with; no run is needed."""
    check_protocol(_parser(words).read(["run", *words]), ())


def _parser(words: Sequence[str]) -> Parser:
    parser = command_parser("evaluate", _TOLD, _EXAMPLES)
    add_network_options(parser)
    out = f"Folder of {FILE} and {VALUES}; default the run directory, or beside the page."
    parser.add_argument("--out", type=Path | None, help=out)
    add_page_options(parser, "--html", None, "A page with the scores and maps, and a picture of the maps beside it.")
    add_protocol(parser, words)
    place = "where, and on what"
    told = "Processes that score side by side, each on a GPU of its own where there are GPUs; scores are the same."
    parser.add_argument("--devices", type=int, default=1, limit=at_least(1), group=place, rare=True, help=told)
    told = (
        "Score the I-th of N parts alone, as 0/4; called without, the command puts together what the parts have left."
    )
    parser.add_argument("--shard", type=str | None, group=place, rare=True, help=told)
    return parser


def _folder(network: NamedNetwork, folder: Path | None, page: Path | None) -> Path:
    """Return the folder of a network's scores: the one that is given, the run directory, or one beside the page."""
    if folder is None and network.home is not None:
        return network.home
    return folder or scores_folder(page or Path()) / file_name(network.name)
