"""Looking on while a network is trained, without a trace in its training."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradsculpt.isolation import undisturbed
from gradsculpt.models import Classifier
from gradsculpt.training.module import ClassifierModule


class Watcher(Callback):
    """Shows the network to somebody before the first epoch and after each, and tells of each step.

    Args:
        look: Called as `look(classifier, epochs)` with the network in evaluation mode, after so many epochs.
        step: Called as `step(done, total)` before each step; what either raises stops the training.
        classes: Of the classifier, and `size` its side.
    """

    def __init__(
        self,
        look: Callable[[Classifier, int], None],
        step: Callable[[int, int], None],
        classes: tuple[str, ...],
        size: int,
    ) -> None:
        self._look, self._step, self._classes, self._size = look, step, classes, size

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the network as it starts."""
        self._show(pl_module, trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Tell of a step."""
        steps = int(trainer.num_training_batches)
        self._step(trainer.current_epoch * steps + batch_idx, (trainer.max_epochs or 0) * steps)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the network after an epoch and its validation."""
        self._show(pl_module, trainer.current_epoch + 1)

    def _show(self, module: LightningModule, epochs: int) -> None:
        if not isinstance(module, ClassifierModule):
            return
        modes = {part: part.training for part in module.network.modules()}
        classifier = Classifier(module.network, module.space, self._classes, self._size)
        try:
            classifier.eval()
            with undisturbed(module.network):
                self._look(classifier, epochs)
        finally:
            for part, training in modes.items():
                part.training = training
