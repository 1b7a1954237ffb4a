"""Training in stages: a teacher, its explanations of the training images, and then the network that is wanted."""

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradsculpt.attributions import SmoothGrad
from gradsculpt.data import ImageSet, Splits, loader, to_input
from gradsculpt.data.stored import RowsWriter, StoredRows
from gradsculpt.errors import ArgumentError, DataError, RunError
from gradsculpt.files import sweep, whole
from gradsculpt.fingerprint import fingerprint
from gradsculpt.inputs import in_precision_of
from gradsculpt.links import inside
from gradsculpt.models import Classifier, load
from gradsculpt.numerics import unit_peak
from gradsculpt.objectives import Objective
from gradsculpt.progress import Progress, Reporter
from gradsculpt.runs import is_finished
from gradsculpt.training.fitting import build_trainer
from gradsculpt.training.resuming import check_data, identity, resumed
from gradsculpt.training.settings import TrainSettings

Maps = npt.NDArray[np.float16]
Fit = Callable[[TrainSettings, Splits, Reporter], Classifier]

TEACHER = "teacher"


def with_teacher(
    settings: TrainSettings,
    splits: Splits,
    reporter: Reporter,
    fit: Fit,
    watched: Callable[[Progress], Progress] = lambda tell: tell,
) -> tuple[Splits, Objective]:
    """Train the teacher that an objective wants, if it wants one, and let it explain the training images.

    The teacher's run is the folder `teacher` inside the whole one; `fit` leaves it. A stage that was finished before is
    not repeated when a run is resumed. Who is told of the work may be watched.

    Returns:
        The data, whose training images are accompanied by their explanations, and the objective with its teacher.
    """
    specification, folder = settings.objective.requirements.teacher, inside(settings.out, TEACHER)
    if specification is None:
        return splits, settings.objective
    if settings.devices * settings.nodes > 1:
        raise RunError(
            f"{type(settings.objective).__name__} trains a teacher first, whose maps one process computes; "
            f"--devices {settings.devices} --nodes {settings.nodes} cannot share them. Leave both at 1."
        )
    epochs = specification.epochs or settings.epochs
    alone = replace(settings, out=folder, recipe=None, objective=specification.teacher, epochs=epochs)
    if settings.resume and is_finished(folder):
        check_data(alone, resumed(alone), identity(splits))
        teacher = load(folder)
    else:
        reporter.say(f"first of three stages: the teacher, in {folder}")
        teacher = fit(alone, splits, reporter)
    reporter.say("second stage: its explanations of the training images")
    teacher.to(build_trainer(settings).strategy.root_device)
    with reporter.work("explaining images", len(splits.train)) as tell:
        maps = explanations(teacher, splits.train, settings, watched(tell), lambda line: reporter.say(f"note: {line}"))
    reporter.say("third stage: the network itself")
    train = replace(splits.train, attention=maps)  # type: ignore[arg-type]

    def ask(x: Tensor) -> Tensor:
        # The teacher follows its input to another device: training decides late where it takes place.
        logits: Tensor = teacher.network.to(x.device)(in_precision_of(teacher.network, x))
        return logits

    return replace(splits, train=train), settings.objective.with_teacher(ask)


def explanations(
    teacher: Classifier,
    image_set: ImageSet,
    settings: TrainSettings,
    progress: Progress | None = None,
    tell: Callable[[str], object] = warnings.warn,
) -> Maps | StoredRows:
    """Return the SmoothGrad maps of the true classes' logits, computed once and then kept in a file.

    A change of the teacher, the images, their labels, the noise or its seed is a change of the file's name. The
    settings say how (objective), how many at once (batch size) and where (cache); `DataError` if that cannot be.
    Who is told hears that a file was damaged, whose maps are then computed again.

    Returns:
        Rows of a file, float16 [N, H, W, C], in the order of the set. Each map is scaled to a greatest magnitude of 1,
        or is zero: gradients may be too small for 16 bits, and only their directions are wanted.
    """
    specification = settings.objective.requirements.teacher
    if specification is None:
        raise ArgumentError(f"{settings.objective!r} wants no teacher; pass settings with an objective that does.")
    cache_dir = settings.cache_dir or inside(settings.out, "cache")
    drawn, sigma, size = specification.samples, specification.sigma, settings.batch_size
    decisive = (teacher, image_set.images, image_set.labels, drawn, sigma, settings.seed)
    place = cache_dir / f"smoothgrad-{fingerprint(*decisive)}.npy"
    if (ready := _opened(place)) is not None:
        return ready
    if place.exists():
        tell(f"{place} is damaged, so the explanations are computed again")
    if settings.cache_dir is None:  # a folder of the run, which nobody else writes
        sweep(place)
    bounds = teacher.space.bounds
    smoothgrad = SmoothGrad(drawn, sigma, seed=settings.seed, batch_size=size, noise_range=bounds)
    try:
        with whole(place) as draft, draft.open("wb") as file:
            writer, done = RowsWriter(file, tuple(image_set.images.shape[1:]), "<f2"), 0
            for images, labels, *_ in loader(replace(image_set, attention=None), size, shuffle=False):
                x = in_precision_of(teacher.network, to_input(images.to(teacher.device), teacher.space))
                maps = unit_peak(smoothgrad(teacher.network, x, labels.to(x.device)))
                for row in maps.permute(0, 2, 3, 1).half().cpu().numpy():
                    writer.add(row)
                done += len(maps)
                if progress is not None:
                    progress(done, len(image_set))
            writer.finish()
    except OSError as error:
        raise DataError(
            f"the teacher's explanations cannot be kept in {cache_dir} ({error.strerror or error}); "
            "free space there or pass another --cache-dir."
        ) from error
    if (ready := _opened(place)) is None:
        raise DataError(f"{place} is not what was just written; look after the disk, or pass another --cache-dir.")
    return ready


def _opened(place: Path) -> Maps | StoredRows | None:
    """Open a file of maps, all of which a training reads; None if it is not there, or is damaged."""
    with contextlib.suppress(OSError, ValueError):
        rows = StoredRows(place)
        rows.check()
        return rows.in_memory()
    return None
