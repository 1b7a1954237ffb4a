"""`gradsculpt explain`."""

import difflib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from gradsculpt.attributions import Attribution
from gradsculpt.cli.console import progress_console
from gradsculpt.cli.images import NamedImage, collect
from gradsculpt.cli.maps import MapFolder, Rendering, Verdict
from gradsculpt.cli.parser import Parser, command_parser
from gradsculpt.cli.parts import attribution, canonical
from gradsculpt.cli.process import DEVICES, prepare
from gradsculpt.cli.runs import (
    NETWORKS,
    Subject,
    add_network_options,
    by_name,
    check_there,
    is_run,
    open_classifier,
    takes_weights,
)
from gradsculpt.data import to_float
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.models import Classifier

_LOG_SECONDS = 5.0

# Entries of a batch, and images: few, as some methods take seconds an image, and as they make their own batches.
_ENTRIES, _IMAGES = 2**18, 32


def run(words: Sequence[str]) -> None:
    """Write heat maps, overlays and raw arrays of images."""
    prepare()
    parser = _parser()
    options, console = parser.build(parser.read(options_last(parser, words))), progress_console()
    if options["signed"] and options["absolute"]:
        raise ArgumentError("--signed and --absolute exclude each other; pass one, or none for --absolute.")
    rendering = Rendering(options["clip"], options["signed"], options["top_k"])
    names, paths = _networks_first(options)
    subjects = _opened(names, options)
    methods = [_methods(subject, options) for subject in subjects]
    found = [collect(subject, paths, options, None if i else console) for i, subject in enumerate(subjects)]
    images, unreadable = [part for part, _ in found], found[0][1]
    if any([image.name for image in part] != [image.name for image in images[0]] for part in images):
        raise ArgumentError("the runs split this data in different ways, so their images differ; pass image files.")
    networks = [subject.name for subject in subjects]
    with MapFolder(options["out"], networks, list(methods[0]), rendering) as folder:
        _explain(subjects, images, methods, options["target"], folder, console)
    console.print(f"{len(images[0])} images explained in {options['out']}", highlight=False)
    if unreadable:
        console.print(f"{len(unreadable)} files could not be read:", *unreadable, sep="\n  ", highlight=False)


def _parser() -> Parser:
    parser = command_parser("explain", "Write heat maps, overlays and raw arrays of images, and a sheet of them all.")
    parser.add_argument("run", type=str, nargs="?", help=f"Run directory, or {NETWORKS}.")
    parser.add_argument("images", type=str, nargs="*", help="More of these, then image files or folders of them.")
    parser.add_argument("--model", type=str | None, help="A network by name, instead of naming it first.")
    add_network_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="Folder for the maps.")
    parser.add_argument("--data", type=str | None, help="Explain samples of this data instead of files.")
    parser.add_argument("--data_dir", type=Path | None, help="Where downloaded sets live.")
    parser.add_argument("--cache_dir", type=Path | None, help="Where decoded images are cached.")
    parser.add_argument("--split", type=str, choices=["test", "val", "train"], default="test", help="Part of --data.")
    parser.add_argument("--count", type=int, default=16, help="How many samples of --data, evenly spaced.")
    parser.add_argument(
        "--method",
        type=str,
        nargs="+",
        default=["gradient"],
        help="Attributions, one or more, with settings as in smoothgrad:samples=64,sigma=0.1; gradsculpt list.",
    )
    parser.add_argument("--output", type=str, default="logit", help="logit, probability or log_probability.")
    parser.add_argument("--target", type=str | None, help="true, predicted (the default for files) or a class name.")
    parser.add_argument("--clip", type=float, default=99.0, help="Percentile of a map that becomes the brightest.")
    parser.add_argument("--top_k", type=float | None, help="Show only this share of the pixels, the largest.")
    parser.add_argument("--absolute", action="store_true", help="Show magnitudes, from black to bright: the default.")
    parser.add_argument("--signed", action="store_true", help="Show signs: blue below 0, white at 0, red above.")
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", help="Where to compute.")
    parser.add_argument("--strict", action="store_true", help="Stop at the first unreadable file.")
    return parser


def options_last(parser: Parser, words: Sequence[str]) -> list[str]:
    """Put networks and images in front of the options, as the parser sees them only while they stand together."""
    takes = {option: action.nargs for action in parser._actions for option in action.option_strings}
    front: list[str] = []
    options: list[str] = []
    left: float = 0
    for word in words:
        if word.startswith("--"):
            nargs = takes.get("--" + word[2:].replace("-", "_"), 0)
            left = 0 if "=" in word or nargs == 0 else math.inf if nargs == "+" else 1
            options.append(word)
        elif left > 0:
            left -= 1
            options.append(word)
        else:
            front.append(word)
    return [*front, *options]


def _networks_first(options: dict[str, Any]) -> tuple[list[str], list[Path]]:
    """Tell the networks in front from the images after them."""
    words = [word for word in (options["run"], *options["images"]) if word is not None]
    names = [options["model"]] if options["model"] else words[:1]
    rest = words if options["model"] else words[1:]
    if not names:
        raise ArgumentError(f"no network is named; pass a run directory, or {NETWORKS}.")
    while rest and (by_name(rest[0]) or is_run(rest[0])):
        names.append(rest[0])
        rest = rest[1:]
    return names, [Path(word) for word in rest]


