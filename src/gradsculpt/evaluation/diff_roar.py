"""DiffROAR: whether the pixels that a map marks teach a new network more than those that it does not."""

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.attributions import Attribution
from gradsculpt.data import Batch, ImageSet, loader, pixel_statistics, to_float
from gradsculpt.errors import ArgumentError, RunError, first_line
from gradsculpt.evaluation.masked import Masked, Ranks, ranks_of
from gradsculpt.files import whole
from gradsculpt.fingerprint import fingerprint
from gradsculpt.gradients import Model
from gradsculpt.isolation import own_randomness
from gradsculpt.locks import locked
from gradsculpt.models import Classifier
from gradsculpt.outputs import logits_at, predicted
from gradsculpt.reading import read_text

if TYPE_CHECKING:  # Lightning takes seconds to import
    from gradsculpt.training import TrainSettings

Train = Callable[[ImageSet, int], Model]
"""From images and a seed to what was trained on them: a callable from images in [0, 1] to logits."""

LEVELS = tuple(tenth / 10 for tenth in range(1, 10))

_DECIDING = "model softplus objective epochs batch_size accumulate clip optimization statistics augment data precision"
_COLUMNS = ("key", "k", "which", "seed", "accuracy")


@dataclass(frozen=True, eq=False)
class DiffRoar:
    """Accuracies of networks retrained on what a map keeps of the images.

    `top` and `bottom` are test accuracies, [levels, seeds], where the most and the least important pixels were kept.
    """

    levels: tuple[float, ...]
    seeds: tuple[int, ...]
    top: Tensor
    bottom: Tensor

    @property
    def values(self) -> Tensor:
        """DiffROAR of every level and seed, [levels, seeds] in [-1, 1], higher is better; of a random map about 0."""
        return self.top - self.bottom

    @property
    def mean(self) -> float:
        """The mean over all levels and seeds."""
        return float(self.values.mean())


@dataclass(frozen=True, repr=False)
class Retraining:
    """Trains a fresh network as a run would, on images that are handed in, and keeps the weights of the last epoch.

    Leaves nothing on disk, and the random state as it was.

    Args:
        settings: Model, softplus, objective, epochs, batch size, optimisation, augmentation, device and precision are
            used; data only for its usual augmentation, and the seed is that of the retraining.

    Raises: RunError if the objective wants a teacher, which would have to be trained first.
    """

    settings: "TrainSettings"

    def __repr__(self) -> str:
        """Name what decides the weights, and nothing else."""
        return f"Retraining({', '.join(f'{name}={getattr(self.settings, name)!r}' for name in _DECIDING.split())})"

    def __call__(self, image_set: ImageSet, seed: int) -> Classifier:
        """Return the classifier trained on these images."""
        from gradsculpt.training.fitting import batches, build_module, build_trainer, finished, quietly

        settings = replace(self.settings, seed=seed, devices=1, nodes=1)
        if settings.objective.requirements.teacher is not None:
            raise RunError(
                f"{type(settings.objective).__name__} trains a teacher first, which retraining does not. Pass settings "
                "with another objective, such as CrossEntropy()."
            )
        with own_randomness(devices=(f"cuda:{i}" for i in range(torch.cuda.device_count()))), quietly():
            module = build_module(settings, image_set)
            trainer = build_trainer(settings, enable_checkpointing=False)
            trainer.fit(module, batches(settings, image_set, trainer.strategy.root_device))
        module.to(trainer.strategy.root_device)
        return finished(module, image_set)


