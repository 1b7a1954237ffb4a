"""Scoring a classifier and its maps on images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.given import Units, as_classifier, batches
from gradsculpt.evaluation.groups.base import Column, ScoreGroup
from gradsculpt.evaluation.per_image_values import Header, PerImageValues
from gradsculpt.evaluation.protocol import Protocol
from gradsculpt.evaluation.readable import ODD_SCORE, measured_apart, named
from gradsculpt.evaluation.results import Curve, Entry, entry
from gradsculpt.evaluation.scorecard import BLANK, LEFT_OUT, Scorecard
from gradsculpt.evaluation.shards import Shard, Shards
from gradsculpt.evaluation.yardsticks import KINDS, TRIALS, guessing, ignorant, trial
from gradsculpt.fingerprint import fingerprint
from gradsculpt.inputs import InputSpace
from gradsculpt.locks import locked
from gradsculpt.metrics import Score
from gradsculpt.progress import Progress
from gradsculpt.runs import Reached, scores_lock
from gradsculpt.wording import counted

TRAINED = "trained"
"""What a scorecard's settings say of the training: of which epoch the weights are, and whether it has ended."""

BLANK_MAPS = Header(
    "maps",
    Score(
        BLANK,
        0.0,
        1.0,
        "lower",
        "fraction",
        "How many maps are zero everywhere, of which no other score means anything.",
    ),
    None,
)
"""Whether a map is zero everywhere; in the table only where one is, as nothing else there could then be believed."""


_ODD_IMAGES = Header("maps", ODD_SCORE, None)
"""Whether an image was left out; in the table only where one is."""


def evaluate(
    classifier: nn.Module,
    data: Iterable[Any],
    protocol: Protocol | None = None,
    *,
    space: InputSpace | None = None,
    normalized: bool | None = None,
    name: str = "classifier",
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    names: Sequence[str] | None = None,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    shard: Shard | None = None,
) -> Scorecard:
    """Score a classifier: accuracy, and sparsity, robustness, fidelity, truth and sanity of its maps.

    Args:
        classifier: A `Classifier`, or any module from images [N, C, H, W] to logits [N, K]; used in the mode it is in.
        data: Batches as tuples: images [N, C, H, W], labels [N], and, where known, truth maps [N, 1, H, W] or
            [N, H, W]; in tensors or arrays. Or one such tuple for the whole set. Images are in 8 bits (uint8), in
            [0, 1], or, if a space is told, normalised by it.
        protocol: What is scored and how; the default if None.
        space: How a module that is no `Classifier` wants images in [0, 1] normalised; None for as they are.
        normalized: Whether images in floating point are normalised by the space already, as the module takes them, or
            are pixels in [0, 1]. If None, values tell: within [0, 1] they are pixels, and if a space is told and they
            reach far beyond, normalised; what may be both is refused, and so is what cannot be what was told.
        name: Name of the scorecard.
        settings: More to note in the scorecard.
        limit: Use at most this many images; None for all.
        names: Names of the images for the table of values, in the order of the data; None counts from 0.
        folder: Where per-image values are written as they come, and `scorecard.csv` in the end. An evaluation that was
            interrupted there goes on, if classifier, protocol, settings and names are the same, up to the first batch
            with an image whose pixels, label or truth are not. Nobody else may write there meanwhile.
        progress: Called as `progress(done, total)` after each score of a batch and after each batch; done are the
            images of whole batches, total is `limit`. What it raises ends the evaluation.
        shard: Measure these batches alone, and keep what is measured in the folder: an evaluation of all takes it from
            there, finished or not. Several may run at once if they share the folder; values are those of one process.

    Returns:
        Means over the images with 95% bootstrap intervals; of a shard, over its own. Images whose logits or maps are
        not finite are left out, counted as `not_finite` and named in the settings as `left_out`. Ground-truth scores
        leave out images without any evidence (the blank cells), for which precision and recall mean nothing; rows that
        end in `_all` are over all images.

    Raises:
        ArgumentError: If there are no images, they are not in the units that were told, labels do not fit the
            classifier, or a group yields what is no column.
        RunError: If the folder cannot be written to, or another process or thread writes there.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 2))
        >>> batches = [(torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1]))]
        >>> card = evaluate(model, batches, name="mine")
        >>> 0 <= card["gini"].mean < 1
        True
    """
    checks.of_type("protocol", protocol, Protocol | None)
    protocol = protocol or Protocol()
    if limit is not None:
        checks.at_least("limit", limit, 1)
    noted = {**protocol.settings(), **trained(classifier), **dict(settings or {})}
    units = Units.of(classifier, space, normalized)
    folder = None if folder is None else Path(folder)
    if folder is None and shard is not None:
        raise ArgumentError(f"shard={shard} has no folder, so what it measures would be lost; pass folder as well.")
    given = _Task(classifier, data, protocol, space, units, name, noted, limit, names, progress, shard)
    lock = "" if folder is None else scores_lock(folder) if shard is None else f".gradsculpt-{shard.part}.lock"
    with locked(folder, "evaluate", name=lock) if folder else nullcontext():
        return _scored(given, folder)


