"""Everything that decides a training, in one place."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Any, Literal

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from gradsculpt import checks
from gradsculpt.configuration import written
from gradsculpt.data import Augment
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.notebook import table
from gradsculpt.objectives import CrossEntropy, Objective
from gradsculpt.progress import seconds

MAY_CHANGE = (
    "epochs",
    "device",
    "threads",
    "data_dir",
    "cache_dir",
    "strict",
    "graphs",
    "tensorboard",
    "max_time",
    "on_nan",
)
"""The settings that a resumed training may have otherwise, epochs only more of them; all others decide what is learnt.

A folder of images may also have moved: the images are compared. The documentation of `resume` names these too.
"""


@dataclass(frozen=True)
class Optimization:
    """How the parameters of a network move.

    Args:
        optimizer: sgd, adam or adamw.
        lr: Learning rate at the start (after the warm-up).
        weight_decay: Weight decay; in sgd and adam a term of the gradient, in adamw decoupled.
        momentum: Momentum of sgd.
        betas: Averaging constants of adam and adamw.
        schedule: constant, cosine (to zero at the last epoch) or step.
        milestones: Epochs after which a step schedule multiplies the rate by gamma.
        gamma: Factor of a step schedule.
        warmup: Epochs over which the rate grows linearly from a tenth.

    Raises: ArgumentError if a number is out of range.
    """

    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    milestones: tuple[int, ...] = (100, 150)
    gamma: float = 0.1
    warmup: int = 0

    def __post_init__(self) -> None:
        checks.each_at_least(self, weight_decay=0.0, momentum=0.0, gamma=0.0, warmup=0)
        checks.positive("lr", self.lr)
        for name in ("lr", "weight_decay"):  # beyond, the optimiser could not write it as a number of 32 bits
            checks.within(name, getattr(self, name), 0.0, 1e30)
        for beta in self.betas:  # at 1, nothing would ever be forgotten, nor the first steps be divided by what is seen
            checks.within("betas", beta, 0.0, 1.0 - 1e-9)
        for milestone in self.milestones:
            checks.whole("milestones", milestone, 1)

    def build(self, parameters: Iterable[nn.Parameter], epochs: int) -> tuple[Optimizer, LRScheduler]:
        """Return the optimiser of `parameters` and its schedule, to be stepped once an epoch."""
        optimizer = _OPTIMIZERS[self.optimizer](self, parameters)
        schedule = _SCHEDULES[self.schedule](self, optimizer, max(1, epochs - self.warmup))
        if self.warmup:
            rise = LinearLR(optimizer, start_factor=0.1, total_iters=self.warmup)
            schedule = SequentialLR(optimizer, [rise, schedule], milestones=[self.warmup])
        return optimizer, schedule


class _Cosine(LambdaLR):
    """In closed form: a checkpoint holds nothing of the length, and a resumed training can be given another."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if self.last_epoch > 0:  # before, a warm-up decides the rate
            for group, base, factor in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
                group["lr"] = base * factor(self.last_epoch)  # the rate in the checkpoint is that of the old length


_OPTIMIZERS: dict[str, Callable[[Optimization, Iterable[nn.Parameter]], Optimizer]] = {
    "sgd": lambda o, p: SGD(p, lr=o.lr, momentum=o.momentum, weight_decay=o.weight_decay),
    "adam": lambda o, p: Adam(p, lr=o.lr, betas=o.betas, weight_decay=o.weight_decay),
    "adamw": lambda o, p: AdamW(p, lr=o.lr, betas=o.betas, weight_decay=o.weight_decay),
}

_SCHEDULES: dict[str, Callable[[Optimization, Optimizer, int], LRScheduler]] = {
    "constant": lambda o, optimizer, epochs: MultiStepLR(optimizer, milestones=[]),
    "cosine": lambda o, optimizer, epochs: _Cosine(optimizer, lambda done: (1 + cos(pi * min(1, done / epochs))) / 2),
    "step": lambda o, optimizer, epochs: MultiStepLR(optimizer, milestones=list(o.milestones), gamma=o.gamma),
}


