"""Every number of every recipe, as the papers and the scripts of their released code have it.

The table is written from the publications, not from the recipes: AdvGrad is Gong et al., CVPR 2024; LGA is Joo et al.,
AAAI 2023, and the scripts that it publishes. Where a publication names no number, "ours" says so.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gradsculpt
from gradsculpt.cli.settings import read_settings
from gradsculpt.data import Augment
from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import (
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
)
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization
from gradsculpt.perturbations import Free, Iterative, Momentum, Noise, OneStep, Perturbation
from gradsculpt.training import Optimization, TrainSettings
from gradsculpt.training.fitting import build_module
from tests.training.small import images

UNTOUCHED: dict[str, Any] = {
    "data": "cells",
    "model": "lenet",
    "weights": None,
    "freeze": (),
    "softplus": None,
    "epochs": 20,
    "batch_size": 64,
    "accumulate": 1,
    "clip": None,
    "on_nan": "stop",
    "optimization": Optimization("adam", lr=1e-3, weight_decay=1e-4, betas=(0.9, 0.999), schedule="cosine", warmup=0),
    "statistics": "data",
    "image_size": None,
    "val_fraction": 0.1,
    "train_count": None,
    "keep": "best",
    "swap": 0,
    "shuffle_labels": False,
    "augment": None,
    "seed": 0,
    "precision": "32-true",
}
"""What no recipe of AdvGrad's sets: they say how, and the data say the rest. Ours."""


CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


PADDED = Augment(flip=True, crop=4 / 32, padding="zeros")
"""RandomCrop(32, padding=4) and RandomHorizontalFlip of LGA's scripts for CIFAR-10."""

CUT = Augment(flip=True, crop=0.0, resized_crop=(0.08, 1.0))
"""RandomResizedCrop(224) and RandomHorizontalFlip of LGA's scripts for ImageNet100."""

TURNED = Augment(flip=True, crop=0.0, padding="zeros", rotation=30.0, blur=(0.1, 2.0))
"""RandomRotation(30), RandomHorizontalFlip and GaussianBlur(kernel_size=5) of AdvGrad's code for ImageNette."""


def scripts(
    optimizer: str,
    decay: float,
    milestones: tuple[int, ...],
    epochs: int,
    batch: int = 128,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = CIFAR10,
    augment: Augment = PADDED,
) -> dict[str, Any]:
    """The trainings of LGA's scripts: a tenth of the rate at each milestone, Softplus with beta 3, a clip of .5."""
    return {
        "softplus": 3.0,
        "epochs": epochs,
        "batch_size": batch,
        "clip": 0.5,
        "statistics": statistics,
        "augment": augment,
        "optimization": Optimization(
            optimizer,  # type: ignore[arg-type]
            lr=1e-3,
            weight_decay=decay,
            betas=(0.9, 0.999),
            schedule="step",
            milestones=milestones,
            gamma=0.1,
            warmup=0,
        ),
    }


LENET = scripts("adam", 4e-5, (100, 150), 300)  # CIFAR-10
RESNET18 = scripts("adamw", 1e-2, (100, 150), 200)  # CIFAR-10
IMAGENET100 = scripts("adamw", 1e-2, (40, 60, 80), 90, statistics=IMAGENET, augment=CUT)  # ResNet-18


def adversarial(penalty: Any, perturbation: Perturbation | None = None) -> AdversarialTraining:
    return AdversarialTraining(penalty, OneStep() if perturbation is None else perturbation, bounds=None)


def aligned(l2: float, cosine: float, every: int = 1) -> LocalGradientAlignment:
    """One neighbour an image within 4 levels, drawn uniformly; the source detached, the distance squared."""
    return LocalGradientAlignment(
        l2, cosine, Pixels(4), noise="uniform", detach_source=True, squared=True, every=every, share=1.0
    )


# B.4: seven steps of .3 after the analytic start, which `Iterative` counts as a step; what they lead to is taken.
B4 = Iterative(steps=8, step_size=0.3, start="dual", relative=False, keep="last")


def published(epochs: int, **optimization: Any) -> dict[str, Any]:
    """The trainings of AdvGrad: Adam at a constant rate, in batches of 16."""
    return {
        "epochs": epochs,
        "batch_size": 16,
        "optimization": Optimization("adam", schedule="constant", **optimization),
    }


