"""Optimisers and learning-rate schedules by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from gradsculpt import checks


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
        checks.positive("lr", self.lr)
        checks.each_at_least(self, weight_decay=0.0, warmup=0)

    def build(self, parameters: Iterable[nn.Parameter], epochs: int) -> tuple[Optimizer, LRScheduler]:
        """Return the optimiser of `parameters` and its schedule, to be stepped once an epoch."""
        optimizer = _OPTIMIZERS[self.optimizer](self, parameters)
        schedule = _SCHEDULES[self.schedule](self, optimizer, max(1, epochs - self.warmup))
        if self.warmup:
            rise = LinearLR(optimizer, start_factor=0.1, total_iters=self.warmup)
            schedule = SequentialLR(optimizer, [rise, schedule], milestones=[self.warmup])
        return optimizer, schedule


_OPTIMIZERS: dict[str, Callable[[Optimization, Iterable[nn.Parameter]], Optimizer]] = {
    "sgd": lambda o, p: SGD(p, lr=o.lr, momentum=o.momentum, weight_decay=o.weight_decay),
    "adam": lambda o, p: Adam(p, lr=o.lr, betas=o.betas, weight_decay=o.weight_decay),
    "adamw": lambda o, p: AdamW(p, lr=o.lr, betas=o.betas, weight_decay=o.weight_decay),
}

_SCHEDULES: dict[str, Callable[[Optimization, Optimizer, int], LRScheduler]] = {
    "constant": lambda o, optimizer, epochs: MultiStepLR(optimizer, milestones=[]),
    # In closed form: a checkpoint then holds nothing of the length, and a resumed training can be given another.
    "cosine": lambda o, optimizer, epochs: LambdaLR(optimizer, lambda done: (1 + cos(pi * min(1, done / epochs))) / 2),
    "step": lambda o, optimizer, epochs: MultiStepLR(optimizer, milestones=list(o.milestones), gamma=o.gamma),
}
