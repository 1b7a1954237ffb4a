"""Several networks over the same images, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gradsculpt.cli.folder import file_name, numbered
from gradsculpt.cli.networks import NETWORKS, add_weight_options, check_named, named_networks
from gradsculpt.cli.opened import NamedNetwork
from gradsculpt.cli.pages import add_page_options, check_page, scores_folder
from gradsculpt.cli.parser import Options, command_parser
from gradsculpt.cli.scoring import add_protocol, check_options, check_protocol, score
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter

if TYPE_CHECKING:
    from gradsculpt.evaluation import Scorecard

_TOLD = (
    "Score networks on the same images and put them on one self-contained page: runs, and networks by name over a "
    "folder of photos. Scores of the same weights, images and settings are used again, from the runs or beside "
    "the page."
)
_EXAMPLES = (
    "gradsculpt compare runs/std runs/en --out page.html",
    "gradsculpt compare pretrained:mobilenet_v2 torchvision:resnet18=weights.pth --data folder:photos",
)


def comparison_options(words: Sequence[str]) -> Options:
    """Return what `gradsculpt compare` takes."""
    parser = command_parser("compare", _TOLD, _EXAMPLES)
    named = f"Run directories, or {NETWORKS}; the others are set against the first."
    parser.add_argument("networks", type=str, nargs="+", help=named)
    add_weight_options(parser)
    add_page_options(parser, "--out", Path("report.html"), "The page.")
    add_protocol(parser, words)
    options = parser.read(words)
    check_named(options["networks"], options["data"], options["weights"])
    check_protocol(options, options["networks"])
    check_page(options["out"])
    return options


def compare(options: Options, reporter: Reporter, note: str = "") -> list[Scorecard]:
    """Score networks on the same images, write the page, opened by a note, and its picture; return the scorecards.

    Nothing is written into runs: scorecards are kept beside the page, in `scores_folder`. Networks that have no class
    for some of the images are an `ArgumentError`.
    """
    from gradsculpt.cli.scored_images import scored_images
    from gradsculpt.cli.showing import samples, view, write_page

    page = options["out"]
    networks = named_networks(options["networks"], options, reporter)
    check_options(options, networks)
    folder = scores_folder(page)
    with locked(folder, "compare", reporter.say):
        scored = scored_images(networks, options, reporter, folder, partial(check_options, options, networks))
        places = [folder / name for name in numbered(file_name(network.name) for network in networks)]
        views = []
        for network, images, place in zip(networks, scored, places, strict=True):
            card = score(network, images, options, reporter, place, places)
            views.append(view(network, images, card, options))
        _tell_of_twins(networks, [each.card for each in views], reporter)
        write_page(page, views, samples(scored[0], options["count"]), note)
    return [each.card for each in views]


def _tell_of_twins(networks: Sequence[NamedNetwork], cards: Sequence[Scorecard], reporter: Reporter) -> None:
    """Say which networks are the same, so that nothing that is between them means anything."""
    from gradsculpt.cli.cards import PRINTS

    first: dict[str, str] = {}
    for network, card in zip(networks, cards, strict=True):
        twin = first.setdefault(card.settings[PRINTS]["network"], network.name)
        if twin != network.name:
            reporter.say(f"note: {network.name} is the same network as {twin}, with the same weights")
