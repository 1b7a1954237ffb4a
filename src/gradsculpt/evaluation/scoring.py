"""Scoring a classifier and its maps on images."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.data import to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.entries import Curve, Entry, entry
from gradsculpt.evaluation.groups import ALL, CURVES, GROUPS
from gradsculpt.evaluation.protocol import Protocol
from gradsculpt.evaluation.scorecard import Scorecard
from gradsculpt.evaluation.subject import Subject
from gradsculpt.evaluation.values import Header, Values
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import Score
from gradsculpt.metrics.calibration import gaps
from gradsculpt.models import Classifier

Progress = Callable[[int, int | None], None]

_ROUNDING = 1e-3


def evaluate(
    classifier: nn.Module,
    data: Iterable[Any],
    protocol: Protocol | None = None,
    *,
    space: InputSpace | None = None,
    name: str = "classifier",
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    names: Sequence[str] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Scorecard:
    """Score a classifier: accuracy, and sparsity, robustness, fidelity, truth and sanity of its maps.

    Args:
        classifier: A `Classifier`, or any module from images [N, C, H, W] to logits [N, K]; used in the mode it is in,
            normally eval.
        data: Batches of images with labels and, where known, truth maps: tuples of images
            [N, C, H, W], in 8 bits or in [0, 1], labels [N], and truth maps [N, 1, H, W] or [N, H, W].
        protocol: What is scored and how; the default if None.
        space: How a module that is no `Classifier` wants images in [0, 1] normalised; None for as they are.
        name: Name of the scorecard.
        settings: More to note in the scorecard.
        limit: Use at most this many images; None for all.
        names: Names of the images for the table of values, in the order of the data; None counts from 0.
        folder: Where per-image values are written as they come, and `scorecard.csv` in the end. An evaluation that was
            interrupted there goes on, if classifier, protocol, settings and names are the same.
        progress: Called as `progress(done, total)` after each batch; total is `limit`.

    Returns:
        Means over the images with 95% bootstrap intervals. Ground-truth scores leave out images without any evidence
        (the blank cells), for which precision and recall mean nothing; rows that end in `_all` are over all images.

    Raises:
        ArgumentError: If there are no images, or labels do not fit the classifier.
        RunError: If the folder cannot be written to.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 2))
        >>> batches = [(torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1]))]
        >>> card = evaluate(model, batches, name="mine")
        >>> 0 <= card["gini"].mean < 1
        True
    """
    protocol = protocol or Protocol()
    if limit is not None:
        checks.at_least("limit", limit, 1)
    noted = {**vars(protocol), "attribution": repr(protocol.attribution), **dict(settings or {})}
    state = {**noted, "limit": limit, "names": names and list(names), "classifier": _fingerprint(classifier, space)}
    values = Values(folder, state if folder else None)
    generator, done = protocol.generator(), 0
    for images, labels, truth in _batches(data, limit):
        subject = _subject(classifier, space, protocol, (images, labels, truth), generator, done)
        done += len(labels)
        if done > len(values):
            new = slice(len(values) - done, None)  # those before were measured before an interruption
            chosen = [str(i) for i in range(done)] if names is None else names[:done]
            values.append(chosen[new], {header: found[new] for header, found in _measured(subject, protocol).items()})
        if progress is not None:
            progress(done, limit)
    if not done:
        raise ArgumentError("there are no images to score; pass data with at least one batch.")
    card = Scorecard(name, {"images": done, **noted}, _entries(values, protocol), _curves(values, protocol))
    values.finish()
    return card


def _batches(data: Iterable[Any], limit: int | None) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield images in [0, 1], labels and truth, no more than `limit` images in all."""
    done = 0
    for batch in data:
        images, labels, truth = (*batch, None)[:3]
        rest = slice(None if limit is None else limit - done)
        images, labels = _shares(images[rest]), labels[rest]
        checks.images("images", images)
        if images.numel() and not -_ROUNDING <= float(images.min()) <= float(images.max()) <= 1 + _ROUNDING:
            raise ArgumentError(
                f"images have values from {float(images.min()):g} to {float(images.max()):g}; pass them in 8 bits or "
                "in [0, 1], and how a module wants them normalised as space=InputSpace(mean, std)."
            )
        checks.labels(labels, len(images))
        truth = None if truth is None else _shares(truth[rest])
        yield images, labels, truth[:, None] if truth is not None and truth.ndim == 3 else truth
        done += len(labels)
        if done == limit:
            return


