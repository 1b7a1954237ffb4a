"""One easily built objective of every class, which training has to be able to run."""

from collections.abc import Callable

import torch
from torch import Tensor

from gradsculpt.objectives import (
    OBJECTIVES,
    AdversarialTraining,
    CrossEntropy,
    ExplanationDistillation,
    GradientPenalty,
    HessianNorm,
    InputGradientAlignment,
    LocalGradientAlignment,
    MaxEntropy,
    Objective,
    Pixels,
    warmup,
)
from gradsculpt.penalties import L1, ElasticNet, SquaredL2


def maps(x: Tensor) -> Tensor:
    """Return maps that accompany images, one value for each of theirs."""
    generator = torch.Generator().manual_seed(8)
    return torch.rand(x.shape, generator=generator, dtype=torch.float64).to(x.dtype)


def teacher(x: Tensor) -> Tensor:
    return x.flatten(1)[:, :3]


BUILDERS: dict[str, Callable[[], Objective]] = {
    "CrossEntropy": CrossEntropy,
    "AdversarialTraining": lambda: AdversarialTraining(ElasticNet(0.05, 0.1)),
    "GradientPenalty": lambda: GradientPenalty(SquaredL2(0.1)),
    "LocalGradientAlignment": lambda: LocalGradientAlignment(0.1, 1.0, eps=Pixels(8)),
    "HessianNorm": lambda: HessianNorm(0.01),
    "InputGradientAlignment": lambda: InputGradientAlignment(0.5, eps=Pixels(8)),
    "ExplanationDistillation": lambda: ExplanationDistillation(0.5, eps=Pixels(8)).with_teacher(teacher),
    "MaxEntropy": lambda: MaxEntropy(0.1),
    "Sum": lambda: AdversarialTraining(L1(0.05)) + LocalGradientAlignment(0.1, 1.0, eps=0.1, every=2) + MaxEntropy(0.1),
    "Scaled": lambda: warmup(1) * LocalGradientAlignment(0.1, 1.0, eps=0.1, share=0.5),
}
"""By the name of the class. They take images of three channels and classes, with `maps` beside them."""


def untried() -> set[str]:
    """Return the classes that have no builder, and the builders of what is no such class."""
    classes = {cls.__name__: cls for cls in OBJECTIVES}
    built = {name for name, build in BUILDERS.items() if name in classes and isinstance(build(), classes[name])}
    return (set(classes) | set(BUILDERS)) - built
