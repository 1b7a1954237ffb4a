"""Networks with attention and layer normalisation go through every objective, attack and group of scores."""

import copy
import math
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.models as timm
import torch
import torchvision.models as vision
from PIL import Image
from timm.models.maxxvit import MaxxVitCfg, MaxxVitConvCfg, MaxxVitTransformerCfg
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import SwinTransformerBlockV2

from gradsculpt.attacks import (
    ATTACKS,
    Attack,
    MassCenterAttack,
    RandomPerturbation,
    TargetedManipulation,
    TopKAttack,
    UntargetedManipulation,
)
from gradsculpt.attributions import Attribution, Gradient, InputXGradient, IntegratedGradients, MoreauGrad, SmoothGrad
from gradsculpt.cli.main import main
from gradsculpt.evaluation import Protocol, evaluate
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import hessian_norm, upper_bound
from gradsculpt.objectives import GradientPenalty, HessianNorm, LocalGradientAlignment, Moment, Objective
from gradsculpt.penalties import SquaredL2
from tests.evaluation.cases import NAMES, SMALL
from tests.objectives.cases import BUILDERS, maps

SIDE = 16
SPACE = InputSpace((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
_SWIN: dict[str, Any] = {"embed_dim": 8, "depths": [2], "num_heads": [2]}
_MAXXVIT = MaxxVitCfg(
    *((8,), (1,), ("M",), 4),
    conv_cfg=MaxxVitConvCfg(expand_ratio=1.0),
    transformer_cfg=MaxxVitTransformerCfg(dim_head=4, expand_ratio=1.0, window_size=(2, 2), rel_pos_dim=8),
)
BUILT: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: vision.VisionTransformer(SIDE, 8, 1, 2, 8, 8, num_classes=3),
    "swin": lambda: vision.SwinTransformer([4, 4], window_size=[2, 2], num_classes=3, **_SWIN),
    "swin v2": lambda: vision.SwinTransformer(
        [4, 4], window_size=[2, 2], num_classes=3, block=SwinTransformerBlockV2, **_SWIN
    ),
    "convnext": lambda: vision.ConvNeXt([CNBlockConfig(8, 8, 1), CNBlockConfig(8, None, 1)], num_classes=3),
    "maxvit": lambda: vision.MaxVit((SIDE, SIDE), 4, 2, [4], [1], 2, 0.0, num_classes=3),
    "timm vit": lambda: timm.VisionTransformer(SIDE, 8, 3, 3, embed_dim=8, depth=1, num_heads=2, qk_norm=True),
    "timm swin": lambda: timm.SwinTransformer(SIDE, 4, 3, 3, window_size=2, drop_path_rate=0.0, **_SWIN),
    "timm convnext": lambda: timm.ConvNeXt(3, 3, depths=(1, 1, 1, 1), dims=(4, 4, 4, 8), patch_size=1),
    "timm maxvit": lambda: timm.MaxxVit(_MAXXVIT, SIDE, num_classes=3),
}
every = pytest.mark.parametrize("name", BUILT)


@cache
def network(name: str) -> nn.Module:
    """Return a tiny network in float64 and evaluation mode, all of whose parameters matter."""
    torch.manual_seed(0)
    built = BUILT[name]().double().eval()
    for parameter in built.parameters():
        if parameter.ndim < 2 or float(parameter.detach().abs().max()) < 0.1:  # scales of 1e-6, say, and biases of 0
            parameter.data.normal_(0.3, 0.3)
    return built


def batch(n: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, SIDE, SIDE, generator=generator, dtype=torch.float64), torch.arange(n) % 3


def gradients(model: nn.Module) -> list[Tensor]:
    """Return the gradients that parameters have, and take them away."""
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    return found


@every
def test_every_objective_trains_it(name: str) -> None:
    model, (x, y) = network(name), batch()
    for build in BUILDERS.values():
        losses = build().at(Moment(epoch=0.5, step=2, space=SPACE))(model, x, y, attention=maps(x))
        losses.loss.backward()
        found = gradients(model)
        assert losses.loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in found)
        assert sum(bool(gradient.any()) for gradient in found) > len(found) / 2


SECOND_ORDER: tuple[Objective, ...] = (
    GradientPenalty(SquaredL2(1.0)),
    HessianNorm(1.0),
    LocalGradientAlignment(1.0, 1.0, eps=0.1, detach_source=False),
)


