"""What the commands that score networks share: the options of a protocol, scoring into a folder, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.folder import file_name, numbered
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.networks import NamedNetwork, Run, add_data_options, check_named, open_run
from gradsculpt.cli.parser import Options, Parser, command_parser
from gradsculpt.cli.parts import attribution, check_parts, hints_of, part
from gradsculpt.cli.sources import value
from gradsculpt.errors import ArgumentError
from gradsculpt.files import whole
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter

if TYPE_CHECKING:
    from gradsculpt.data import ImageSet, Splits
    from gradsculpt.evaluation import Protocol, Scorecard, ScoreGroup
    from gradsculpt.report import RunView, Sample

FILE, VALUES = map(value, ("gradsculpt.evaluation.scorecard.FILE", "gradsculpt.evaluation.per_image_values.VALUES"))

_FULL = (
    "Every group with as many draws, steps and images as the papers. The targeted attack within 4 of 255, as theirs of "
    "LeNet (of ResNet-18: --groups robustness-attack:eps=2), and top-k attacks of sizes that suit images of any size."
)

# Small batches, so that progress shows, and an evaluation that is interrupted has something to go on from.
_QUICK_IMAGES, _QUICK_BATCH = 64, 16


def add_protocol(parser: Parser, words: Sequence[str]) -> None:
    """Add the options of scoring; `--quick` among the words changes their defaults."""
    parser.add_argument("--quick", action="store_true", help=f"Every group with few steps, for {_QUICK_IMAGES} images.")
    parser.add_argument("--full", action="store_true", help=_FULL)
    scored = (
        "What is scored: groups, with settings as in fidelity:steps=50 where they are not those of --quick or --full, "
        "metrics, and your own of either as module.Name; gradsculpt list."
    )
    parser.add_argument("--groups", type=str, nargs="+", help=scored)
    add_data_options(parser, "Another source of images with the same classes.")
    parser.add_argument(
        "--split", choices=["test", "val", "train"], default="test", group="images", help="Part to score."
    )
    parser.add_argument(
        "--limit",
        type=int | None,
        limit=at_least(1),
        group="images",
        help="Use so many images, drawn at random by the seed.",
    )
    parser.add_argument(
        "--batch_size", type=int, default=64, limit=at_least(1), group="where, and on what", help="Images at once."
    )
    maps = "The maps, with settings as in smoothgrad:samples=64; gradsculpt list."
    parser.add_argument("--method", type=str, default="gradient", help=maps)
    output = hints_of(value("gradsculpt.attributions.Gradient"))["output"]
    parser.add_argument("--output", type=output, default="logit", help="What the maps explain, of a class.")
    parser.add_argument(
        "--target", type=str, choices=["true", "predicted"], default="true", help="The class whose maps are read."
    )
    parser.add_argument(
        "--seed", type=int, default=0, limit=at_least(0), help="Seed of the noise, of --limit and of the intervals."
    )
    if "--quick" in words:
        parser.set_defaults(limit=_QUICK_IMAGES, batch_size=_QUICK_BATCH)


def check_protocol(options: Options) -> None:
    """Raise an error if the options of `add_protocol` name what is not known; nothing is imported."""
    if options["quick"] and options["full"]:
        raise ArgumentError("--quick and --full exclude each other; pass one.")
    metrics = {metric.__name__ for metric in value("gradsculpt.metrics.METRICS")}
    groups = [text for text in options["groups"] or () if text not in metrics]
    check_parts(groups, "ScoreGroup", "--groups")
    check_parts([options["method"]], "Attribution", "--method")


def read_protocol(options: Options, network: NamedNetwork) -> Protocol:
    """Return the protocol that the options of `add_protocol` ask for."""
    check_protocol(options)
    from gradsculpt.evaluation import Protocol

    chosen = Protocol.quick() if options["quick"] else Protocol.full() if options["full"] else Protocol()
    groups = tuple(_group(text, chosen) for text in options["groups"] or ()) or chosen.groups
    maps = attribution(options["method"], options["output"], network.bounds)
    return Protocol(groups, maps, options["target"], options["seed"])


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


def score(
    network: NamedNetwork, splits: Splits, options: Options, protocol: Protocol, reporter: Reporter, folder: Path
) -> Scorecard:
    """Score a network on its data, write scorecard.json and scorecard.csv, and return the scorecard.

    Options are those of `add_protocol`; data with classes that the network does not know are an `ArgumentError`.
    """
    import numpy as np

    from gradsculpt.data import loader
    from gradsculpt.evaluation import evaluate

    limit = options["limit"]
    images = _labelled(network, getattr(splits, options["split"]))
    if limit is not None and limit < len(images):  # the first ones would be of one class where they are sorted by it
        chosen = np.random.default_rng(protocol.seed).choice(len(images), limit, replace=False)
        images = images.subset(np.sort(chosen))
    source = options["data"] or (network.settings.data if isinstance(network, Run) else None)
    settings = {"data": source, "split": options["split"], "skipped_files": len(splits.skipped)}
    with reporter.work(f"scoring {network.name}", len(images)) as tell:
        card = evaluate(
            network.classifier,
            loader(images, options["batch_size"], shuffle=False),
            protocol,
            name=network.name,
            settings=settings,
            limit=len(images),
            names=images.names,
            folder=folder,
            progress=tell,
        )
    card.save(folder / FILE)
    return card


def folder_of(network: NamedNetwork, folder: Path | None) -> Path:
    """Return the folder of a network's scores: the one that is given, or else the run directory, if there is one."""
    folder = folder or (network.path if isinstance(network, Run) else None)
    if folder is None:
        raise ArgumentError(f"{network.name} is no run with a folder for its scores; pass --out FOLDER.")
    return folder


