"""`gradsculpt attack`."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attacks import Attack, Manipulation
from gradsculpt.attributions import Attribution, heatmap
from gradsculpt.cli.console import progress_console
from gradsculpt.cli.evaluate import named_network
from gradsculpt.cli.explain import judged, options_last
from gradsculpt.cli.images import NamedImage, collect
from gradsculpt.cli.maps import Verdict
from gradsculpt.cli.parser import Parser, command_parser
from gradsculpt.cli.parts import attack_of, attribution, canonical, names
from gradsculpt.cli.process import DEVICES, make_folder, prepare
from gradsculpt.cli.progress import progress
from gradsculpt.cli.runs import NETWORKS, Subject, add_network_options
from gradsculpt.data import to_float
from gradsculpt.errors import ModelError
from gradsculpt.metrics import cosine, ssim, topk_intersection
from gradsculpt.visualize import colour, contact_sheet, plain, png
from gradsculpt.visualize.render import Picture

_ENTRIES, _IMAGES = 2**19, 32  # of a batch
_SMOOTH_BETA = 20.0
_LEVELS = 255
_SHEET_ROWS = 16
_SHOWN = 0.995
_PICTURE_SIDE = 224


@dataclass(frozen=True)
class View:
    """Some images as a network and its map see them.

    Args:
        images: [N, C, S, S] in [0, 1].
        maps: Maps of the same classes throughout, [N, C, S, S].
        verdicts: What the network says of each.
        goals: What the attack is judged by, [N], lower is better for it; NaN if it has no goal.
    """

    images: Tensor
    maps: Tensor
    verdicts: Sequence[Verdict]
    goals: Tensor


def run(words: Sequence[str]) -> None:
    """Write attacked images, their maps before and after, and the figures."""
    prepare()
    parser = _parser()
    options, console = parser.build(parser.read(options_last(parser, words))), progress_console()
    if options["model"] and options["network"]:
        options["images"], options["network"] = [options["network"], *options["images"]], None
    subject = named_network(options)
    low, high = (bound.to(subject.classifier.device) for bound in subject.classifier.space.bounds)
    method = attribution(options["method"], options["output"], (low, high))
    attack = attack_of(options["attack"], steps=options["steps"], bounds=(low, high))
    checks.within("--eps", options["eps"], 0.0, _LEVELS)
    checks.positive("--k", options["k"])
    checks.within("--k", options["k"], 0.0, 1.0)
    images, unreadable = collect(subject, [Path(word) for word in options["images"]], options, console)
    attack = _sized(attack, options["eps"], subject, images[0].pixels.size)
    _write(subject, images, method, attack, options, console)
    console.print(f"{len(images)} images attacked in {options['out']}", highlight=False)
    if unreadable:
        console.print(f"{len(unreadable)} files could not be read:", *unreadable, sep="\n  ", highlight=False)


def _parser() -> Parser:
    parser = command_parser(
        "attack",
        "Change images so that nobody sees it and their predicted classes stay, but their maps change; write attacked "
        "images, maps before and after, figures and a sheet.",
    )
    parser.add_argument("network", type=str, nargs="?", help=f"Run directory, or {NETWORKS}.")
    parser.add_argument("images", type=str, nargs="*", help="Image files or folders of them.")
    parser.add_argument("--model", type=str | None, help="A network by name, instead of naming it first.")
    add_network_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="Folder for what is written.")
    parser.add_argument("--data", type=str | None, help="Attack samples of this data instead of files.")
    parser.add_argument("--data_dir", type=Path | None, help="Where downloaded sets live.")
    parser.add_argument("--cache_dir", type=Path | None, help="Where decoded images are cached.")
    parser.add_argument("--split", type=str, choices=["test", "val", "train"], default="test", help="Part of --data.")
    parser.add_argument("--count", type=int, default=8, help="How many samples of --data, evenly spaced.")
    parser.add_argument(
        "--attack",
        type=str,
        default="targeted",
        help=f"{', '.join(names(Attack))}, with settings as in topk:k=0.2,restarts=2.",
    )
    parser.add_argument("--method", type=str, default="gradient", help="The map that is attacked, as in explain.")
    parser.add_argument("--output", type=str, default="logit", help="logit, probability or log_probability.")
    parser.add_argument(
        "--eps",
        type=float,
        default=4.0,
        help="How far an image may be moved, in 8-bit levels: every entry, or in L2 the root mean square over entries.",
    )
    parser.add_argument("--steps", type=int | None, help="Steps of the attack; default its own.")
    parser.add_argument("--k", type=float, default=0.4, help="Share of non-zero pixels whose overlap is reported.")
    parser.add_argument("--target", type=str | None, help="true, predicted (the default for files) or a class name.")
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", help="Where to compute.")
    parser.add_argument("--strict", action="store_true", help="Stop at the first unreadable file.")
    return parser


def _sized(attack: Attack, levels: float, subject: Subject, entries: int) -> Attack:
    """Give an attack its size, in 8-bit levels: of every entry, or the root mean square over all where it is in L2."""
    eps = subject.classifier.space.pixels(levels / _LEVELS).to(subject.classifier.device)
    length = getattr(attack, "norm", None) == "l2" or getattr(attack, "kind", None) == "gaussian"
    return replace(attack, eps=eps * entries**0.5 if length else eps)  # type: ignore[type-var]


def _write(
    subject: Subject,
    images: Sequence[NamedImage],
    method: Attribution,
    attack: Attack,
    options: Mapping[str, Any],
    console: Console,
) -> None:
    """Attack images in batches, and write what comes of each batch at once, and the sheet in the end."""
    out, sheet = options["out"], _Sheet(options["k"], _note(subject, options))
    make_folder(out)
    step = max(1, min(_IMAGES, _ENTRIES // images[0].pixels.size))
    done = 0
    with (out / "index.csv").open("w", newline="", encoding="utf-8") as file:
        index: csv.DictWriter[str] | None = None
        with progress(console, f"attacking {subject.name}", len(images)) as tell:
            for start in range(0, len(images), step):
                batch = images[start : start + step]
                attack, views = _attacked(subject, batch, method, attack, options["target"], console)
                rows = list(_figures(batch, views, options["k"], subject.name))
                index = index or csv.DictWriter(file, list(rows[0]))
                if file.tell() == 0:
                    index.writeheader()
                index.writerows(rows)
                file.flush()
                _save(out, batch, views)
                sheet.add(batch, views, rows)
                done += len(batch)
                tell(done)
    (out / "sheet.png").write_bytes(sheet.png())


def _note(subject: Subject, options: Mapping[str, Any]) -> str:
    steps = "" if options["steps"] is None else f", {options['steps']} steps"
    what = f"attack {canonical(options['attack'])}{steps}, eps {options['eps']:g} of 255"
    return f"{what}, on {canonical(options['method'])} of {subject.name}"


def _attacked(
    subject: Subject,
    batch: Sequence[NamedImage],
    method: Attribution,
    attack: Attack,
    wanted: str | None,
    console: Console,
) -> tuple[Attack, tuple[View, View, View]]:
    """Return the attack as it had to be, and views of the clean images, the attacked ones, and these in 8 bits."""
    classifier = subject.classifier
    pixels = torch.from_numpy(np.stack([image.pixels for image in batch])).permute(0, 3, 1, 2)
    clean = to_float(pixels.to(classifier.device))
    target, _ = judged(classifier, clean, batch, wanted)
    given = (classifier.network, method, classifier.space.normalize(clean), target)
    try:
        changed = attack(*given)
    except ModelError as error:
        if not isinstance(attack, Manipulation) or attack.smooth_beta is not None:
            raise ModelError(f"the maps of {subject.name} cannot be attacked: {error}") from error
        attack = replace(attack, smooth_beta=_SMOOTH_BETA)
        changed = attack(*given)
        # Said once it is known to help: a method that fails for another reason fails again.
        console.print(
            f"The maps of {subject.name} have no slope to follow, so the attack follows those of the same network with "
            f"Softplus of beta {_SMOOTH_BETA:g} in place of ReLU; figures are of the network itself.",
            highlight=False,
        )
    moved = classifier.space.denormalize(changed).clamp(0, 1)
    # An image that stayed as it was stays so to the last bit.
    moved = torch.where(changed == given[2], clean, moved)
    rounded = (moved * _LEVELS).round() / _LEVELS
    return attack, _views(subject, (clean, moved, rounded), method, attack, target)


def _views(
    subject: Subject, images: tuple[Tensor, Tensor, Tensor], method: Attribution, attack: Attack, target: Tensor
) -> tuple[View, View, View]:
    classifier, names = subject.classifier, subject.classifier.classes
    maps = [method(classifier.network, classifier.space.normalize(x), target).detach() for x in images]
    goal = attack.plan(*images[0].shape[-2:])[0] if isinstance(attack, Manipulation) else None
    reference = None if goal is None else goal.reference(maps[0])
    found = []
    for x, read in zip(images, maps, strict=True):
        with torch.no_grad():
            probabilities = classifier(x).softmax(dim=1)
        own = probabilities.gather(1, target[:, None])[:, 0].tolist()
        best = probabilities.argmax(dim=1).tolist()
        said = [Verdict(names[b], names[t], p) for b, t, p in zip(best, target.tolist(), own, strict=True)]
        score = torch.full_like(target, torch.nan, dtype=x.dtype)
        found.append(View(x, read, said, score if goal is None or reference is None else goal.score(read, reference)))
    return found[0], found[1], found[2]


def _figures(
    batch: Sequence[NamedImage], views: tuple[View, View, View], k: float, network: str
) -> Iterator[dict[str, str]]:
    """Yield what is to be said of each image; `rounded` is of the PNG file, the rest of the array."""
    before = views[0]
    heat = heatmap(before.maps, clip=100.0)
    columns: dict[str, list[float]] = {}
    for prefix, view in (("", views[1]), ("rounded_", views[2])):
        hot, change = heatmap(view.maps, clip=100.0), (view.images - before.images).flatten(1) * _LEVELS
        columns |= {
            f"{prefix}ssim": ssim(heat, hot).tolist(),
            f"{prefix}cosine": cosine(heat, hot).tolist(),
            f"{prefix}topk": topk_intersection(heat, hot, k, nonzero=True).tolist(),
            f"{prefix}goal": view.goals.tolist(),
            f"{prefix}linf": change.abs().amax(dim=1).tolist(),
            f"{prefix}rms": change.square().mean(dim=1).sqrt().tolist(),
        }
    goals = before.goals.tolist()
    for i, image in enumerate(batch):
        said = {f"predicted_{when}": v.verdicts[i].predicted for when, v in zip(_WHEN, views, strict=True)}
        own = {f"probability_{when}": f"{v.verdicts[i].probability:.4f}" for when, v in zip(_WHEN, views, strict=True)}
        named = {"image": image.name, "network": network, "true": image.label or ""}
        figures = {"goal_before": goals[i], **{name: column[i] for name, column in columns.items()}}
        shown = {name: f"{value:.4f}" if value == value else "" for name, value in figures.items()}
        yield {**named, "target": before.verdicts[i].target, **said, **own, **shown}


_WHEN = ("before", "after", "rounded")


def _save(out: Path, batch: Sequence[NamedImage], views: tuple[View, View, View]) -> None:
    """Write the attacked images and the maps."""
    before, after, rounded = views
    attacked, pictures = after.images.float().cpu().numpy(), plain(rounded.images)
    for i, image in enumerate(batch):
        np.save(out / f"{image.name}.attacked.npy", attacked[i])
        (out / f"{image.name}.attacked.png").write_bytes(png(pictures[i]))
    for when, view in (("before", before), ("after", after)):
        for image, read, picture in zip(batch, view.maps, colour(view.maps), strict=True):
            np.save(out / f"{image.name}.{when}.npy", read.float().cpu().numpy())
            (out / f"{image.name}.{when}.png").write_bytes(png(picture, _PICTURE_SIDE))


class _Sheet:
    """The first images and their maps, before and after."""

    def __init__(self, k: float, note: str) -> None:
        self._k, self._note = k, note
        self._rows: list[list[Picture]] = []
        self._labels: list[str] = []
        self._captions: list[list[str]] = []

    def add(
        self, batch: Sequence[NamedImage], views: tuple[View, View, View], rows: Sequence[Mapping[str, str]]
    ) -> None:
        """Draw some images, unless there are enough."""
        before, after, _ = views
        shown = _SHEET_ROWS - len(self._rows)
        change = after.images - before.images
        # A few entries may have moved much farther than the rest, of which nothing would be seen beside them.
        large = change.flatten(1).abs().quantile(_SHOWN, dim=1).clamp(min=torch.finfo(change.dtype).tiny)
        grey = (0.5 + change / (2 * large.view(-1, 1, 1, 1))).clamp(0, 1)
        parts = (plain(before.images), plain(after.images), colour(before.maps), colour(after.maps), plain(grey))
        self._rows += [list(row) for row in zip(*parts, strict=True)][:shown]
        for image, was, now, row in list(zip(batch, before.verdicts, after.verdicts, rows, strict=True))[:shown]:
            self._labels.append(image.label or image.name)
            overlap = f"SSIM {float(row['ssim']):.2f}, top {self._k:.0%} kept {float(row['topk']):.0%}"
            own = f"{was.target} ({was.probability:.0%})"
            moved = f"up to {float(row['linf']):.3g}, rms {float(row['rms']):.2g} of 255"
            self._captions.append([was.predicted, now.predicted, own, overlap, moved])

    def png(self) -> bytes:
        """Return the sheet."""
        headings = ["image", "attacked image", "map", "map of the attacked image", "difference, scaled up"]
        return contact_sheet(self._rows, headings, self._labels, captions=self._captions, note=self._note)
