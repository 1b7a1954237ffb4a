"""The Lightning module: batches and an objective in, a trained network out. It names no penalty."""

import time
from collections.abc import Callable, Hashable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from gradsculpt.attributions import Gradient, heatmap
from gradsculpt.data import Augment, Batch, to_float, to_input
from gradsculpt.data.augment import seed_of
from gradsculpt.data.resident import Changed
from gradsculpt.diagnosis import explained
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace, in_precision_of
from gradsculpt.isolation import seeded, sow
from gradsculpt.metrics import gini
from gradsculpt.objectives import Moment, Objective, State
from gradsculpt.outputs import logits_at, predicted, two_sided
from gradsculpt.randomness import SharedGenerator
from gradsculpt.training.graphs import Graphs, Inputs, recorder
from gradsculpt.training.normalisation import settle_buffers
from gradsculpt.training.recordable import made_recordable, obstacle, records
from gradsculpt.training.settings import Optimization
from gradsculpt.training.tally import LOSS, Tally, check_weights

_MAPS_A_VALIDATION = 128
_SECONDS = 1.0
"""How often a device is asked whether all is finite."""


class ClassifierModule(LightningModule):
    """Trains a network with any objective.

    No step waits for the device: whether its loss is finite is asked once a second and at the end of an epoch. On CUDA
    whole steps may be recorded as graphs, and replayed.

    Logs, for every epoch: `train_loss` and its terms, `train_accuracy` (on the inputs that the objective trained on),
    `val_accuracy` and `val_cross_entropy` on clean images, and `val_gini`, the sparsity of the gradient maps of the
    first validation images.

    The network takes what `space` makes of [0, 1] images, `augment` changes training batches, and the schedule is
    `epochs` long. Augmentation and dropout derive their randomness from the seed and the epoch: a resumed training
    repeats what an uninterrupted one would have done.

    Shape: batches of images [N, C, H, W] in 8 bits, and their classes [N].
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
        graphs: Literal["auto", "on", "off"] = "off",
        tell: Callable[[str], None] = lambda note: None,
    ) -> None:
        super().__init__()
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self._layout)
        self.space = space
        self._objective, self._augment = objective, augment
        self._optimization, self._epochs, self._seed = optimization, epochs, seed
        self._gradient = Gradient()
        self._state = objective.initial_state()
        self._batches, self._asked = 0, 0.0
        self._own = self._images = 0
        self._tally, self._noise = Tally(torch.device("cpu")), torch.Generator()
        self._graphs_wanted, self._tell = graphs, tell
        self._graphs: Graphs | None = None
        self._objectives: dict[Hashable, Objective] = {}

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

    def on_train_start(self) -> None:
        """Find out whether steps are recorded, and prepare the optimiser for the device that it is on now."""
        optimizer, device = self._optimizer, self.device
        shared = self._processes > 1
        self._tally, self._noise = Tally(device), SharedGenerator(device) if shared else torch.Generator(device)
        wanted = self._graphs_wanted
        why = wanted != "off" and obstacle(self.trainer, self.network, self._objective, trusting=wanted == "on")
        recorded = wanted != "off" and not why
        made_recordable(optimizer, device, recorded=recorded)
        if recorded:
            self._graphs = Graphs(
                self._whole_step,
                self._sow,
                recorder(device, [self._noise]),
                network=self.network,
                optimizer=optimizer,
                kept=lambda: [*self._tally.tensors, *(t for t in self._state.values() if isinstance(t, Tensor))],
                loss=lambda: self._tally.total(LOSS),
                tell=self._tell,
            )
        elif why and (records(device) or wanted == "on"):
            self._tell(f"steps are taken one by one, and not as CUDA graphs: {why}")

    def on_train_epoch_start(self) -> None:
        """Derive the epoch's randomness from the seed and the epoch alone."""
        torch.manual_seed(self._stream(self.current_epoch))
        for layer in self.network.modules():
            own = list(layer.parameters(recurse=False))
            if own and not any(parameter.requires_grad for parameter in own):
                layer.eval()  # or the running statistics of a frozen normalisation would move
        self._batches = 0
        self._tally.begin()

    def on_after_batch_transfer(
        self, batch: Batch | Changed, dataloader_idx: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Turn 8-bit images into augmented, normalised network input, the whole batch at once."""
        images, attention = batch.images, batch.attention
        if self.trainer.training and not isinstance(batch, Changed):
            # Steps that want the same batch get it changed in the same way, wherever it is.
            generator = self._generator(self._step // self._objective.requirements.replays, batch)
            # Moving 8-bit pixels is several times cheaper than moving floating-point ones.
            images, attention = self._augment(images, attention, generator)
        if attention is not None:  # 8-bit maps are 0 to 1, others have the values that they have
            attention = to_float(attention) if attention.dtype == torch.uint8 else attention.to(torch.float32)
        x = in_precision_of(self.network, to_input(images, self.space))
        return x.contiguous(memory_format=self._layout), batch.labels, attention

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor | None], batch_idx: int) -> Tensor | None:
        """Evaluate the objective on a batch; where steps are recorded, take the whole step, and return nothing."""
        moment = Moment(self._step / self._steps_an_epoch, self._step, self.space)
        phase = self._objective.phase(moment)
        objective = self._objectives.get(phase) or self._objective.at(moment)
        if phase is not None:
            self._objectives[phase] = objective
        loss = None
        if self._graphs is None:
            self._sow()
            loss = self._losses(batch, objective)
            if self._uneven:  # gradients are averaged over processes, and not over images
                loss = loss * (len(batch[1]) * self._processes / self._images)
        else:
            self._graphs.take(batch, objective, phase)
        self._batches += 1
        if self.device.type == "cpu" or time.monotonic() - self._asked > _SECONDS:
            self._check()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log what the steps of the epoch have added up to."""
        if self.trainer.is_last_batch:
            self._check()
            check_weights(self.network, self.current_epoch + 1)
            means = {f"train_{name}": mean for name, mean in self._tally.means(self._added_up).items()}
            self.log_dict(means, on_step=False, on_epoch=True, batch_size=1)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Take an optimiser step, unless the training step has taken it."""
        if self._graphs is None or optimizer_closure is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Forget the gradients, unless they are those of a recorded step."""
        if self._graphs is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def _whole_step(self, batch: Inputs, objective: Objective) -> None:
        """Take a step with everything that belongs to it, on tensors that stay in place."""
        optimizer, before = self._optimizer, self._state
        optimizer.zero_grad(set_to_none=True)
        loss = self._losses(batch, objective)
        with torch.autocast(loss.device.type, enabled=False):
            self.backward(loss)
            if (most := self.trainer.gradient_clip_val) is not None:
                nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], most)
            optimizer.step()
        # What is carried to the next step is kept in place, as a recording reads it there.
        self._state = {name: _put(before.get(name), value) for name, value in objective.learnt(self._state).items()}

    def _losses(self, batch: Inputs, objective: Objective) -> Tensor:
        """Return the loss of a batch, once its terms are noted."""
        x, y, attention = batch
        with seeded(self._seed_of_masks, self._accelerators):
            losses = objective(self.network, x, y, attention, generator=self._noise, state=self._state)
        self._state = losses.state
        if taken := losses.terms.keys() & {LOSS, "accuracy"}:
            raise ArgumentError(
                f"a term of the objective is called {min(taken)!r}, as a column of the metrics is; name it otherwise."
            )
        values = {LOSS: losses.loss, "accuracy": (predicted(losses.logits) == y).float().mean(), **losses.terms}
        self._tally.add(values, len(y))
        return losses.loss

    def _sow(self) -> None:
        """Derive the randomness of a step from the seed and the step alone."""
        self._begin(self._noise, -1 - self._step)
        sow(self._seed_of_masks, self._accelerators)

    def _check(self) -> None:
        self._tally.check(self.current_epoch + 1)
        self._asked = time.monotonic()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Propagate the loss back; raise `ModelError` where PyTorch cannot."""
        with explained():
            super().backward(loss, *args, **kwargs)

    def on_validation_epoch_start(self) -> None:
        """Begin to count the images, and those that are classified rightly; with one network in all processes."""
        if self._processes > 1:
            settle_buffers(self.network)
        self._counts = torch.zeros(2, dtype=torch.long, device=self.device)
        self._lost = torch.zeros((), device=self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor | None], batch_idx: int) -> None:
        """Count, measure the cross entropy and, on the first batch, the sparsity of the gradient maps."""
        x, y, _ = batch
        logits = two_sided(logits_at(self.network, x))
        right = (logits.argmax(dim=1) == y).sum()
        self._counts += torch.stack([right, torch.full_like(right, len(y))])
        self._lost += F.cross_entropy(logits, y, reduction="sum")
        if batch_idx == 0:
            # Those of the first images of all, of which each process has its share.
            few = slice(len(range(self.global_rank, _MAPS_A_VALIDATION, self._processes)))
            maps = heatmap(self._gradient(self.network, x[few], y[few]), clip=100.0)
            self._sparsity = torch.stack([gini(maps).sum(), x.new_tensor(len(maps))])

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy in all processes together; from counts, so that equal ones are equal to the last digit."""
        right, count = self._added_up(self._counts)
        total, maps = self._added_up(self._sparsity)
        self.log("val_gini", total / maps, prog_bar=True)
        self.log("val_accuracy", right / count, prog_bar=True)
        self.log("val_cross_entropy", self._added_up(self._lost) / count)

    @property
    def _optimizer(self) -> Optimizer:
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        return optimizer  # type: ignore[no-any-return]

    @property
    def _accelerators(self) -> list[str]:
        return [str(self.device)] if self.device.type == "cuda" else []

    @property
    def _seed_of_masks(self) -> int:
        """The seed of what networks draw by themselves, other than that of the objective's noise."""
        return self._stream(-1 - self._step) ^ (1 << 62)

    @property
    def _steps_an_epoch(self) -> int:
        return int(self.trainer.num_training_batches)

    @property
    def _step(self) -> int:
        """Batches before this one; not optimiser steps, of which one may take several batches."""
        return self.current_epoch * self._steps_an_epoch + self._batches

    def _generator(self, counter: int, batch: Batch) -> torch.Generator:
        """Return what a batch is changed by, on the CPU; of several processes, note how much of it each has."""
        if self._processes == 1:
            return torch.Generator().manual_seed(self._stream(counter))
        self._own = len(batch.labels)
        self._images = self._own * self._processes
        if not getattr(self.trainer.train_dataloader, "drop_last", False):  # or all are full
            self._images = int(self._added_up(torch.tensor(self._own, device=self.device)))
        generator = SharedGenerator()
        self._begin(generator, counter)
        return generator

    def _begin(self, generator: torch.Generator, counter: int) -> None:
        """Give a generator the randomness of a step."""
        if isinstance(generator, SharedGenerator):
            generator.share(
                seed=seed_of(self._seed, counter),
                own_seed=self._stream(counter),
                rank=self.global_rank,
                of=self._processes,
                own=self._own,
                images=self._images,
            )
        else:
            generator.manual_seed(self._stream(counter))

    def _stream(self, counter: int) -> int:
        """Return a seed for one epoch or step of this process."""
        return seed_of(self._seed, counter, self.global_rank)

    @property
    def _processes(self) -> int:
        return int(self.trainer.world_size)

    @property
    def _uneven(self) -> bool:
        """Whether some processes have more images of the batch than others."""
        return self._images != self._own * self._processes

    def _added_up(self, values: Tensor) -> Tensor:
        """Return the sums of values over all processes."""
        total: Tensor = self.trainer.strategy.reduce(values, reduce_op="sum")
        return total


def _put(place: Any, value: Any) -> Any:
    """Return a value in the place of an older one like it, if there is such a place."""
    alike = isinstance(place, Tensor) and place.shape == value.shape and place.dtype == value.dtype
    return place.copy_(value) if alike and place.device == value.device else value


def _of_every_process(state: State) -> list[State]:
    """Return the states of all processes that train together, by rank."""
    if not state or not (distributed.is_available() and distributed.is_initialized()):
        return [state]
    states: list[State] = [{}] * distributed.get_world_size()
    distributed.all_gather_object(states, {name: value.cpu() for name, value in state.items()})
    return states