def _shares(values: Tensor) -> Tensor:
    """Return 8-bit values as shares of the largest, and others as they are."""
    return to_float(values) if values.dtype == torch.uint8 else values.float() if values.dtype == torch.bool else values


def _subject(
    classifier: nn.Module,
    space: InputSpace | None,
    protocol: Protocol,
    batch: tuple[Tensor, Tensor, Tensor | None],
    generator: torch.Generator,
    start: int,
) -> Subject:
    images, labels, truth = batch
    channels = images.shape[1]
    if not isinstance(classifier, Classifier):
        space = space or InputSpace((0.0,) * channels, (1.0,) * channels)
        classifier = Classifier(classifier, space, (), images.shape[-1]).train(classifier.training)
    device = classifier.device
    noise = protocol.noise(images.shape, generator)
    moved = (images.to(device), labels.to(device), None if truth is None else truth.to(device), noise.to(device))
    return Subject(classifier, protocol, *moved, start)


def _measured(subject: Subject, protocol: Protocol) -> dict[Header, Tensor]:
    """Return the columns of a batch, with NaN for images that were not measured."""
    found = {}
    for group in GROUPS:
        if group in protocol.groups:
            for column in GROUPS[group](subject):
                whole = torch.full((len(subject),), torch.nan, dtype=torch.float64)
                whole[: len(column.values)] = column.values.detach().double().cpu()
                found[Header(group, column.score, column.point)] = whole
    return found


def _entries(values: Values, protocol: Protocol) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for header, column in values.columns().items():
        name, known = header.score.name, column[column.isfinite()]
        whole = entries.get(name.removesuffix(ALL))
        # Where nothing was left out there is nothing to add, and without any evidence there is no truth to find.
        repeated = name.endswith(ALL) and (whole is None or whole.images == len(known))
        if header.point is None and len(known) and not repeated:
            group = f"{header.group}, images without evidence included" if name.endswith(ALL) else header.group
            entries[name] = entry(group, header.score, known, protocol.seed)
        if name == "confidence":  # the columns of a group follow each other, and accuracy came first
            right = next(values for other, values in values.columns().items() if other.score.name == "accuracy")
            score = Score("calibration_error", 0.0, 1.0, "lower", "fraction")
            entries[score.name] = entry(header.group, score, gaps(column, right), protocol.seed)
    return entries


def _curves(values: Values, protocol: Protocol) -> dict[str, Curve]:
    points: dict[str, list[tuple[float | str, Entry]]] = {}
    for header, column in values.columns().items():
        known = column[column.isfinite()]
        if header.point is not None and len(known):
            found = entry(header.group, header.score, known, protocol.seed)
            points.setdefault(header.point.curve, []).append((header.point.x, found))
    return {
        name: Curve(
            *CURVES[name],
            tuple(x for x, _ in known),
            *(tuple(getattr(e, end) for _, e in known) for end in ("mean", "low", "high")),
        )
        for name, known in points.items()
    }


def _fingerprint(classifier: nn.Module, space: InputSpace | None) -> str:
    """Return what tells one state of a module from another, and one activation or normalisation."""
    digest = hashlib.sha256(f"{classifier!r} {getattr(classifier, 'space', space)!r} {classifier.training}".encode())
    for key, tensor in classifier.state_dict().items():
        if isinstance(tensor, Tensor):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