@dataclass(frozen=True)
class TrainSettings:
    """What `gradsculpt train` takes; a run's config.yaml holds it but for folders, `resume` and `max_time`.

    Args:
        out: Folder of the run; everything is written inside it.
        data: cells, digits, cifar10, imagenette, cub-gha, or folder:PATH.
        recipe: Shipped recipe to start from; of several, joined by +, later ones come over earlier ones.
        objective: What training minimises.
        model: Network by name: see `gradsculpt list`.
        weights: What the network starts from instead of random weights, for fine-tuning: default for those that are
            published for it (and what a pretrained:NAME has anyway), a .safetensors or .pth file, a run directory, or
            hf:NAMESPACE/NAME of the Hub. Its head is drawn anew, unless the weights are for the same classes.
        freeze: Parts of the network that keep the weights they start with, by what the names of their parameters begin
            with, such as features.0; or backbone for all but the head.
        softplus: Swap every ReLU-like activation for Softplus with this beta.
        epochs: Passes over the training images.
        batch_size: Images a batch, on each device.
        accumulate: Batches an optimiser step; their gradients are averaged.
        clip: Largest L2 norm of the gradient of all parameters; a longer one is scaled down to it.
        on_nan: What becomes of a step whose loss or gradient is not finite: stop, the training ends at it; skip, it is
            left out, as if its batch were not there (with accumulate, all batches of the step), and counted. A training
            of which more than half is left out stops.
        optimization: Optimiser and learning-rate schedule.
        statistics: Mean and standard deviation by which inputs are normalised, each one number a channel, of pixels in
            [0, 1]: [[R, G, B], [R, G, B]]; or data, to measure those of the training images. By default those that the
            weights were trained with from which the network starts, and else those of the data.
        image_size: Side of the images in pixels; by default that of the data.
        val_fraction: Share of the training images that is cut off for validation.
        train_count: Number of training images to keep, the same share of each class, once validation is cut off; of
            cells, the number to draw for training and validation.
        keep: Which epoch's network the run keeps: best, the one with the highest accuracy on the validation images, or
            last. A few dozen images cannot tell epochs apart, and the first of equals would be taken.
        swap: Number of training images that change places with test images, drawn by the seed: trainings of other
            seeds then learn from other images, as the measure of stability wants it, and each has its own test images.
        shuffle_labels: Permute the labels of training and validation images, for the data randomisation test: what
            is learnt is then by heart. The run keeps the last epoch, as no validation tells a better one.
        augment: Augmentation of training batches; by default what suits the data.
        data_dir: Where downloaded sets live or go; by default inside the run.
        cache_dir: Where decoded images are cached; by default inside the run.
        strict: Stop at the first unreadable image instead of skipping and counting it.
        seed: Seed of the split, the weights, the order and the augmentation.
        device: auto, cpu, cuda or mps.
        devices: Number of devices on each machine.
        nodes: Number of machines.
        sync_batchnorm: Whether batch normalisation takes its statistics from the images of all devices together, as
            one device with as large a batch does; or else each device from its own.
        precision: Lightning's precision, such as 32-true or bf16-mixed.
        threads: CPU threads; by default OMP_NUM_THREADS, or one for each core that the machine, the
            affinity of the process and the quota of its container leave.
        channels_last: Memory layout of images and weights; faster for most networks.
        graphs: Whether training steps are recorded as CUDA graphs and replayed, which spares the host's time: auto,
            where that is known to be exact; on, wherever it can be done; off.
        tensorboard: Also log for TensorBoard (extra gradsculpt[tensorboard]).
        max_time: Stop in good order in this time, that of getting ready included: 00:08:00, 1:00:00:00 with days, or
            90s, 8m, 1h30m. It counts from when the command is called. The run can be used, and resumed.
        resume: Go on where the run in `out` stopped, or start it. Other settings than the run's are refused, but for
            epochs (more of them), device, threads, data_dir, cache_dir, strict, graphs, tensorboard, max_time, on_nan.
    """

    out: Path
    data: str = "cells"
    recipe: str | None = None
    objective: Objective = field(default_factory=CrossEntropy)
    model: str = "lenet"
    weights: str | None = None
    freeze: tuple[str, ...] = ()
    softplus: float | None = None
    epochs: int = 20
    batch_size: int = 64
    accumulate: int = 1
    clip: float | None = None
    on_nan: Literal["stop", "skip"] = "stop"
    optimization: Optimization = field(default_factory=Optimization)
    statistics: Literal["data"] | tuple[tuple[float, ...], tuple[float, ...]] | None = None
    image_size: int | None = None
    val_fraction: float = 0.1
    train_count: int | None = None
    keep: Literal["best", "last"] = "best"
    swap: int = 0
    shuffle_labels: bool = False
    augment: Augment | None = None
    data_dir: Path | None = None
    cache_dir: Path | None = None
    strict: bool = False
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    nodes: int = 1
    sync_batchnorm: bool = False
    precision: str = "32-true"
    threads: int | None = None
    channels_last: bool = True
    graphs: Literal["auto", "on", "off"] = "auto"
    tensorboard: bool = False
    max_time: str | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        checks.each_at_least(self, epochs=1, batch_size=1, accumulate=1, devices=1, nodes=1, seed=0, swap=0)
        checks.each_at_least(self, threads=1, image_size=1, train_count=1)
        for name in ("clip", "softplus"):
            checks.positive(name, 1.0 if getattr(self, name) is None else getattr(self, name))
        checks.within("val_fraction", self.val_fraction, 0.0, 1.0)
        if self.max_time is not None:
            seconds(self.max_time, "max_time")
        if self.weights is None and self.model.startswith("pretrained:"):
            object.__setattr__(self, "weights", "default")
        if self.freeze and self.weights is None:
            raise ArgumentError(
                f"--freeze {' '.join(self.freeze)} would keep random weights, as the network starts from none; pass "
                "--weights FILE or default, or a --model pretrained:NAME."
            )
        if self.statistics is None and self.weights is None:
            object.__setattr__(self, "statistics", "data")
        if self.statistics not in (None, "data"):
            space = InputSpace(*self.statistics)
            object.__setattr__(self, "statistics", (space.mean, space.std))

    def _repr_html_(self) -> str:
        usual = type(self)(out=self.out)
        rows = [
            (name, str(value), "" if value == getattr(usual, name) else f"by default {getattr(usual, name)}")
            for name, value in vars(self).items()
            if value is not None or getattr(usual, name) is not None
        ]
        return table(self.recipe or "training", rows, ("setting", "value", ""))

    @property
    def keeps_last(self) -> bool:
        """Whether the run keeps its last epoch; where labels are shuffled, validation is chance in all of them."""
        return self.keep == "last" or self.shuffle_labels

    def config(self) -> dict[str, Any]:
        """Return what config.yaml holds: the settings as `gradsculpt train --config` reads them, in plain data.

        What cannot be written down, such as a lambda in a penalty, is an `ArgumentError`.
        """
        flat = {name: value for name, value in {**vars(self), **vars(self.optimization)}.items() if value is not None}
        return {name: written(flat[name], name) for name in flat if name not in _OF_A_CALL}


# A folder would lead a run that was moved, or a stranger's, to a place of this machine; the last stands by its content.
_OF_A_CALL = ("out", "resume", "max_time", "data_dir", "cache_dir", "optimization")