RECIPES: dict[str, tuple[Objective, dict[str, Any]]] = {
    # AdvGrad, B.2 and B.1, where "a momentum of 0.999" is both betas in the code.
    "advgrad-imagenette": (CrossEntropy(), published(200, lr=3e-4, betas=(0.999, 0.999), weight_decay=1e-4)),
    # Its code, where it departs from B.2.
    "advgrad-code": (
        CrossEntropy(),
        published(200, lr=3e-4, betas=(0.999, 0.999), weight_decay=1e-4)
        | {"batch_size": 8, "statistics": IMAGENET, "augment": TURNED},
    ),
    "advgrad-cells": (CrossEntropy(), published(10, lr=1e-3, betas=(0.5, 0.999), weight_decay=1e-5)),
    # AdvGrad, section 5: the baseline.
    "standard": (CrossEntropy(), {}),
    # Table 3: .01 of .01, .05 and .10 costs no accuracy.
    "l1": (adversarial(L1(0.01)), {}),
    "l1-iterative": (adversarial(L1(0.01), B4), {}),
    # Table 3: .10 is the first of .10, .50 and 1.00. Patches of 14 x 14 of each channel by itself, as released.
    "group": (adversarial(GroupL21(0.1, patch=14, per_channel=True)), {}),
    "group-iterative": (adversarial(GroupL21(0.1, patch=14, per_channel=True), B4), {}),
    # Table 3: .01 with .05 has the best DiffROAR, 3.24.
    "elastic-net": (adversarial(ElasticNet(l1=0.01, l2=0.05)), {}),
    "elastic-net-iterative": (adversarial(ElasticNet(l1=0.01, l2=0.05), B4), {}),
    # C.2.6, Figure 9: the elastic net on labels that are all permuted.
    "random-labels": (adversarial(ElasticNet(l1=0.01, l2=0.05)), {"shuffle_labels": True}),
    # B.8 and Table 4: 1.0 of .1, .5, 1.0 and 5.0.
    "harmonize": (adversarial(Harmonization(1.0, positive=False)), {}),
    # Proposition 4; weight and sigma are ours.
    "harmonize-positive": (adversarial(Harmonization(10.0, positive=True, sigma=0.01)), {}),
    # C.3.1, Table 6, with the weights of Table 4: the gradient of the whole image has unit length.
    "l2-control": (adversarial(GroupL21(1.0, patch=None, per_channel=False)), {}),
    # C.2.2; four replays as in Shafahi et al., NeurIPS 2019, for ImageNet.
    "free": (adversarial(L1(0.01), Free(replays=4)), {}),
    # C.2.3; ten steps and decay 1 as in Dong et al., CVPR 2018.
    "momentum": (adversarial(L1(0.01), Momentum(steps=10, decay=1.0)), {}),
    # C.2.1; the standard deviation is ours.
    "noise": (adversarial(L1(0.0), Noise(0.25)), {}),
    # 5.2, Figure 4; the weight is that of one-step training, which stands for it.
    "penalty": (GradientPenalty(L1(0.01), every=1, share=1.0), {}),
    # LGA, Table 1 and scripts; first the trainings alone.
    "aga-lenet": (CrossEntropy(), LENET),
    "aga-resnet18": (CrossEntropy(), RESNET18),
    "aga-imagenet100": (CrossEntropy(), IMAGENET100),
    "aga-l2": (aligned(0.01, 0.0), LENET),
    "aga-cos": (aligned(0.0, 1.0), LENET),
    "aga-l2-cos": (aligned(0.01, 1.0), LENET),
    "aga-l2-cos-cheap": (aligned(0.01, 1.0, every=8), LENET),  # every eighth step: ours
    "aga-l2-cos-resnet18": (aligned(0.01, 0.1), RESNET18),
    "aga-l2-cos-imagenet100": (aligned(1.0, 0.01), IMAGENET100),
    "hessian": (HessianNorm(1e-3, every=1, share=1.0), LENET),
    "hessian-resnet18": (HessianNorm(1e-4, every=1, share=1.0), RESNET18),
    "hessian-imagenet100": (HessianNorm(1e-3, every=1, share=1.0), {**IMAGENET100, "batch_size": 64}),
    # Singh et al., ECCV 2020, as released for CIFAR-10: weight .5, 8 levels, three steps of 5 levels.
    "iga": (
        InputGradientAlignment(0.5, Pixels(8), steps=3, step_size=5 / 8, cross_entropy="perturbed"),
        {"softplus": 3.0},
    ),
    # Tang et al. 2022, as released: .32 of the range, temperature 4, ten samples with noise of .08 of it; weight ours.
    "atex": (
        ExplanationDistillation(
            weight=1.0,
            eps=Pixels(81.6),  # .32 of 255
            temperature=4.0,
            positions=(-1.0, 0.0),
            teacher=CrossEntropy(),
            teacher_epochs=None,
            samples=10,
            sigma=0.08,
        ),
        {"softplus": 3.0},
    ),
    # LGA, Figure 1; the weight is the least of Pereyra et al. 2017.
    "max-entropy": (MaxEntropy(0.1), {"softplus": 3.0}),
}