def _opened(names: Sequence[str], options: dict[str, Any]) -> list[Subject]:
    """Open every network, and give those of one name different ones."""
    for name in names:
        check_there(name)
    wanting = [name for name in names if takes_weights(name)]
    given = options["weights"]
    if given and len(given) != len(wanting):
        raise ArgumentError(
            f"there are {len(given)} --weights for {len(wanting)} networks that take any "
            f"({', '.join(wanting) or 'runs and pretrained networks have their own'}); pass --weights FILE once for "
            "each, in the order of the networks."
        )
    settings = {name: options[name] for name in ("mean", "std", "image_size") if options[name]}
    if settings and not wanting:
        raise ArgumentError(f"--{next(iter(settings)).replace('_', '-')} is only for networks that --weights are for.")
    subjects: list[Subject] = []
    taken: dict[str, int] = {}
    for name in names:
        if name in wanting:
            weights = given[sum(takes_weights(subject) for subject in names[: len(subjects)])] if given else None
            opened = open_classifier(name, weights=weights, **settings, device=options["device"])
        else:
            opened = open_classifier(name, device=options["device"])
        taken[opened.name] = taken.get(opened.name, 0) + 1
        again = "" if taken[opened.name] == 1 else f"-{taken[opened.name]}"
        subjects.append(Subject(opened.name + again, opened.classifier, opened.run))
    return subjects


def _methods(subject: Subject, options: dict[str, Any]) -> dict[str, Attribution]:
    low, high = (bound.to(subject.classifier.device) for bound in subject.classifier.space.bounds)
    return {canonical(text): attribution(text, options["output"], (low, high)) for text in options["method"]}


def _explain(
    subjects: Sequence[Subject],
    images: Sequence[Sequence[NamedImage]],
    methods: Sequence[dict[str, Attribution]],
    wanted: str | None,
    folder: MapFolder,
    console: Console,
) -> None:
    """Compute and write every map."""
    total = sum(len(part) * len(known) for part, known in zip(images, methods, strict=True))
    with _progress(console, total) as advance:
        for subject, part, known in zip(subjects, images, methods, strict=True):
            step = max(1, min(_IMAGES, _ENTRIES // part[0].pixels.size))
            for start in range(0, len(part), step):
                batch = part[start : start + step]
                pixels = torch.from_numpy(np.stack([image.pixels for image in batch])).permute(0, 3, 1, 2)
                x01 = to_float(pixels.to(subject.classifier.device))
                target, verdicts = judged(subject.classifier, x01, batch, wanted)
                for method, attribute in known.items():
                    maps = _maps(subject, x01, target, method, attribute)
                    folder.add(subject.name, method, batch, x01, verdicts, maps)
                    advance(len(batch), f"{method} on {subject.name}")


def _maps(subject: Subject, x01: Tensor, target: Tensor, method: str, attribute: Attribution) -> Tensor:
    try:
        return attribute(subject.classifier.network, subject.classifier.space.normalize(x01), target)
    except ModelError as error:
        raise ModelError(f"{method} cannot explain {subject.name}: {error}") from error


def judged(
    classifier: Classifier, x01: Tensor, images: Sequence[NamedImage], wanted: str | None
) -> tuple[Tensor, list[Verdict]]:
    """Return the classes to explain, [N], and what is to be said of them."""
    with torch.no_grad():
        probabilities = classifier(x01).softmax(dim=1)
    target = _targets(wanted, images, probabilities, classifier.classes).to(classifier.device)
    best, scores = probabilities.argmax(dim=1), probabilities.gather(1, target[:, None])[:, 0]
    names = classifier.classes
    return target, [
        Verdict(names[first], names[chosen], score)
        for first, chosen, score in zip(best.tolist(), target.tolist(), scores.tolist(), strict=True)
    ]


def _targets(wanted: str | None, images: Sequence[NamedImage], probabilities: Tensor, classes: Sequence[str]) -> Tensor:
    """Return the class to explain for each image."""
    position = {name: i for i, name in enumerate(classes)}
    known = [position[image.label] for image in images if image.label in position]
    if wanted in (None, "true") and len(known) == len(images):
        return torch.tensor(known)
    if wanted == "true" and wanted not in position:
        strange = next((image.label for image in images if image.label is not None), None)
        raise ArgumentError(
            "the true class of a file is not known; pass --target predicted or a class name."
            if strange is None
            else f"the network knows no class {strange}, the true one; pass --target predicted or a class name."
        )
    if wanted in (None, "predicted"):
        return probabilities.argmax(dim=1)
    if wanted not in position:
        near = difflib.get_close_matches(str(wanted), classes, n=3)
        listed = ", ".join(classes[:10]) + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ArgumentError(f"--target {wanted} is no class of this network; its classes are {listed}.{hint}")
    return torch.full((len(images),), position[str(wanted)])


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[int, str], None]]:
    """Yield a function to be told of finished maps: a bar on a terminal, lines now and then in a log."""
    started = said = time.monotonic()
    done = 0
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("explaining", total=total)

        def advance(count: int, what: str) -> None:
            nonlocal done, said
            done += count
            bar.update(task, completed=done, description=what)
            now = time.monotonic()
            if not console.is_terminal and (now - said >= _LOG_SECONDS or done == total):
                left = (now - started) / done * (total - done)
                console.print(f"{done} of {total} maps ({what}), about {left:.0f} s left", highlight=False)
                said = now

        yield advance