def trained(classifier: nn.Module) -> dict[str, Any]:
    """Return what a scorecard notes of how far the training of a classifier got; nothing where that is not known."""
    reached = getattr(classifier, "reached", None)
    return {TRAINED: asdict(reached)} if isinstance(reached, Reached) else {}


class _Task(NamedTuple):
    """The arguments of `evaluate`, once they were read."""

    classifier: nn.Module
    data: Iterable[Any]
    protocol: Protocol
    space: InputSpace | None
    units: Units
    name: str
    noted: Mapping[str, Any]
    limit: int | None
    names: Sequence[str] | None
    progress: Progress | None
    shard: Shard | None

    def key(self) -> str:
        """Return a digest of what the values depend on besides the images."""
        told = () if self.units.normalized is None else (self.units.normalized,)
        return fingerprint(self.classifier, self.space, self.protocol, self.noted, self.limit, self.names, *told)


def _scored(task: _Task, folder: Path | None) -> Scorecard:
    """Score a classifier into a folder that nobody else writes to."""
    protocol, shard, key = task.protocol, task.shard, task.key() if folder else ""
    values = PerImageValues(folder, key, "" if shard is None else shard.part)
    shards = Shards(folder if shard is None else None, key)
    labels, done = list[Tensor](), 0
    for number, (batch, names, digests) in enumerate(_batches(task, digest=folder is not None)):
        labels.append(batch.labels.cpu())
        if shard is not None and not shard.has(number):
            continue
        values.keep(done, digests)
        if done == len(values):
            shards.hand_over(number, values, digests)
        done += len(batch)
        if done > len(values):
            tell = (lambda: None) if task.progress is None else partial(task.progress, batch.start, task.limit)
            new = slice(len(values) - done, None)  # those before were measured before an interruption
            found = measured_apart(batch, partial(_measured, protocol=protocol, tell=tell), _ODD_IMAGES)
            columns = {header: column[new] for header, column in found.items()}
            values.append(names[new], columns, digests[new])
        if task.progress is not None:
            task.progress(batch.start + len(batch), task.limit)
    if not labels:
        raise ArgumentError("there are no images to score; pass data with at least one batch.")
    values.end(done)  # where an interrupted evaluation had got further, of more images
    columns = values.columns()
    noted = {"images": done, **task.noted, "notes": _of_measured(task.noted["notes"], columns, protocol)}
    if _ODD_IMAGES in columns:
        noted[LEFT_OUT] = named(values.images(), columns[_ODD_IMAGES])
    card = Scorecard(task.name, noted, *_summarised(columns, protocol, torch.cat(labels)))
    if shard is None:
        values.finish()
        shards.remove()
    return card


def _batches(task: _Task, *, digest: bool) -> Iterator[tuple[EvaluationBatch, Sequence[str], list[str]]]:
    """Yield what is scored, with the names of the images and, if they are wanted, their digests."""
    generator, done, names = task.protocol.generator(), 0, task.names
    for images, labels, truth, digests in batches(task.data, task.classifier, task.units, task.limit, digest=digest):
        classifier = as_classifier(task.classifier, task.space, images)
        batch = task.protocol.batch(classifier, images, labels, truth, generator, done)
        done += len(labels)
        if names is not None and len(names) < done:
            raise ArgumentError(f"names has {len(names)} entries for {done} images or more; pass one for each.")
        chosen = list(map(str, range(batch.start, done))) if names is None else names[batch.start : done]
        yield batch, chosen, digests


def _of_measured(notes: Sequence[str], columns: Iterable[Header], protocol: Protocol) -> list[str]:
    """Return the notes but for those on groups that had nothing to measure, such as truth that is not known."""
    measured = {header.group for header in columns}
    silent = Protocol(tuple(group for group in protocol.groups if group.name not in measured)).settings()["notes"]
    return [note for note in notes if note not in silent]


def _measured(
    batch: EvaluationBatch, protocol: Protocol, tell: Callable[[], object] = lambda: None
) -> dict[Header, Tensor]:
    """Return the columns of a batch, with NaN for images that were not measured; `tell` is called after each."""
    columns: dict[Header, Tensor] = {}
    checks.labels(batch.labels, *batch.logits.shape)
    for group in protocol.in_order():
        if group.needs_ground_truth and batch.ground_truth is None:
            continue
        for column in group.measure(batch):
            header = Header(group.name, column.score, column.point)
            _check(group, column, header.name, len(batch), columns)
            whole = torch.full((len(batch),), torch.nan, dtype=torch.float64)
            whole[: len(column.values)] = column.values.detach().double().cpu()
            columns[header] = whole
            tell()
    if batch.has_maps:
        columns[BLANK_MAPS] = (batch.maps == 0).flatten(1).all(dim=1).double().cpu()
    columns |= _yardsticks(batch, protocol, tell)
    return columns


