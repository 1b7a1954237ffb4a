"""`gradsculpt attack`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.folder import WRITTEN, ResultFolder
from gradsculpt.cli.grammar import canonical
from gradsculpt.cli.images import (
    NamedImage,
    add_image_options,
    batches,
    check_images,
    collect,
    predictions,
    target_classes,
    unread,
)
from gradsculpt.cli.known import check_out
from gradsculpt.cli.limits import SHARE, at_least
from gradsculpt.cli.networks import (
    add_network_options,
    check_named,
    named_network,
    networks_and_images,
    read_words,
)
from gradsculpt.cli.opened import NamedNetwork
from gradsculpt.cli.parser import Parser, command_parser
from gradsculpt.cli.parts import attack_of, attribution, check_parts, family, is_typed, names
from gradsculpt.cli.process import prepare
from gradsculpt.cli.sized import LEVELS, sized
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.evaluation.attacked import View

_ENTRIES = 2**19  # of a batch
_SHEET_ROWS = 16
_SMOOTHED = (
    "The maps of {} have no slope to follow, or too little of one, so the attack follows those of the same network "
    "with Softplus of beta {:g} in place of ReLU; figures are of the network itself."
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Write attacked images, their maps before and after, and the figures."""
    options = read_words(_parser(), words)
    check_named([options["model"] or options["network"]], options["data"], options["weights"])
    (_, *others), paths = networks_and_images(options)
    check_images([*map(Path, others), *paths], options, words)
    check_parts([options["method"]], "Attribution", "--method")
    check_parts([options["attack"]], "Attack", "--attack")
    check_out(options["out"], WRITTEN)
    prepare()
    with locked(options["out"], "attack", reporter.say):
        _attack(options, words, reporter)


def _attack(options: dict[str, Any], words: Sequence[str], reporter: Reporter) -> None:
    from gradsculpt.attacks import Manipulation
    from gradsculpt.evaluation.attacked import attacked_images

    if options["model"] and options["network"]:
        options["images"], options["network"] = [options["network"], *options["images"]], None
    network = named_network(options, reporter)
    method = attribution(options["method"], options["output"], network.bounds)
    if options["steps"] is not None and is_typed(options["attack"], "steps"):
        raise ArgumentError("--steps and the steps in --attack say the same thing twice; leave one of them away.")
    attack = attack_of(options["attack"], steps=options["steps"], bounds=network.bounds)
    images, unreadable = collect(network, [Path(word) for word in options["images"]], options, reporter)
    attack = sized(attack, options["eps"], network.classifier, images[0].pixels.size)
    folder, classifier, done = ResultFolder(options["out"], _SHEET_ROWS), network.classifier, 0
    with reporter.work(f"attacking {network.name}", len(images)) as tell:
        for batch, images01 in batches(images, _ENTRIES, classifier.device):
            labels, probabilities = [image.label for image in batch], network.probabilities(images01)
            target = target_classes(options["target"], labels, probabilities, classifier.classes)
            try:
                views, smooth_beta = attacked_images(classifier, method, attack, images01, target)
            except ModelError as error:
                raise ModelError(f"the maps of {network.name} cannot be attacked: {error}") from error
            if isinstance(attack, Manipulation) and smooth_beta not in (None, attack.smooth_beta):
                attack = replace(attack, smooth_beta=smooth_beta)  # so that this is found out and said once
                reporter.say(_SMOOTHED.format(network.name, smooth_beta))
            _add(folder, network, batch, target, views, options["k"])
            done += len(batch)
            tell(done, len(images))
    steps = "" if options["steps"] is None else f", {counted(options['steps'], 'steps')}"
    what = f"attack {canonical(options['attack'])}{steps}, eps {options['eps']:g} of 255"
    folder.finish(f"{what}, on {canonical(options['method'])} of {network.name}", "absolute")
    reporter.say(
        f"{counted(len(images), 'images')} attacked in {options['out']}", *folder.others(), *unread(unreadable)
    )


def _parser() -> Parser:
    parser = command_parser(
        "attack",
        "Change images so that nobody sees it and their predicted classes stay, but their maps change; write attacked "
        "images, maps before and after, figures and a sheet.",
        [
            "gradsculpt attack runs/en cat.jpg --out attacked",
            "gradsculpt attack runs/en --data cells --count 16 --attack topk:k=0.2 --eps 8 --out attacked",
        ],
    )
    add_network_options(parser)
    parser.add_argument("images", type=str, nargs="*", help="Image files or folders of them.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for what is written.")
    add_image_options(parser, count=8)
    known = ", ".join(names(family("Attack")))
    attacks = f"{known}, with settings as in topk:k=0.2,restarts=2."
    parser.add_argument("--attack", type=str, default="targeted", help=attacks)
    parser.add_argument("--method", type=str, default="gradient", help="The map that is attacked, as in explain.")
    size = "How far an image may be moved, in 8-bit levels: every entry, or in L2 the root mean square over entries."
    parser.add_argument("--eps", type=float, default=4.0, limit=at_least(0, LEVELS, whole=False), help=size)
    parser.add_argument("--steps", type=int | None, limit=at_least(1), help="Steps of the attack; default its own.")
    parser.add_argument(
        "--k", type=float, default=0.4, limit=SHARE, help="Share of non-zero pixels whose overlap is reported."
    )
    return parser


def _add(
    folder: ResultFolder,
    network: NamedNetwork,
    images: Sequence[NamedImage],
    target: Tensor,
    views: Mapping[str, View],
    k: float,
) -> None:
    """Write what an attack made of a few images, and what the network says of them then."""
    from gradsculpt.evaluation.attacked import figures
    from gradsculpt.visualize import colour, difference, plain

    classes = network.classifier.classes
    said = {when: predictions(view.probabilities, target, classes) for when, view in views.items()}
    clean, attacked, rounded = (plain(view.images) for view in views.values())
    before, after = colour(views["before"].maps), colour(views["after"].maps)
    scores = figures(views, k)
    rows = []
    for i, image in enumerate(images):
        folder.save(f"{image.name}.attacked", rounded[i], views["after"].images[i], enlarged=False)
        folder.save(f"{image.name}.before", before[i], views["before"].maps[i])
        folder.save(f"{image.name}.after", after[i], views["after"].maps[i])
        row = {"image": image.name, "source": image.source, "network": network.name, "true": image.label or ""}
        row["target"] = said["before"][i].target
        row |= {f"predicted_{when}": each[i].predicted for when, each in said.items()}
        row |= {f"probability_{when}": f"{each[i].probability:.4f}" for when, each in said.items()}
        rows.append(row | {name: "" if math.isnan(v) else f"{v:.4f}" for name, v in scores[i].items()})
    folder.index(rows)
    folder.label([image.title for image in images])
    folder.show("image", clean, [each.called for each in said["before"]])
    folder.show("attacked image", attacked, [each.called for each in said["after"]])
    folder.show("map", before, [str(each) for each in said["before"]])
    kept = [f"SSIM {each['ssim']:.2f}, top {k:.0%} kept {each['topk']:.0%}" for each in scores]
    folder.show("map of the attacked image", after, kept)
    moved = [f"up to {each['linf']:.3g}, rms {each['rms']:.2g} of 255" for each in scores]
    folder.show("difference, scaled up", difference(views["before"].images, views["after"].images), moved)
