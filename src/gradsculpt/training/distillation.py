"""Training in stages: a teacher, its explanations of the training images, and then the network that is wanted."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
import yaml
from rich.console import Console
from torch import Tensor, nn

from gradsculpt.attributions import Gradient
from gradsculpt.data import ImageSet, Splits, loader, to_input
from gradsculpt.errors import DataError
from gradsculpt.gradients import Model
from gradsculpt.models import Classifier, load
from gradsculpt.models.checkpoint import DESCRIPTION
from gradsculpt.objectives import Objective, TeacherSpecification
from gradsculpt.training.settings import TrainSettings

Maps = npt.NDArray[np.float16]
Fit = Callable[[TrainSettings, str, Console], Classifier]
Progress = Callable[[int, int], None]

TEACHER = "teacher"


def taught(
    settings: TrainSettings, config: str, splits: Splits, console: Console, progress: Progress, fit: Fit
) -> tuple[Splits, Objective]:
    """Train the teacher that an objective wants, and let it explain the training images.

    A stage that was finished before is not repeated when a run is resumed.

    Args:
        settings: Those of the whole run; the teacher's run is the folder `teacher` inside it.
        config: The text of the run's config.yaml.
        splits: The data of the run.
        console: Where progress goes.
        progress: Is told how many images have been explained, and of how many.
        fit: Trains a classifier and leaves a run directory.

    Returns:
        The data, whose training images are accompanied by their explanations, and the objective with its teacher.

    Raises:
        GradsculptError: If the teacher cannot be trained, or the explanations cannot be kept.
    """
    lesson = settings.objective.requirements.teacher
    if lesson is None:
        return splits, settings.objective
    folder = settings.out / TEACHER
    if settings.resume and (folder / DESCRIPTION).is_file():
        teacher = load(folder)
    else:
        console.print(f"first of three stages: the teacher, in {folder}", highlight=False)
        own = _teachers(settings, lesson)
        teacher = fit(own, _config(config, own), console)
    console.print("second stage: its explanations of the training images", highlight=False)
    maps = explanations(
        teacher,
        splits.train,
        settings.cache_dir or settings.out / "cache",
        lesson,
        batch_size=settings.batch_size,
        seed=settings.seed,
        device=_device(settings.device),
        progress=progress,
    )
    console.print("third stage: the network itself", highlight=False)
    train = replace(splits.train, attention=maps)
    return replace(splits, train=train), settings.objective.with_teacher(_wherever(teacher.network))


def explanations(
    teacher: Classifier,
    image_set: ImageSet,
    cache_dir: Path,
    lesson: TeacherSpecification,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> Maps:
    """Return the SmoothGrad maps of the true classes' logits, computed once and then kept in a file.

    The file is written under another name first, and renamed when it is complete. A change of the teacher, the images,
    their labels, the noise or its seed is a change of the file's name.

    Returns:
        A memory map, float16 [N, H, W, C], in the order of the set. Each map is scaled to a greatest magnitude of 1,
        or is zero: gradients may be too small for 16 bits, and only their directions are wanted.

    Raises:
        DataError: If the file cannot be written.
    """
    place = cache_dir / f"smoothgrad-{_key(teacher, image_set, lesson, batch_size, seed)}.npy"
    found = _open(place)
    if found is None:
        draft = cache_dir / f".building-{uuid.uuid4().hex}.npy"
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                _header(file, image_set.images.shape)
                done = 0
                for maps in _explained(teacher, image_set, lesson, batch_size, seed, device):
                    file.write(maps.tobytes())
                    done += len(maps)
                    if progress is not None:
                        progress(done, len(image_set))
            draft.replace(place)
        except OSError as error:
            raise DataError(
                f"the teacher's explanations cannot be kept in {cache_dir} ({error.strerror or error}); "
                "free space there or pass another --cache-dir."
            ) from error
        finally:
            if draft.is_file():
                draft.unlink()
        found = _open(place)
    if found is None:
        raise DataError(f"{place} was changed while it was being read; run the command again.")
    return found


def smoothgrad(
    network: Model, x: Tensor, y: Tensor, *, samples: int, sigma: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the mean gradient of the true class's logit over noisy copies of each image, [N, C, H, W].

    Args:
        network: From model input to logits; its mode is used as it is.
        x: Model input, [N, C, H, W].
        y: Class indices [N].
        samples: Number of noisy copies.
        sigma: Standard deviation of the noise in model units, [1, C, 1, 1].
        generator: Source of the noise, on the device of x.
    """
    gradient, total = Gradient(), torch.zeros_like(x)
    for _ in range(samples):
        noise = torch.empty_like(x).normal_(generator=generator)
        total += gradient(network, x + sigma * noise, y)
    return total / samples