def diff_roar(
    classifier: Classifier,
    train_set: ImageSet,
    test_set: ImageSet,
    attribution: Attribution,
    train: Train,
    *,
    levels: Sequence[float] = LEVELS,
    seeds: Sequence[int] = (0, 1, 2),
    target: Literal["true", "predicted"] = "true",
    fill: Sequence[float] | None = None,
    batch_size: int = 64,
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DiffRoar:
    """Retrain on the most and on the least important pixels, and subtract the accuracies.

    Training and test images are both masked, by the maps that the classifier has for them. Averaged over levels that
    lie symmetrically about a half, keeping k per cent or removing k per cent gives the same number.

    Args:
        classifier: Whose maps are judged; used in the mode it is in.
        train_set: What networks are retrained on.
        test_set: What they are tested on.
        attribution: The maps; reads the classifier's network.
        train: Makes a network from images and a seed; `Retraining(settings)` for one trained as a run is.
        levels: Shares of the pixels to keep.
        seeds: Seeds of the retrainings; the same for top and bottom.
        target: Class whose maps are read: the true one (as in the released code and in AdvGrad), in which case masks
            of test images may tell of the class; or the predicted one.
        fill: Colour of the other pixels, one value a channel in [0, 1]; by default the mean of the training images.
        batch_size: Images a pass.
        out: CSV file of the accuracies, written after each retraining; those in it are not repeated, unless the
            classifier, the images, the maps or the training differ from what they were.
        progress: Called as `progress(done, total)` after each retraining.

    Returns:
        Accuracies and their differences in [-1, 1]: above 0 if pixels that tell the classes apart rank higher, about 0
        for a random map.

    Raises:
        GradsculptError: If a level is not in (0, 1), a list is empty, `out` is no table of DiffROAR, or somebody else
            writes to it.

    Shape: accuracies are [levels, seeds].
    Source: Shah et al., NeurIPS 2021; Gong et al., CVPR 2024, section 5.2, B.5.
    """
    checks.one_of("target", target, ("true", "predicted"))
    cells = _cells(levels, seeds)
    colour = pixel_statistics(train_set)[0] if fill is None else tuple(fill)
    sets = train_set, test_set
    name = repr(train) if is_dataclass(train) else getattr(train, "__qualname__", type(train).__qualname__)
    key = fingerprint(classifier, *sets, attribution, target, colour, name) if out else ""
    with locked(out.parent, "diff_roar", name=f".{out.name}.lock") if out else nullcontext():
        table = (out, key, progress)
        accuracies = _accuracies(classifier, sets, attribution, train, cells, target, colour, batch_size, *table)
    tables = ([[accuracies[level, which, s] for s in seeds] for level in levels] for which in ("top", "bottom"))
    return DiffRoar(tuple(levels), tuple(seeds), *map(torch.tensor, tables))


def _accuracies(
    classifier: Classifier,
    sets: Sequence[ImageSet],
    attribution: Attribution,
    train: Train,
    cells: Sequence[tuple[float, str, int]],
    target: str,
    colour: tuple[float, ...],
    batch_size: int,
    out: Path | None,
    key: str,
    progress: Callable[[int, int], None] | None,
) -> dict[tuple[float, str, int], float]:
    """Return the accuracy of each cell, from the table that nobody else writes to, or by a retraining."""
    accuracies = {
        cell: float(row["accuracy"])
        for row in _rows(out)
        if row["key"] == key and (cell := (float(row["k"]), row["which"], int(row["seed"]))) in cells
    }
    ranks = _ranks(classifier, sets, attribution, target, batch_size) if len(accuracies) < len(set(cells)) else []
    for cell in cells:
        if cell not in accuracies:
            learnt, tested = (
                replace(each, images=Masked(each.images, places, *cell[:2], colour))  # type: ignore[arg-type]
                for each, places in zip(sets, ranks, strict=True)
            )
            accuracies[cell] = _accuracy(train(learnt, cell[2]), tested, batch_size)
            if out is not None:
                _append(out, key, *cell, accuracies[cell])
        if progress is not None:
            progress(len(accuracies), len(cells))
    return accuracies


def _cells(levels: Sequence[float], seeds: Sequence[int]) -> list[tuple[float, str, int]]:
    """Return what is retrained, one seed after the other, so that an interrupted table has whole seeds."""
    if not levels or not seeds or not all(0 < level < 1 for level in levels):
        raise ArgumentError(
            f"levels={tuple(levels)}, seeds={tuple(seeds)}: pass at least one of each; levels are shares of the pixels "
            "above 0 and below 1."
        )
    return [(level, which, seed) for seed in seeds for level in levels for which in ("top", "bottom")]


def _ranks(
    classifier: Classifier, sets: Sequence[ImageSet], attribution: Attribution, target: str, batch_size: int
) -> list[Ranks]:
    generator = torch.Generator().manual_seed(0)

    def ranks_in(batch: Batch) -> Ranks:
        x = classifier.space.normalize(to_float(batch.images.to(classifier.device)))
        classes = batch.labels.to(x.device) if target == "true" else None
        return ranks_of(attribution(classifier.network, x, classes), generator)

    return [np.concatenate([ranks_in(b) for b in loader(each, batch_size, shuffle=False)]) for each in sets]


def _accuracy(model: Model, image_set: ImageSet, batch_size: int) -> float:
    device = next((p.device for p in model.parameters()), None) if isinstance(model, nn.Module) else None
    batches = loader(image_set, batch_size, shuffle=False)
    with torch.no_grad():
        right = [predicted(logits_at(model, to_float(b.images.to(device)))).cpu() == b.labels for b in batches]
    return int(torch.cat(right).sum()) / len(image_set)


def _rows(out: Path | None) -> list[dict[str, str]]:
    if out is None or not out.exists():
        return []
    try:
        reader = csv.DictReader(io.StringIO(read_text(out), newline=""), strict=True)
        rows = list(reader)
        for row in rows:
            _ = float(row["k"]), int(row["seed"]), float(row["accuracy"])
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        told = first_line(error, kind=False)
        raise RunError(
            f"{out} is no table of DiffROAR ({told}), and would be overwritten; pass another file."
        ) from error
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise RunError(f"{out} is no table of DiffROAR, and would be lost; pass another file as out.")
    return rows


def _append(out: Path, *values: object) -> None:
    rows = [*_rows(out), dict(zip(_COLUMNS, map(str, values), strict=True))]
    with whole(out) as draft, draft.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
