"""Training the same network again and again on images that are handed in."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gradsculpt.data import ImageSet
from gradsculpt.errors import RunError
from gradsculpt.gradients import Model
from gradsculpt.models import Classifier

if TYPE_CHECKING:  # Lightning takes seconds to import
    from gradsculpt.training import TrainSettings

Train = Callable[[ImageSet, int], Model]
"""From images and a seed to what was trained on them: a callable from images in [0, 1] to logits."""

_DECIDING = "model softplus objective epochs batch_size accumulate clip optimization augment data precision"


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
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), quietly():
            module = build_module(settings, image_set)
            trainer = build_trainer(settings, enable_checkpointing=False)
            trainer.fit(module, batches(settings, image_set))
        module.to(trainer.strategy.root_device)
        return finished(module, image_set)