FINE_TUNING: dict[str, Any] = {
    "model": "pretrained:mobilenet_v2",
    "weights": "default",
    "epochs": 20,
    "batch_size": 16,
    "image_size": 128,
    "keep": "last",
    "statistics": None,
    "optimization": Optimization("adamw", lr=2e-3, weight_decay=1e-2, betas=(0.9, 0.999), schedule="cosine", warmup=4),
}
"""Ours: results/fine-tuning."""

RECIPES |= {
    "fine-tune": (adversarial(ElasticNet(l1=0.03, l2=0.3)), FINE_TUNING | {"softplus": 10.0}),
    "fine-tune-standard": (CrossEntropy(), FINE_TUNING),
}


def test_every_recipe_is_in_the_table() -> None:
    shipped = {path.stem for path in (Path(gradsculpt.__file__).parent / "recipes").glob("*.yaml")}
    assert shipped == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_published_numbers(name: str, tmp_path: Path) -> None:
    settings = read_settings(["--recipe", name, "--out", str(tmp_path)])
    objective, others = RECIPES[name]
    assert settings.objective == objective
    expected = UNTOUCHED | others
    for setting, value in expected.items():
        assert getattr(settings, setting) == value, setting


def test_the_table_has_every_setting_that_decides_a_training() -> None:
    elsewhere = {"out", "recipe", "objective", "data_dir", "cache_dir", "strict", "tensorboard", "resume", "threads"}
    elsewhere |= {"max_time"}
    machine = {"device", "devices", "nodes", "sync_batchnorm", "channels_last", "graphs"}
    assert {field.name for field in fields(TrainSettings)} == set(UNTOUCHED) | elsewhere | machine


def recipe(name: str, out: Path, *words: str) -> TrainSettings:
    return read_settings(["--recipe", name, "--out", str(out), *words])


def test_recipes_joined_by_a_plus_come_one_over_the_other(tmp_path: Path) -> None:
    objective, training = RECIPES["elastic-net"][0], RECIPES["advgrad-imagenette"][1]
    joined = recipe("elastic-net+advgrad-imagenette", tmp_path, "--epochs", "3")
    assert (joined.objective, joined.recipe) == (objective, "elastic-net+advgrad-imagenette")
    assert (joined.optimization, joined.batch_size, joined.epochs) == (training["optimization"], 16, 3)
    with pytest.raises(ArgumentError, match="no recipe 'imagenette'"):
        recipe("elastic-net+imagenette", tmp_path)


def test_inputs_are_normalised_by_the_statistics_that_are_asked_for(tmp_path: Path) -> None:
    published, pictures = recipe("aga-l2", tmp_path), images()
    assert (build_module(published, pictures).space.mean, build_module(published, pictures).space.std) == CIFAR10
    measured = build_module(recipe("aga-l2", tmp_path, "--statistics", "data"), pictures).space
    pixels = pictures.images.reshape(-1, 3) / 255
    np.testing.assert_allclose([measured.mean, measured.std], [pixels.mean(axis=0), pixels.std(axis=0)])
    typed = recipe("standard", tmp_path, "--statistics", "[[0.5, 0.4, 0.3], [0.1, 0.2, 0.3]]")
    assert typed.statistics == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert typed.config()["statistics"] == [[0.5, 0.4, 0.3], [0.1, 0.2, 0.3]]


@pytest.mark.parametrize("wrong", ["published", "[[0.5, 0.5, 0.5]]", "[[0.5, 0.5, 0.5], [0.1, 0.1]]", "[[0.5], [0.0]]"])
def test_statistics_that_are_none_are_refused(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError):
        recipe("standard", tmp_path, "--statistics", wrong)