def comparison_options(words: Sequence[str]) -> dict[str, Any]:
    """Return what `gradsculpt compare` takes."""
    told = "Score runs on the same images and put them on one self-contained page."
    parser = command_parser("compare", told, ["gradsculpt compare runs/std runs/en --quick --out report.html"])
    parser.add_argument("runs", type=Path, nargs="+", help="Run directories; the others are set against the first.")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="The page.")
    parser.add_argument("--count", type=int, default=8, limit=at_least(1), help="Images whose maps are shown.")
    add_protocol(parser, words)
    options = parser.read(words)
    check_named(map(str, options["runs"]), options["data"])
    check_protocol(options)
    return options


def compare(options: dict[str, Any], reporter: Reporter, note: str = "") -> list[Scorecard]:
    """Score runs on the same images, write the page, opened by a note, and its picture of maps; return the scorecards.

    Nothing is written into the runs: scorecards are kept beside the page, in `scores_folder`. Runs with different
    classes, or with images of different sizes of different data, are an `ArgumentError`.
    """
    from gradsculpt.report import render, sheet

    runs = [open_run(path, options["device"]) for path in options["runs"]]
    first = runs[0]
    for other in runs[1:]:
        if other.classifier.classes != first.classifier.classes:
            raise ArgumentError(
                f"{other.path} and {first.path} were trained on different classes, so no image suits both. "
                "Compare runs with the same classes."
            )
    options = {**options, "data": options["data"] or first.settings.data}
    with locked(scores_folder(options["out"]), "compare", reporter.say):
        views, shown = _views(runs, options, reporter)
        with whole(options["out"]) as draft:
            draft.write_text(render(views, shown, note), encoding="utf-8", errors="backslashreplace")
        with whole(options["out"].with_suffix(".png")) as draft:
            draft.write_bytes(sheet(views, shown))
    return [view.card for view in views]


def scores_folder(page: Path) -> Path:
    """Return where the scores that a page shows are kept, a folder a run: those of the runs themselves stay."""
    if page.suffix.lower() == ".png" or page.is_dir():
        fact = "a folder" if page.is_dir() else "the name of the picture beside it"
        raise ArgumentError(f"--out {page} is {fact}, so no page can be written there; pass the name of a file, .html.")
    return page.with_name(f"{page.stem}-scores")


def _views(runs: Sequence[Run], options: Options, reporter: Reporter) -> tuple[list[RunView], list[Sample]]:
    """Return what a page tells of each run, and the images that it shows."""
    from gradsculpt.report import RunView, Sample, choose, read_curve, sample_maps

    views, shown, names = list[RunView](), list[Sample](), numbered(file_name(run.name) for run in runs)
    for opened, name in zip(runs, names, strict=True):
        splits = opened.data(options, Reporter() if views else reporter)
        protocol = read_protocol(options, opened)
        card = score(opened, splits, options, protocol, reporter, scores_folder(options["out"]) / name)
        samples = choose(getattr(splits, options["split"]), options["count"])
        shown = shown or samples
        maps = sample_maps(opened.classifier, samples, protocol)
        views.append(RunView(opened.name, repr(opened.settings.objective), card, read_curve(opened.path), maps))
    return views, shown


def _labelled(network: NamedNetwork, images: ImageSet) -> ImageSet:
    """Return images with the labels that they have as classes of a network."""
    import numpy as np

    classes = network.classifier.classes
    nameless = classes == tuple(map(str, range(len(classes)))) and len(classes) == len(images.classes)
    if images.classes == classes or nameless:
        return images
    position = {name: i for i, name in enumerate(classes)}
    strange = [name for name in images.classes if name not in position]
    if strange:
        raise ArgumentError(
            f"{network.name} knows no class {strange[0]}, so {len(strange)} of the {len(images.classes)} classes of "
            f"the data cannot be scored; pass data with its classes: {', '.join(classes[:5])}"
            f"{f' and {len(classes) - 5} more' if len(classes) > 5 else ''}."
        )
    places = np.array([position[name] for name in images.classes], dtype=np.int64)
    return replace(images, labels=places[images.labels], classes=classes)
