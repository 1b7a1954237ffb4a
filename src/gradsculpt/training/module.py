"""The Lightning module: batches and an objective in, a trained network out. It names no penalty."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from gradsculpt.data import Augment, Batch, to_float, to_input
from gradsculpt.data.augment import seed_of
from gradsculpt.data.batches import Share
from gradsculpt.data.resident import Changed
from gradsculpt.diagnosis import explained
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace, in_precision_of
from gradsculpt.isolation import seeded, sow, undisturbed
from gradsculpt.objectives import Moment, Objective
from gradsculpt.outputs import predicted
from gradsculpt.randomness import SharedGenerator
from gradsculpt.training.carried import of_every_process, put
from gradsculpt.training.graphs import Graphs, Inputs, recorder
from gradsculpt.training.normalisation import settle_buffers
from gradsculpt.training.recordable import made_recordable, obstacle, records
from gradsculpt.training.settings import Optimization
from gradsculpt.training.steps import Steps
from gradsculpt.training.tally import LOSS
from gradsculpt.training.validation import Validated


class ClassifierModule(LightningModule):
    """Trains a network with any objective.

    No step whose loss or gradients are not finite is taken. Without `skipping` it ends the training; with it, the
    optimiser step has no effect at all (of `--accumulate`, with all of its batches) and is counted. On CUDA no step
    waits for that: the optimiser is told on the device, and what was found is asked once a second and at the end of an
    epoch. There, whole steps may be recorded as graphs, and replayed.

    Logs, for every epoch: `train_loss` and its terms, `train_accuracy` (on the inputs that the objective trained on),
    `val_accuracy` and `val_cross_entropy` on clean images, `val_gini`, the sparsity of the gradient maps of the first
    validation images, and with `skipping` `train_skipped` and `val_skipped`, batches and images that were left out.

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
        on_nan: Literal["stop", "skip"] = "stop",
        tell: Callable[[str], None] = lambda note: None,
    ) -> None:
        super().__init__()
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self._layout)
        self.space = space
        self._objective, self._augment = objective, augment
        self._optimization, self._epochs, self._seed = optimization, epochs, seed
        self._state = self._state_before = objective.initial_state()
        self._batches, self._asked = 0, 0.0
        self._own = self._images = 0
        self._noise = torch.Generator()
        self._places: Any = None
        self._steps = Steps(self.network, skipping=on_nan == "skip", tell=tell)
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
        checkpoint["states"] = of_every_process(self._objective.learnt(self._state))

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
        self._noise = SharedGenerator(device) if self._processes > 1 else torch.Generator(device)
        wanted = self._graphs_wanted
        why = wanted != "off" and obstacle(self.trainer, self.network, self._objective, trusting=wanted == "on")
        recorded = wanted != "off" and not why
        made_recordable(optimizer, device, recorded=recorded)
        plugin, names = self.trainer.precision_plugin, getattr(self.trainer.train_dataloader, "names", ())
        scaler = getattr(plugin, "scaler", None)
        waits = scaler is not None or not (recorded or device.type == "cuda")
        self._steps.place(device, scaler, waits=waits, precision=str(plugin.precision), names=names)
        if not self._steps.waits:
            self._steps.guard.masks(optimizer)
        if recorded:
            self._graphs = Graphs(
                self._whole_step,
                lambda: self._sow(self._step),
                recorder(device, [self._noise]),
                network=self.network,
                optimizer=optimizer,
                kept=lambda: [
                    *self._steps.tally.tensors,
                    *self._steps.guard.tensors,
                    *(t for t in self._state.values() if isinstance(t, Tensor)),
                ],
                loss=lambda: self._steps.tally.total(LOSS),
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
        self._steps.begin_epoch(self.current_epoch + 1)

    def on_after_batch_transfer(
        self, batch: Batch | Changed, dataloader_idx: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Turn 8-bit images into augmented, normalised network input, the whole batch at once."""
        images, attention, self._places = batch.images, batch.attention, getattr(batch, "places", None)
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
        self._steps.begin(self._places)
        self._taken = batch, objective, self._step
        if self._graphs is None:
            if batch_idx % self.trainer.accumulate_grad_batches == 0:
                self._steps.begin_step()
                self._state_before = self._state
            self._sow(self._step)
            loss = self._losses(batch, objective)
            if self._images != self._own * self._processes:  # gradients are averaged over processes, not over images
                loss = loss * (len(batch[1]) * self._processes / self._images)
        else:
            self._graphs.take(batch, objective, phase)
        self._batches += 1
        self._steps.check()
        return loss

    def on_after_backward(self) -> None:
        """Look whether the gradients are finite, unless their loss was scaled and they have to be scaled back first."""
        scaler, batches = getattr(self.trainer.precision_plugin, "scaler", None), self.trainer.accumulate_grad_batches
        for carried in self._state.values():
            if isinstance(carried, Tensor) and carried.grad is not None and (batches > 1 or scaler is not None):
                # What is carried learns from the gradient of the loss itself, whatever that was multiplied by.
                carried.grad.mul_(batches / (1.0 if scaler is None else scaler.get_scale()))
        if scaler is None:
            self._steps.look(self._terms_again)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Have a step that is broken leave no trace."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            self._steps.look(self._terms_again)
        if self._steps.skipping:
            after = self._state if self._steps.waits else self._objective.learnt(self._state)
            self._state = self._steps.leave_out(optimizer, self._state_before, after)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log what the steps of the epoch have added up to."""
        if self.trainer.is_last_batch:
            self._steps.end_epoch()
            means = {f"train_{name}": mean for name, mean in self._steps.means(self._added_up).items()}
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
        self._steps.begin_step()
        optimizer.zero_grad(set_to_none=True)
        loss = self._losses(batch, objective)
        with torch.autocast(loss.device.type, enabled=False):
            self.backward(loss)
            self._steps.look()
            after = objective.learnt(self._state)
            if self._steps.skipping:
                after = self._steps.leave_out(optimizer, before, after)
            if (most := self.trainer.gradient_clip_val) is not None:
                nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], most)
            optimizer.step()
        # What is carried to the next step is kept in place, as a recording reads it there.
        self._state = {name: put(before.get(name), value) for name, value in after.items()}

    def _losses(self, batch: Inputs, objective: Objective) -> Tensor:
        """Return the loss of a batch, once its terms are noted."""
        x, y, attention = batch
        with seeded(self._seed_of_masks(self._step), self._accelerators):
            losses = objective(self.network, x, y, attention, generator=self._noise, state=self._state)
        self._state = losses.state
        if taken := losses.terms.keys() & {LOSS, "accuracy"}:
            raise ArgumentError(
                f"a term of the objective is called {min(taken)!r}, as a column of the metrics is; name it otherwise."
            )
        values = {LOSS: losses.loss, "accuracy": (predicted(losses.logits) == y).float().mean(), **losses.terms}
        self._steps.add(values, len(y))
        return losses.loss

    def _terms_again(self, part: slice) -> Mapping[str, Tensor]:
        """Return the terms of a part of the latest batch, as they were but for what the whole has to do with it."""
        (x, y, attention), objective, step = self._taken
        x, y, attention = x[part], y[part], None if attention is None else attention[part]
        context = self.trainer.precision_plugin.train_step_context()
        with context, undisturbed(self.network), seeded(self._seed_of_masks(step), self._accelerators):
            self._begin(self._noise, -1 - step)
            state = self._state_before or None
            return objective(self.network, x, y, attention, generator=self._noise, state=state).terms

    def _sow(self, step: int) -> None:
        """Derive the randomness of a step from the seed and the step alone."""
        self._begin(self._noise, -1 - step)
        sow(self._seed_of_masks(step), self._accelerators)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Propagate the loss back; raise `ModelError` where PyTorch cannot."""
        with explained():
            super().backward(loss, *args, **kwargs)

    def on_validation_epoch_start(self) -> None:
        """Begin to count the images, and those that are classified rightly; with one network in all processes."""
        if self._processes > 1:
            settle_buffers(self.network)
        self._validated = Validated(self.network, self.device, Share(self.global_rank, self._processes))

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor | None], batch_idx: int) -> None:
        """Count, measure the cross entropy and, on the first batch, the sparsity of the gradient maps."""
        x, y, _ = batch
        self._validated.add(x, y, self._places)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy in all processes together, of the images whose loss is finite."""
        names = getattr(self.trainer.val_dataloaders, "names", ())
        values = self._validated.ended(self._added_up, names, self.current_epoch + 1, skipping=self._steps.skipping)
        for name, value in values.items():
            self.log(name, value, prog_bar=name in ("val_accuracy", "val_gini"))

    @property
    def _optimizer(self) -> Optimizer:
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        return optimizer  # type: ignore[no-any-return]

    @property
    def _accelerators(self) -> list[str]:
        return [str(self.device)] if self.device.type == "cuda" else []

    def _seed_of_masks(self, step: int) -> int:
        """Return the seed of what networks draw by themselves in a step, other than that of the objective's noise."""
        return self._stream(-1 - step) ^ (1 << 62)

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

    def _added_up(self, values: Tensor) -> Tensor:
        """Return the sums of values over all processes."""
        total: Tensor = self.trainer.strategy.reduce(values, reduce_op="sum")
        return total
