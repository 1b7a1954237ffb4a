"""One training by Lightning, quietly: what a run and a retraining have in common."""

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from gradsculpt.data import ImageSet, loader, pixel_statistics
from gradsculpt.data.load import find_source
from gradsculpt.errors import RunError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build
from gradsculpt.training.module import ClassifierModule
from gradsculpt.training.settings import TrainSettings


def build_module(settings: TrainSettings, images: ImageSet) -> ClassifierModule:
    """Build a network for some training images, and everything that trains it, from the seed."""
    classes, size = len(images.classes), images.images.shape[1]
    torch.manual_seed(settings.seed)
    return ClassifierModule(
        build(settings.model, num_classes=classes, image_size=size, softplus=settings.softplus),
        settings.objective,
        InputSpace(*(pixel_statistics(images) if settings.statistics == "data" else settings.statistics)),
        settings.augment or find_source(settings.data).augment(),
        settings.optimization,
        epochs=settings.epochs,
        seed=settings.seed,
        channels_last=settings.channels_last,
    )


def build_trainer(settings: TrainSettings, **options: Any) -> Trainer:
    """Return Lightning's trainer, `RunError` if there is none here; options are added to what the settings decide."""
    decided: dict[str, Any] = {
        "default_root_dir": settings.out,
        "max_epochs": settings.epochs,
        "accumulate_grad_batches": settings.accumulate,
        "gradient_clip_val": settings.clip,
        "accelerator": {"cuda": "gpu"}.get(settings.device, settings.device),
        "devices": settings.devices,
        "num_nodes": settings.nodes,
        "precision": settings.precision,
        "inference_mode": False,  # gradient maps are read during validation
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "logger": False,
    }
    try:
        return Trainer(**decided | options)
    except (MisconfigurationException, ValueError) as error:
        raise RunError(
            f"--device {settings.device} --devices {settings.devices} --precision {settings.precision} cannot be had "
            f"here: {error}"
        ) from error


def batches(settings: TrainSettings, images: ImageSet) -> DataLoader[Any]:
    """Return the training batches of some images, in the order of the seed."""
    # A last batch of a few images would make the statistics of BatchNorm jump.
    drop_last = len(images) >= 2 * settings.batch_size
    replays = settings.objective.requirements.replays
    return loader(images, settings.batch_size, shuffle=True, seed=settings.seed, drop_last=drop_last, replays=replays)


def finished(module: ClassifierModule, images: ImageSet) -> Classifier:
    """Return the classifier of a trained module, where its network is, in evaluation mode."""
    return Classifier(module.network, module.space, images.classes, images.images.shape[1]).eval()


@contextmanager
def quietly() -> Iterator[None]:
    """Keep Lightning from telling about itself inside the block, and from ending the process at Ctrl-C."""
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    except SystemExit as stopped:
        # Lightning ends the process at Ctrl-C, and leaves the signal switched off.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from stopped
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
