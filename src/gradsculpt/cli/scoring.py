"""What the commands that score networks share: the options of a protocol, and scoring into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.class_pairs import add_class_options, asked_classes
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.networks import add_data_options
from gradsculpt.cli.opened import NamedNetwork
from gradsculpt.cli.parser import Options, Parser
from gradsculpt.cli.parts import attribution, check_parts, hints_of, part
from gradsculpt.cli.sources import value
from gradsculpt.errors import ArgumentError
from gradsculpt.files import sweep
from gradsculpt.hub import is_hub
from gradsculpt.progress import Reporter
from gradsculpt.runs import is_run

if TYPE_CHECKING:
    from gradsculpt.cli.scored_images import ScoredImages
    from gradsculpt.evaluation import Protocol, Scorecard, ScoreGroup, Shard

FILE, VALUES = map(value, ("gradsculpt.evaluation.scorecard.FILE", "gradsculpt.evaluation.per_image_values.VALUES"))

_FULL = (
    "Every group with as many draws, steps and images as the papers. The targeted attack within 4 of 255, as theirs of "
    "LeNet (of ResNet-18: --groups robustness-attack:eps=2), and top-k attacks of sizes that suit images of any size."
)

# Small batches, so that progress shows, and an evaluation that is interrupted has something to go on from.
_QUICK_IMAGES, _QUICK_BATCH, _BATCH = 64, 16, 64
_PIXELS = 8 * 224 * 224  # of a batch on a processor, which gains nothing by more


def add_protocol(parser: Parser, words: Sequence[str]) -> None:
    """Add the options of scoring; `--quick` among the words changes their defaults."""
    parser.add_argument("--quick", action="store_true", help=f"Every group with few steps, for {_QUICK_IMAGES} images.")
    parser.add_argument("--full", action="store_true", help=_FULL)
    scored = (
        "What is scored: groups, with settings as in fidelity:steps=50 where they are not those of --quick or --full, "
        "metrics, and your own of either as module.Name; gradsculpt list."
    )
    parser.add_argument("--groups", type=str, nargs="+", help=scored)
    data = "Images to score: a set, or folder:PHOTOS with one folder a class, or of photos without classes."
    add_data_options(parser, data)
    split = "Part to score; default all of a folder of photos for networks by name, and else test."
    parser.add_argument("--split", choices=["test", "val", "train", "all"], group="images", help=split)
    loose = "Folders of photos are no classes."
    parser.add_argument("--unlabelled", action="store_true", group="images", rare=True, help=loose)
    strict = "Stop at the first unreadable file."
    parser.add_argument("--strict", action="store_true", group="images", rare=True, help=strict)
    add_class_options(parser)
    parser.add_argument(
        "--limit",
        type=int | None,
        limit=at_least(1),
        group="images",
        help="Use so many images, drawn at random by the seed.",
    )
    place = "where, and on what"
    parser.add_argument(
        "--batch_size",
        type=int | None,
        limit=at_least(1),
        group=place,
        rare=True,
        help=f"Images at once; default {_BATCH}, or fewer where they are large. Scores do not depend on it.",
    )
    maps = "The maps, with settings as in smoothgrad:samples=64; gradsculpt list."
    parser.add_argument("--method", type=str, default="gradient", help=maps)
    output = hints_of(value("gradsculpt.attributions.Gradient"))["output"]
    parser.add_argument("--output", type=output, default="logit", rare=True, help="What the maps explain, of a class.")
    target = "The class whose maps are read; default the true one where it is known."
    parser.add_argument("--target", choices=["true", "predicted"], rare=True, help=target)
    seed = "Seed of the noise, of --limit and of the intervals."
    parser.add_argument("--seed", type=int, default=0, limit=at_least(0), rare=True, help=seed)
    if "--quick" in words:
        parser.set_defaults(limit=_QUICK_IMAGES)


def check_protocol(options: Options, networks: Iterable[str | None]) -> None:
    """Raise an error if the options of `add_protocol` name what is not known, or want data; nothing is imported."""
    _check_parts(options)
    names = [name for name in networks if name]
    if names and options["data"] is None and not any(is_run(name) or is_hub(name) for name in names):
        raise ArgumentError(f"{names[0]} is no run with data of its own; pass --data, as folder:PHOTOS.")
    asked_classes(options)


def _check_parts(options: Options) -> None:
    if options["quick"] and options["full"]:
        raise ArgumentError("--quick and --full exclude each other; pass one.")
    check_scored(options["groups"] or (), options["method"])


def check_scored(groups: Iterable[str], method: str) -> None:
    """Raise an error if groups of scores, or the maps that are scored, are not known; nothing is imported."""
    metrics = {metric.__name__ for metric in value("gradsculpt.metrics.METRICS")}
    check_parts([text for text in groups if text not in metrics], "ScoreGroup", "--groups")
    check_parts([method], "Attribution", "--method")


def read_protocol(options: Options, network: NamedNetwork, *, labelled: bool = True) -> Protocol:
    """Return the protocol that the options of `add_protocol` ask for, of images with labels or without."""
    _check_parts(options)
    from gradsculpt.evaluation import Protocol

    chosen = Protocol.quick() if options["quick"] else Protocol.full() if options["full"] else Protocol()
    groups = tuple(_group(text, chosen) for text in options["groups"] or ()) or chosen.groups
    if not labelled:
        if options["target"] == "true":
            raise ArgumentError("the photos have no classes, so no true ones are known; leave --target true away.")
        needy = [group.name for group in groups if group.needs_labels]
        if options["groups"] and needy:
            raise ArgumentError(
                f"the photos have no classes, which {needy[0]} needs; put them into one folder a class, or leave "
                f"{needy[0]} away."
            )
        groups = tuple(group for group in groups if not group.needs_labels)
    maps = attribution(options["method"], options["output"], network.bounds)
    return Protocol(groups, maps, options["target"] or ("true" if labelled else "predicted"), options["seed"])


def _group(text: str, protocol: Protocol) -> ScoreGroup:
    """Return a group by name or class path; settings that are not typed are those of the protocol, where it has it."""
    from gradsculpt.evaluation import MetricGroup, ScoreGroup
    from gradsculpt.metrics import METRICS

    def supplied(cls: type) -> dict[str, Any]:
        group = next((group for group in protocol.groups if type(group) is cls), None)
        return {} if group is None else dict(vars(group))

    if metric := next((metric for metric in METRICS if metric.name == text), None):
        return MetricGroup(metric)
    group: ScoreGroup = part(text, ScoreGroup, "--groups", supplied)
    return group


def check_options(options: Options, networks: Sequence[NamedNetwork], labelled: bool = True) -> None:
    """Raise `ArgumentError` for what can be seen to be wrong before any image is read, with labels or without."""
    for network in networks:
        read_protocol(options, network, labelled=labelled)


def batch_size(network: NamedNetwork, quick: bool) -> int:
    """Return how many images are scored at once where nobody says so, which changes no score."""
    most, classifier = _QUICK_BATCH if quick else _BATCH, network.classifier
    fitting = _PIXELS // classifier.image_size**2 if classifier.device.type == "cpu" else most
    return max(1, min(most, fitting))


def score(
    network: NamedNetwork,
    scored: ScoredImages,
    options: Options,
    reporter: Reporter,
    folder: Path,
    others: Sequence[Path] = (),
    *,
    shard: Shard | None = None,
    helped: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Scorecard:
    """Score a network on images, write scorecard.json and scorecard.csv into a folder, and return the scorecard.

    One of the same weights, images and settings is used again, from the folder, the network's run or `others`; one of
    other settings that is in the folder keeps its place under a name of its own. Options are those of `add_protocol`.
    Of a shard, only its part is written. Where options name several `devices`, the first shard is scored while `helped`
    sees to the others.
    """
    from gradsculpt.cli.cards import PRINTS, find, keep, prints, put, repeatable
    from gradsculpt.evaluation import Scorecard, Shard
    from gradsculpt.evaluation.scoring import TRAINED, trained

    protocol = read_protocol(options, network, labelled=scored.labelled)
    digests = prints(network.classifier, scored, protocol)
    reached = network.classifier.reached
    unfinished = [f"{network.name} is unfinished: {reached}."] if reached and not reached.finished else []
    settings = {**scored.settings, PRINTS: digests, **trained(network.classifier)}
    settings["notes"] = [*unfinished, *protocol.settings()["notes"], *scored.notes(network.name)]
    places = [folder, *filter(None, [network.home]), *others]
    there = find(digests, places) if repeatable(network.classifier, protocol) else None
    aside = keep(folder, digests) if shard is None else None
    if aside is not None:
        reporter.say(f"scores of other settings, weights or images that were there are kept as {aside}")
    if there is not None:
        reporter.say(f"{network.name}: the scores of these weights, images and settings are used again, from {there}")
        put(there, folder)
        card = Scorecard.load(folder / FILE)
        before = {name: each for name, each in card.settings.items() if name != TRAINED}
        card = Scorecard(network.name, {**before, **settings}, card.entries, card.curves)
    else:
        count = len(scored.images)
        size = options["batch_size"] or batch_size(network, options["quick"])
        given: dict[str, Any] = {"name": network.name, "settings": settings, "limit": count, "folder": folder}
        with reporter.work(f"scoring {network.name}", count) as tell:
            given |= {"names": scored.images.names, "progress": tell}
            if (devices := min(options.get("devices", 1), -(-count // size))) > 1:
                with helped(devices):
                    _evaluate(network, scored, size, protocol, {**given, "shard": Shard(0, devices)})
            card = _evaluate(network, scored, size, protocol, {**given, "shard": shard})
    if shard is None:
        sweep(folder / FILE)
        card.save(folder / FILE)
    return card


def _evaluate(
    network: NamedNetwork, scored: ScoredImages, size: int, protocol: Protocol, given: Mapping[str, Any]
) -> Scorecard:
    from gradsculpt.evaluation import evaluate

    return evaluate(network.classifier, scored.batches(network.classifier, size), protocol, **given)
