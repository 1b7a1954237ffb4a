"""The Lightning module: batches and an objective in, a trained network out. It names no penalty."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, distributed, nn

from gradsculpt.attributions import Gradient, heatmap
from gradsculpt.data import Augment, Batch, to_float, to_input
from gradsculpt.data.augment import seed_of
from gradsculpt.data.resident import Changed
from gradsculpt.diagnosis import explained
from gradsculpt.errors import RunError
from gradsculpt.inputs import InputSpace, in_precision_of
from gradsculpt.metrics import gini
from gradsculpt.objectives import Moment, Objective, State
from gradsculpt.outputs import logits_at, predicted, two_sided
from gradsculpt.training.settings import Optimization

_MAPS_A_VALIDATION = 128


class ClassifierModule(LightningModule):
    """Trains a network with any objective.

    Logs, for every epoch: `train_loss` and its terms, `train_accuracy` (on the inputs that the objective trained on),
    `val_accuracy` and `val_cross_entropy` on clean images, and `val_gini`, the sparsity of the gradient maps of the
    first validation images.

    The network takes what `space` makes of [0, 1] images, `augment` changes training batches, and the schedule is
    `epochs` long. Augmentation and dropout derive their randomness from the seed and the epoch: a resumed training
    repeats what an uninterrupted one would have done.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        space: InputSpace,
        augment: Augment,
        optimization: Optimization,
        *,
        epochs: int,
        seed: int = 0,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self._layout)
        self.space = space
        self._objective, self._augment = objective, augment
        self._optimization, self._epochs, self._seed = optimization, epochs, seed
        self._gradient = Gradient()
        self._state = objective.initial_state()
        self._batches = 0

    def configure_optimizers(self) -> Any:
        """Build the optimiser and the schedule, stepped once an epoch."""
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer, schedule = self._optimization.build(trained, self._epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the objective carries from step to step in every process, so that a resumed training has it."""
        checkpoint["states"] = _of_every_process(self._objective.learnt(self._state))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give each process what it carried; one that the checkpoint does not know starts anew."""
        # Older checkpoints hold the perturbations of the first process, and no others.
        older = [{"delta": delta} for delta in checkpoint.get("carried", ()) if delta is not None]
        states, self._state = checkpoint.get("states", older), self._objective.initial_state()
        if self.global_rank < len(states) and states[self.global_rank].keys() == self._state.keys():
            self._state = states[self.global_rank]

    def on_train_epoch_start(self) -> None:
        """Derive the epoch's randomness from the seed and the epoch alone."""
        torch.manual_seed(self._stream(self.current_epoch))
        for layer in self.network.modules():
            own = list(layer.parameters(recurse=False))
            if own and not any(parameter.requires_grad for parameter in own):
                layer.eval()  # or the running statistics of a frozen normalisation would move
        self._batches = 0

    def on_after_batch_transfer(
        self, batch: Batch | Changed, dataloader_idx: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Turn 8-bit images into augmented, normalised network input, the whole batch at once."""
        images, attention = batch.images, batch.attention
        if self.trainer.training and not isinstance(batch, Changed):
            # Steps that want the same batch get it changed in the same way, wherever it is.
            generator = self._generator(torch.device("cpu"), self._step // self._objective.requirements.replays)
            # Moving 8-bit pixels is several times cheaper than moving floating-point ones.
            images, attention = self._augment(images, attention, generator)
        if attention is not None:  # 8-bit maps are 0 to 1, others have the values that they have
            attention = to_float(attention) if attention.dtype == torch.uint8 else attention.to(torch.float32)
        x = in_precision_of(self.network, to_input(images, self.space))
        return x.contiguous(memory_format=self._layout), batch.labels, attention

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor | None], batch_idx: int) -> Tensor:
        """Evaluate the objective on a batch; raise `RunError` if a term of the loss is not finite."""
        x, y, attention = batch
        step = self._step
        objective = self._objective.at(Moment(step / self._steps_an_epoch, step, self.space))
        generator = self._generator(x.device, -1 - step)
        losses = objective(self.network, x, y, attention, generator=generator, state=self._state)
        self._state = losses.state
        self._batches += 1
        if not bool(losses.loss.isfinite()):
            bad = [name for name, term in losses.terms.items() if not bool(term.isfinite())]
            raise RunError(
                f"the loss became {losses.loss.item()} in epoch {self.current_epoch + 1} through {', '.join(bad)}; "
                "training cannot go on. Lower --lr or the weight of the penalty."
            )
        row = {"train_loss": losses.loss.detach(), "train_accuracy": (predicted(losses.logits) == y).float().mean()}
        row |= {f"train_{name}": term.detach() for name, term in losses.terms.items()}
        self.log_dict(row, on_step=False, on_epoch=True, batch_size=len(y), sync_dist=True)
        return losses.loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Propagate the loss back; raise `ModelError` where PyTorch cannot."""
        with explained():
            super().backward(loss, *args, **kwargs)

    def on_validation_epoch_start(self) -> None:
        """Begin to count the images, and those that are classified rightly."""
        self._counts = torch.zeros(2, dtype=torch.long, device=self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor | None], batch_idx: int) -> None:
        """Count, measure the cross entropy and, on the first batch, the sparsity of the gradient maps."""
        x, y, _ = batch
        logits = two_sided(logits_at(self.network, x))
        self._counts += torch.stack([(logits.argmax(dim=1) == y).sum(), y.new_tensor(len(y))])
        self.log("val_cross_entropy", F.cross_entropy(logits, y), batch_size=len(y), sync_dist=True)
        if batch_idx == 0:
            few = slice(_MAPS_A_VALIDATION)
            maps = heatmap(self._gradient(self.network, x[few], y[few]), clip=100.0)
            self.log("val_gini", gini(maps).mean(), prog_bar=True, batch_size=len(maps), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy in all processes together; from counts, so that equal ones are equal to the last digit."""
        right, count = self.trainer.strategy.reduce(self._counts, reduce_op="sum")
        self.log("val_accuracy", right / count, prog_bar=True, sync_dist=True)

    @property
    def _steps_an_epoch(self) -> int:
        return int(self.trainer.num_training_batches)

    @property
    def _step(self) -> int:
        """Batches before this one; not optimiser steps, of which one may take several batches."""
        return self.current_epoch * self._steps_an_epoch + self._batches

    def _generator(self, device: torch.device, counter: int) -> torch.Generator:
        return torch.Generator(device).manual_seed(self._stream(counter))

    def _stream(self, counter: int) -> int:
        """Return a seed for one epoch or step of this process."""
        return seed_of(self._seed, counter, self.global_rank)


def _of_every_process(state: State) -> list[State]:
    """Return the states of all processes that train together, by rank."""
    if not state or not (distributed.is_available() and distributed.is_initialized()):
        return [state]
    states: list[State] = [{}] * distributed.get_world_size()
    distributed.all_gather_object(states, {name: value.cpu() for name, value in state.items()})
    return states