def _yardsticks(batch: EvaluationBatch, protocol: Protocol, tell: Callable[[], object]) -> dict[Header, Tensor]:
    """Return what each score would be of maps that know nothing of the first images of all."""
    columns: dict[Header, Tensor] = {}
    for group in protocol.in_order():
        fewer = trial(batch, min(TRIALS, group.trials))
        if not len(fewer) or (group.needs_ground_truth and batch.ground_truth is None):
            continue
        for kind in KINDS:
            for column in ignorant(group, kind, fewer):
                whole = torch.full((len(batch),), torch.nan, dtype=torch.float64)
                whole[: len(column.values)] = column.values.detach().double().cpu()
                columns[Header(group.name, column.score, None, kind)] = whole
                tell()
    return columns


def _check(group: ScoreGroup, column: Column, name: str, count: int, others: Iterable[Header]) -> None:
    owners = {other.name: other.group for other in others}
    if name in owners:
        raise ArgumentError(
            f"{name} is measured by {owners[name]} and by {group.name}, and one would hide the other; leave a group "
            "out, or give one of the scores another name."
        )
    if column.values.ndim != 1 or len(column.values) > count:
        raise ArgumentError(
            f"{group.name} gives {name} as {list(column.values.shape)} for a batch of "
            f"{counted(count, 'images')}; return one value "
            "an image."
        )
    if column.point is not None and column.point.curve not in group.curves:
        raise ArgumentError(f"{group.name} draws a curve {column.point.curve} that its `curves` does not describe.")


def _summarised(
    values: Mapping[Header, Tensor], protocol: Protocol, labels: Tensor
) -> tuple[dict[str, Entry], dict[str, Curve]]:
    """Return the lines and the curves of the scorecard, each of the images that count; labels are those of all."""
    entries: dict[str, Entry] = {}
    curves: dict[str, Curve] = {}
    guessed = {name: {"chance": value} for name, value in guessing(labels).items()}
    if _ODD_IMAGES in values:
        odd = entry(_ODD_IMAGES.group, ODD_SCORE, values[_ODD_IMAGES].nan_to_num(nan=0.0), protocol.seed)
        entries[ODD_SCORE.name] = odd
    if BLANK_MAPS in values:
        blank = values[BLANK_MAPS][values[BLANK_MAPS].isfinite()]  # of images whose map was read
        if bool(blank.any()):
            entries[BLANK] = entry(BLANK_MAPS.group, BLANK_MAPS.score, blank, protocol.seed)
    for group in protocol.in_order():
        own = {header: column for header, column in values.items() if header.group == group.name}
        columns = [Column(header.score, column, header.point) for header, column in own.items() if not header.yardstick]
        against: dict[str, dict[str, Any]] = {**guessed, **_held_against(group, own)}
        lines = [column for column in columns if column.point is None]
        points: dict[str, dict[float | str, Entry]] = {}
        for column in (*(group.summarised(lines) if lines else ()), *(each for each in columns if each.point)):
            if not len(finite := column.values[column.values.isfinite()]):
                continue
            heading = f"{group.name}, {column.heading}" if column.heading else group.name
            summary = entry(heading, column.score, finite, protocol.seed)
            if column.point is None:
                entries[column.score.name] = replace(summary, **against.get(column.score.name, {}))
            else:
                points.setdefault(column.point.curve, {})[column.point.x] = summary
        for name, places in points.items():
            text = group.curves[name]
            mean, low, high = zip(*((each.mean, each.low, each.high) for each in places.values()), strict=True)
            curves[name] = Curve(*text[:3], tuple(places), mean, low, high, text.caption)
    return entries, curves


def _held_against(group: ScoreGroup, values: Mapping[Header, Tensor]) -> dict[str, dict[str, float]]:
    """Return the yardsticks of a group by score and kind; none where the maps' own places make no difference."""
    against: dict[str, dict[str, float]] = {}
    true = {header.name: column[:TRIALS] for header, column in values.items()}
    for kind in KINDS:
        columns = [Column(header.score, v[:TRIALS]) for header, v in values.items() if header.yardstick == kind]
        same = {column.score.name for column in columns if _same(column.values, true[column.score.name])}
        for column in group.summarised(columns) if columns else ():
            if column.score.name not in same and len(finite := column.values[column.values.isfinite()]):
                against.setdefault(column.score.name, {})[kind] = float(finite.mean())
    return against


def _same(values: Tensor, true: Tensor) -> bool:
    """Whether all values that were measured are the true ones."""
    measured = values.isfinite()
    return torch.allclose(values[measured], true[measured], rtol=1e-6, atol=1e-9, equal_nan=True)