def test_the_published_statistics_make_the_terms_as_much_smaller_as_the_notes_say() -> None:
    measured = np.array([0.24703, 0.24349, 0.26159])  # of CIFAR-10
    assert ((measured / CIFAR10[1]) ** 2).mean() == pytest.approx(1.56, abs=0.005)
    assert ((measured / CIFAR10[1]) ** 2).mean() ** 2 == pytest.approx(2.42, abs=0.02)


@pytest.mark.parametrize("side", [1, 32, 224, 5000])
def test_the_l2_control_is_a_unit_vector_at_any_size(side: int, tmp_path: Path) -> None:
    objective = recipe("l2-control", tmp_path).objective
    assert isinstance(objective, AdversarialTraining)
    assert objective.penalty is not None
    gradient = torch.randn(2, 3, side, 224, generator=torch.Generator().manual_seed(0))
    delta = objective.penalty.dual(gradient)
    exact = gradient.double() / gradient.double().flatten(1).norm(dim=1).view(2, 1, 1, 1)
    torch.testing.assert_close(delta.double(), exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(delta.double().flatten(1).norm(dim=1), torch.ones(2).double(), rtol=1e-5, atol=0)


SLOPE = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1), dtype=torch.float64).numpy()
CLEAN = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(2), dtype=torch.float64).numpy()


def slope(x: np.ndarray, i: int) -> np.ndarray:
    """The gradient of a bent loss at image i, moved to x."""
    return np.asarray(0.05 * (SLOPE[i] + np.cos(2 * x)))


def l1_step(delta: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(delta + 0.3 * np.sign(g), -0.01, 0.01))


def elastic_step(delta: np.ndarray, g: np.ndarray) -> np.ndarray:
    """A step of length .3, then argmin over d of PQ(d) + (d - v)^2 / (2 t) with that step's t."""
    t = 0.3 / np.sqrt((g**2).sum())
    v = delta + t * g
    excess = np.maximum(np.abs(v) - 0.01, 0)
    return np.asarray(np.sign(v) * (np.minimum(np.abs(v), 0.01) + excess / (1 + t / (2 * 0.05))))


def group_step(delta: np.ndarray, g: np.ndarray) -> np.ndarray:
    """A step of length .3, then each patch of 14 x 14 of a channel comes back into its ball."""
    v = delta + 0.3 * g / np.sqrt((g**2).sum())
    for patch in patches(v):
        patch *= min(1.0, 0.1 / np.sqrt((patch**2).sum()))
    return v


def patches(v: np.ndarray) -> list[np.ndarray]:
    return [v[c, i : i + 14, j : j + 14] for c in range(3) for i in (0, 14) for j in (0, 14)]


def l1_start(g: np.ndarray) -> np.ndarray:
    return np.asarray(0.01 * np.sign(g))


def elastic_start(g: np.ndarray) -> np.ndarray:
    return np.asarray(0.01 * np.sign(g) + 2 * 0.05 * g)


def group_start(g: np.ndarray) -> np.ndarray:
    start = g.copy()
    for patch in patches(start):
        patch *= 0.1 / np.sqrt((patch**2).sum())
    return start


@pytest.mark.parametrize(
    ("name", "start", "step"),
    [
        ("l1-iterative", l1_start, l1_step),
        ("elastic-net-iterative", elastic_start, elastic_step),
        ("group-iterative", group_start, group_step),
    ],
)
def test_the_iterative_recipes_take_seven_steps_from_the_analytic_solution(
    name: str, start: Callable[[np.ndarray], np.ndarray], step: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """Gong et al., CVPR 2024, B.3 for the start and B.4 for the steps, one image at a time."""

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.new_zeros(len(x)), torch.from_numpy(np.stack([slope(x[i].numpy(), i) for i in range(len(x))]))

    objective = recipe(name, tmp_path).objective
    assert isinstance(objective, AdversarialTraining)
    assert objective.penalty is not None
    found = objective.perturbation.step({}, loss, torch.from_numpy(CLEAN), objective.penalty)[0].numpy()
    for i in range(len(CLEAN)):
        delta = start(slope(CLEAN[i], i))
        for _ in range(7):
            delta = step(delta, slope(CLEAN[i] + delta, i))
        np.testing.assert_allclose(found[i], delta, rtol=0, atol=1e-14)
