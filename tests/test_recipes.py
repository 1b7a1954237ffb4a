"""Every number of every recipe, as the papers and the scripts of their released code have it.

The table is written from the publications, not from the recipes: AdvGrad is Gong et al., CVPR 2024; LGA is Joo et al.,
AAAI 2023, and the scripts that it publishes. Where a publication names no number, "ours" says so.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import gradsculpt
from gradsculpt.cli.settings import read_settings
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

UNTOUCHED: dict[str, Any] = {
    "data": "cells",
    "model": "lenet",
    "softplus": None,
    "epochs": 20,
    "batch_size": 64,
    "accumulate": 1,
    "clip": None,
    "optimization": Optimization("adam", lr=1e-3, weight_decay=1e-4, betas=(0.9, 0.999), schedule="cosine", warmup=0),
    "image_size": None,
    "val_fraction": 0.1,
    "train_count": None,
    "shuffle_labels": False,
    "augment": None,
    "seed": 0,
    "precision": "32-true",
}
"""What no recipe of AdvGrad's sets: they say how, and the data say the rest. Ours."""


def scripts(optimizer: str, decay: float, milestones: tuple[int, ...], epochs: int, batch: int = 128) -> dict[str, Any]:
    """The trainings of LGA's scripts: a tenth of the rate at each milestone, and Softplus with beta 3."""
    return {
        "softplus": 3.0,
        "epochs": epochs,
        "batch_size": batch,
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
IMAGENET100 = scripts("adamw", 1e-2, (40, 60, 80), 90)  # ResNet-18


def adversarial(penalty: Any, perturbation: Perturbation | None = None) -> AdversarialTraining:
    return AdversarialTraining(penalty, OneStep() if perturbation is None else perturbation, bounds=None)


def aligned(l2: float, cosine: float, every: int = 1) -> LocalGradientAlignment:
    """One neighbour an image within 4 levels, drawn uniformly; the source detached, the distance squared."""
    return LocalGradientAlignment(
        l2, cosine, Pixels(4), noise="uniform", detach_source=True, squared=True, every=every, share=1.0
    )


# B.4: seven steps of .3 after the analytic start, which `Iterative` counts as a step.
B4 = Iterative(steps=8, step_size=0.3, start="dual", relative=False, keep="best")

RECIPES: dict[str, tuple[Objective, dict[str, Any]]] = {
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
    "l2-control": (adversarial(GroupL21(1.0, patch=4096, per_channel=False)), {}),
    # C.2.2; four replays as in Shafahi et al., NeurIPS 2019, for ImageNet.
    "free": (adversarial(L1(0.01), Free(replays=4)), {}),
    # C.2.3; ten steps and decay 1 as in Dong et al., CVPR 2018.
    "momentum": (adversarial(L1(0.01), Momentum(steps=10, decay=1.0)), {}),
    # C.2.1; the standard deviation is ours.
    "noise": (adversarial(L1(0.0), Noise(0.25)), {}),
    # 5.2, Figure 4; the weight is that of one-step training, which stands for it.
    "penalty": (GradientPenalty(L1(0.01), every=1, share=1.0), {}),
    # LGA, Table 1 and scripts.
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
    machine = {"device", "devices", "nodes", "channels_last"}
    assert {field.name for field in fields(TrainSettings)} == set(UNTOUCHED) | elsewhere | machine