@pytest.mark.parametrize(("name", "mode"), [*product(BUILT, [False]), ("maxvit", True), ("timm maxvit", True)])
def test_objectives_descend_along_their_gradients(name: str, mode: bool) -> None:
    model, (x, y) = network(name).train(mode), batch(2)
    parameters, start = list(model.parameters()), [parameter.detach().clone() for parameter in model.parameters()]
    along = [
        torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(i)) for i, p in enumerate(start)
    ]

    def loss(objective: Objective, step: float = 0.0) -> Tensor:
        with torch.no_grad():
            for parameter, begun, direction in zip(parameters, start, along, strict=True):
                parameter.copy_(begun + step * direction)
        torch.manual_seed(1)
        return objective(model, x, y).loss

    try:
        for objective in SECOND_ORDER:
            loss(objective).backward()
            slope = sum(float((p.grad * d).sum()) for p, d in zip(parameters, along, strict=True) if p.grad is not None)
            model.zero_grad()
            h = 3e-5
            one, two = (float(loss(objective, step) - loss(objective, -step)) for step in (h, 2 * h))
            assert slope == pytest.approx((8 * one - two) / (12 * h), rel=1e-4), repr(objective)
    finally:
        loss(SECOND_ORDER[0])
        model.eval()


ATTACKED: tuple[Attack, ...] = (
    TargetedManipulation(0.2, steps=2),
    UntargetedManipulation(0.2, steps=2),
    TopKAttack(0.2, steps=2),
    MassCenterAttack(0.2, steps=2),
    RandomPerturbation(0.2),
)
MAPS: tuple[Attribution, ...] = (
    Gradient(),
    InputXGradient(),
    SmoothGrad(samples=2),
    IntegratedGradients(steps=2),
    MoreauGrad(),
)


def test_every_attack_is_tried() -> None:
    assert [type(attack) for attack in ATTACKED] == list(ATTACKS)


@every
def test_every_attack_is_led_by_its_maps(name: str) -> None:
    model, (x, y) = network(name), batch(2)
    moved = []
    for attack, attribution in product(ATTACKED, MAPS[:2]):
        attacked = attack(model, attribution, x, y)
        assert attacked.isfinite().all()
        moved.append(float((attacked - x).abs().max()) > 0)
    assert sum(moved) >= 8  # the clean images are returned where two steps lead to nothing better


@every
def test_maps_with_a_graph_are_differentiated(name: str) -> None:
    model, (x, y) = network(name), batch(2)
    for attribution in MAPS if name == "timm vit" else MAPS[:-1]:  # the last one takes as long as all others
        given = x.clone().requires_grad_()
        found = attribution(model, given, y, create_graph=True)
        torch.testing.assert_close(found.detach(), attribution(model, x, y), rtol=1e-5, atol=1e-6)
        found.square().sum().backward()
        slopes = [gradient for gradient in [given.grad, *gradients(model)] if gradient is not None]
        assert all(slope.isfinite().all() for slope in slopes)
        assert any(slope.any() for slope in slopes)


@every
def test_every_score_is_measured(name: str) -> None:
    x, y = batch()
    card = evaluate(
        copy.deepcopy(network(name)).float(), [(x.sigmoid().float(), y)], Protocol(SMALL), space=SPACE, name=name
    )
    groups = {entry.group for entry in card.entries.values() if math.isfinite(entry.mean)}
    assert groups == set(NAMES) - {"ground-truth"}  # for which there are no maps here


@every
def test_curvature_is_measured(name: str) -> None:
    model, (x, y) = network(name), batch(2)
    for scores in (hessian_norm(model, x, y, probes=2), upper_bound(model, x, y, eps=0.1, probes=2)):
        for values in scores.values():
            assert values.isfinite().all()
            assert (values > 0).all()


def test_a_transformer_is_trained_with_a_penalty_by_command(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0)
    for name, i in product(("dark", "light"), range(6)):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        noise = pixels.integers(0, 120, (32, 32, 3)) + (120 if name == "light" else 0)
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    words = ["--data", f"folder:{tmp_path / 'photos'}", "--val-fraction", "0.3", "--model", "timm:test_vit"]
    words += ["--recipe", "penalty", "--image-size", "32", "--epochs", "1", "--batch-size", "4", "--threads", "1"]
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "model.safetensors").exists()
