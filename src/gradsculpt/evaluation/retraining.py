"""Training the same network again and again on images that are handed in."""

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gradsculpt.data import ImageSet, loader, pixel_statistics
from gradsculpt.data.sources import find_source
from gradsculpt.errors import RunError
from gradsculpt.gradients import Model
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning.pytorch import Trainer

    from gradsculpt.training import ClassifierModule, TrainSettings

Train = Callable[[ImageSet, int], Model]
"""From images and a seed to what was trained on them: a callable from images in [0, 1] to logits."""

_DECIDING = (
    "model",
    "softplus",
    "objective",
    "epochs",
    "batch_size",
    "accumulate",
    "clip",
    "optimization",
    "augment",
    "data",
    "precision",
)


@dataclass(frozen=True, repr=False)
class Retraining:
    """Trains a fresh network as a run would, on images that are handed in, and keeps the weights of the last epoch.

    Leaves nothing on disk, and the random state as it was.

    Args:
        settings: Model, softplus, objective, epochs, batch size, optimisation, augmentation, device and precision are
            used; data only for its usual augmentation, and the seed is that of the retraining.
    """

    settings: "TrainSettings"

    def __repr__(self) -> str:
        """Name what decides the weights, and nothing else."""
        return f"Retraining({', '.join(f'{name}={getattr(self.settings, name)!r}' for name in _DECIDING)})"

    def __call__(self, image_set: ImageSet, seed: int) -> Classifier:
        """Return the classifier trained on these images."""
        own, size = self.settings, image_set.images.shape[1]
        if own.objective.requirements.teacher is not None:
            raise RunError(
                f"{type(own.objective).__name__} trains a teacher first, which retraining does not. Pass settings with "
                "another objective, such as CrossEntropy()."
            )
        batches = loader(
            image_set,
            own.batch_size,
            shuffle=True,
            seed=seed,
            drop_last=len(image_set) >= 2 * own.batch_size,
            replays=own.objective.requirements.replays,
        )
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), _quiet():
            torch.manual_seed(seed)
            module = self._module(image_set, seed)
            trainer = self._trainer()
            try:
                trainer.fit(module, batches)
            except SystemExit as stopped:
                # Lightning ends the process at Ctrl-C, and leaves the signal switched off.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt from stopped
        network = module.network.to(trainer.strategy.root_device).eval()
        return Classifier(network, module.space, image_set.classes, size)

    def _module(self, image_set: ImageSet, seed: int) -> "ClassifierModule":
        from gradsculpt.training import ClassifierModule

        own, classes, size = self.settings, len(image_set.classes), image_set.images.shape[1]
        return ClassifierModule(
            build(own.model, num_classes=classes, image_size=size, softplus=own.softplus),
            own.objective,
            InputSpace(*pixel_statistics(image_set)),
            own.augment or find_source(own.data).augment(),
            own.optimization,
            epochs=own.epochs,
            seed=seed,
            channels_last=own.channels_last,
        )

    def _trainer(self) -> "Trainer":
        from lightning.pytorch import Trainer

        own = self.settings
        return Trainer(
            max_epochs=own.epochs,
            accumulate_grad_batches=own.accumulate,
            gradient_clip_val=own.clip,
            accelerator={"cuda": "gpu"}.get(own.device, own.device),
            devices=1,
            precision=own.precision,  # type: ignore[arg-type]
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from telling about itself at each of many trainings."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        log.setLevel(level)
