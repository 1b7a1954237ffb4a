"""`gradsculpt evaluate`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gradsculpt import checks
from gradsculpt.cli.console import progress_console, result_console
from gradsculpt.cli.networks import add_network_options, named_network
from gradsculpt.cli.parser import Parser, command_parser
from gradsculpt.cli.parts import attribution
from gradsculpt.cli.process import DEVICES, prepare
from gradsculpt.cli.runs import NamedNetwork, Run
from gradsculpt.data import ImageSet, Splits, loader
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Protocol, Scorecard, evaluate
from gradsculpt.evaluation.protocol import GROUP_NAMES
from gradsculpt.evaluation.scorecard import FILE
from gradsculpt.evaluation.values import VALUES
from gradsculpt.progress import Reporter

# Small batches, so that progress shows, and an evaluation that is interrupted has something to go on from.
_QUICK_IMAGES, _QUICK_BATCH = 64, 16

_LEVELS = {
    "rps_levels": "Half-widths of the noise of RPS, in 8-bit pixel levels; none leaves RPS out.",
    "attack_levels": "Root-mean-square sizes of the top-k attack, in 8-bit pixel levels; none leaves it out.",
}

_ARROWS = {"higher": "↑", "lower": "↓", None: ""}


def run(words: Sequence[str]) -> None:
    """Score a network and leave scorecard.json and scorecard.csv."""
    prepare()
    parser = command_parser(
        "evaluate",
        "Score a network's accuracy, and the sparsity, robustness, fidelity and truth of its maps. "
        "An evaluation that was interrupted goes on where it stopped when it is called again.",
    )
    add_network_options(parser)
    parser.add_argument("--out", type=Path | None, help=f"Folder of {FILE} and {VALUES}; default the run directory.")
    add_protocol(parser, words)
    options, console = parser.build(parser.read(words)), progress_console()
    subject = named_network(options)
    folder = folder_of(subject, options["out"])
    card = score(subject, subject.data(options, Reporter(console)), options, console, folder)
    result_console().print(table([card]))
    console.print(f"Written to {folder / FILE}, and a row an image to {folder / VALUES}", highlight=False)


def add_protocol(parser: Parser, words: Sequence[str]) -> None:
    """Add the options of scoring; `--quick` or `--full` among the words changes their defaults."""
    parser.add_argument("--quick", action="store_true", help=f"Every group with few steps, for {_QUICK_IMAGES} images.")
    parser.add_argument("--full", action="store_true", help="Every group with the settings of the papers.")
    parser.add_argument("--data", type=str | None, help="Another source of images with the same classes.")
    parser.add_argument("--data_dir", type=Path | None, help="Where downloaded sets live.")
    parser.add_argument("--cache_dir", type=Path | None, help="Where decoded images are cached.")
    parser.add_argument("--split", type=str, choices=["test", "val", "train"], default="test", help="Part to score.")
    parser.add_argument("--limit", type=int | None, help="Use so many images, drawn at random by the seed.")
    parser.add_argument("--batch_size", type=int, default=64, help="Images at once.")
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", help="Where to compute.")
    parser.add_argument(
        "--method", type=str | None, help="The maps, with settings as in smoothgrad:samples=64; gradsculpt list."
    )
    parser.add_argument("--output", type=str, default="logit", help="logit, probability or log_probability.")
    plain = Protocol()
    parser.add_argument(
        "--groups", type=str, nargs="+", choices=GROUP_NAMES, default=list(plain.groups), help="What is scored."
    )
    for name, text in _LEVELS.items():
        parser.add_argument(f"--{name}", type=float, nargs="*", default=list(getattr(plain, name)), help=text)
    parser.add_class_arguments(Protocol, skip={"groups", *_LEVELS})
    quick, full = "--quick" in words, "--full" in words
    if quick and full:
        raise ArgumentError("--quick and --full exclude each other; pass one.")
    if quick or full:
        known = vars(Protocol.quick() if quick else Protocol.full())
        chosen = {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}
        sizes = {"limit": _QUICK_IMAGES, "batch_size": _QUICK_BATCH} if quick else {}
        parser.set_defaults({name: chosen[name] for name in chosen if name != "attribution"} | sizes)


def read_protocol(options: Mapping[str, Any], subject: NamedNetwork | None = None) -> Protocol:
    """Return the protocol that the options of `add_protocol` ask for.

    Args:
        options: The fields of `Protocol`; `method` and `output`, where given, stand for the attribution.
        subject: Whose range of input the attribution is told, where it takes one.

    Raises:
        ArgumentError: If a value is out of range, or the attribution is not known.
    """
    known = {field.name: options[field.name] for field in fields(Protocol) if field.name in options}
    known |= {name: tuple(known[name]) for name in ("groups", *_LEVELS) if name in known}
    if options.get("method"):
        bounds = None if subject is None else subject.bounds
        known["attribution"] = attribution(options["method"], options.get("output", "logit"), bounds)
    elif options.get("output", "logit") != "logit":
        raise ArgumentError("--output goes with --method; pass --method gradient, say.")
    return Protocol(**known)


def score(
    subject: NamedNetwork, splits: Splits, options: Mapping[str, Any], console: Console, folder: Path | None = None
) -> Scorecard:
    """Score a network, write scorecard.json and scorecard.csv, and return the scorecard.

    Args:
        subject: The network.
        splits: Its data.
        options: Those of `add_protocol`.
        console: Where progress goes.
        folder: Where the files go; None for the run directory.

    Raises:
        ArgumentError: If a network by name has no folder, or the data have classes that it does not know.
        RunError: If the folder cannot be written to.
    """
    protocol = read_protocol(options, subject)
    folder = folder_of(subject, folder)
    if options["limit"] is not None:
        checks.at_least("--limit", options["limit"], 1)
    images = _sample(_labelled(subject, getattr(splits, options["split"])), options["limit"], protocol.seed)
    source = options["data"] or (subject.settings.data if isinstance(subject, Run) else None)
    with Reporter(console).work(f"scoring {subject.name}", len(images)) as tell:
        card = evaluate(
            subject.classifier,
            loader(images, options["batch_size"], shuffle=False),
            protocol,
            name=subject.name,
            settings={"data": source, "split": options["split"], "skipped_files": len(splits.skipped)},
            limit=len(images),
            names=images.names,
            folder=folder,
            progress=tell,
        )
    card.save(folder / FILE)
    return card


def folder_of(subject: NamedNetwork, folder: Path | None) -> Path:
    """Return the folder of a network's scores: the one that is given, or else the run directory.

    Raises:
        ArgumentError: If there is neither.
    """
    if folder is not None:
        return folder
    if not isinstance(subject, Run):
        raise ArgumentError(f"{subject.name} is no run with a folder for its scores; pass --out FOLDER.")
    return subject.path


def _sample(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """Return some of the images in their order: the first ones would be of one class where they are sorted by it."""
    if limit is None or limit >= len(images):
        return images
    return images.subset(np.sort(np.random.default_rng(seed).choice(len(images), limit, replace=False)))


def _labelled(subject: NamedNetwork, images: ImageSet) -> ImageSet:
    """Return images with the labels that they have as classes of a network."""
    classes = subject.classifier.classes
    nameless = classes == tuple(map(str, range(len(classes)))) and len(classes) == len(images.classes)
    if images.classes == classes or nameless:
        return images
    position = {name: i for i, name in enumerate(classes)}
    strange = [name for name in images.classes if name not in position]
    if strange:
        raise ArgumentError(
            f"{subject.name} knows no class {strange[0]}, so {len(strange)} of the {len(images.classes)} classes of "
            f"the data cannot be scored; pass data with its classes: {', '.join(classes[:5])}"
            f"{f' and {len(classes) - 5} more' if len(classes) > 5 else ''}."
        )
    places = np.array([position[name] for name in images.classes], dtype=np.int64)
    return replace(images, labels=places[images.labels], classes=classes)


def table(cards: Sequence[Scorecard], only: Sequence[str] | None = None) -> Table:
    """Return scorecards side by side, one column a network, grouped as in the cards; `only` picks rows."""
    settings = cards[0].settings
    title = f"{settings.get('data')} {settings.get('split', '')}, {settings['images']} images; mean [95% interval]"
    grid = Table(title=title, title_justify="left")
    grid.add_column("")
    for card in cards:
        grid.add_column(card.name, justify="right", overflow="fold")
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for card in cards for name in only or card.entries):
        first = next((card.entries[name] for card in cards if name in card.entries), None)
        if first is not None:
            groups.setdefault(first.group, []).append(name)
    for group, names in groups.items():
        spans = {name: _span(cards, name) for name in names}
        shared = len(set(spans.values())) == 1
        grid.add_section()
        grid.add_row(f"[bold]{group}[/bold]{spans[names[0]] if shared else ''}")
        for name in names:
            values = (str(card.entries[name]) if name in card.entries else "-" for card in cards)
            better = next(card.entries[name].score.better for card in cards if name in card.entries)
            grid.add_row(f"  {name.replace('_', ' ')} {_ARROWS[better]}{'' if shared else spans[name]}", *values)
    return grid


def _span(cards: Sequence[Scorecard], name: str) -> str:
    """Return over how many images a score is, where that is not all of them."""
    counts = sorted({card.entries[name].images for card in cards if name in card.entries})
    if {card.settings["images"] for card in cards} == set(counts):
        return ""
    return f" ({' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} images)"