def _explained(
    teacher: Classifier,
    image_set: ImageSet,
    lesson: TeacherSpecification,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Iterator[Maps]:
    """Yield the scaled maps of one batch after the other."""
    network, space = teacher.network.to(device).eval(), teacher.space
    sigma = space.pixels(lesson.sigma).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    for images, labels, _ in loader(replace(image_set, attention=None), batch_size, shuffle=False):
        x, y = to_input(images.to(device), space), labels.to(device)
        maps = smoothgrad(network, x, y, samples=lesson.samples, sigma=sigma, generator=generator)
        peak = maps.abs().amax(dim=(1, 2, 3), keepdim=True)
        scaled = maps / peak.where(peak > 0, 1)
        yield np.ascontiguousarray(scaled.permute(0, 2, 3, 1).to("cpu", torch.float16).numpy())


def _header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": tuple(shape)})


def _open(place: Path) -> Maps | None:
    """Return a whole file of maps; None if there is none, or it is damaged."""
    try:
        found: Maps = np.load(place, mmap_mode="r")
    except (OSError, EOFError, ValueError):
        return None
    return found


def _key(teacher: Classifier, image_set: ImageSet, lesson: TeacherSpecification, batch_size: int, seed: int) -> str:
    """Return what the explanations depend on, as a few letters."""
    digest = hashlib.sha256(repr((image_set.names, lesson.samples, lesson.sigma, batch_size, seed)).encode())
    digest.update(np.ascontiguousarray(image_set.labels).tobytes())
    digest.update(repr((image_set.images.shape, teacher.space)).encode())
    for name, value in teacher.network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _teachers(settings: TrainSettings, lesson: TeacherSpecification) -> TrainSettings:
    """Return the settings of the teacher's own run, which shares the data of the whole."""
    return replace(
        settings,
        out=settings.out / TEACHER,
        recipe=None,
        objective=lesson.teacher,
        epochs=lesson.epochs or settings.epochs,
        data_dir=settings.data_dir or settings.out / "data",
        cache_dir=settings.cache_dir or settings.out / "cache",
    )


def _config(config: str, own: TrainSettings) -> str:
    """Return the text of the teacher's config.yaml, made from that of the run."""
    settings = yaml.safe_load(config)
    if not isinstance(settings, dict):
        return config
    objective = _teacher_in(settings.pop("objective", None))
    settings.pop("recipe", None)
    settings |= {"epochs": own.epochs, "data_dir": str(own.data_dir), "cache_dir": str(own.cache_dir)}
    return yaml.safe_dump(settings | ({} if objective is None else {"objective": objective}), sort_keys=False)


def _teacher_in(node: Any) -> Any:
    """Return how the teacher's objective is written within that of the run; None if it is not."""
    if isinstance(node, dict) and "teacher" in node.get("init_args", {}):
        return node["init_args"]["teacher"]
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for found in map(_teacher_in, inner) if found is not None), None)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found


def _wherever(network: nn.Module) -> Model:
    """Return a network that follows its input to another device: training decides late where it takes place."""

    def forward(x: Tensor) -> Tensor:
        logits: Tensor = network.to(x.device)(x)
        return logits

    return forward
