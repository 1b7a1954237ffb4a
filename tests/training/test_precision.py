"""Every objective in mixed precision, with accumulated and clipped gradients, in either memory layout."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    GradientPenalty,
    LocalGradientAlignment,
    MaxEntropy,
    Objective,
)
from gradsculpt.penalties import ElasticNet, SquaredL2
from tests.objectives.cases import BUILDERS
from tests.training.small import network, train, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]

DETERMINISTIC: dict[str, Objective] = {
    "cross entropy": CrossEntropy(),
    "adversarial": AdversarialTraining(ElasticNet(0.05, 0.1)),
    "penalty": GradientPenalty(SquaredL2(0.1)),
    "alignment": LocalGradientAlignment(0.1, 1.0, eps=0.5, noise="gradient", detach_source=False),
    "detached alignment": LocalGradientAlignment(0.1, 1.0, eps=0.5, noise="gradient"),
    "sum": AdversarialTraining(ElasticNet(0.05, 0.1)) + MaxEntropy(0.1) + GradientPenalty(SquaredL2(0.1)),
}


@pytest.mark.parametrize("channels_last", [True, False], ids=["channels last", "contiguous"])
@pytest.mark.parametrize("name", BUILDERS)
def test_every_objective_trains_in_mixed_precision(name: str, channels_last: bool, tmp_path: Path) -> None:
    model = network()
    before, dtypes = weights(model), set()
    model[0].register_forward_hook(lambda module, inputs, output: dtypes.add(output.dtype))
    logged = train(
        tmp_path,
        BUILDERS[name](),
        model,
        precision="bf16-mixed",
        accumulate=2,
        clip=0.5,
        channels_last=channels_last,
    )
    assert dtypes == {torch.bfloat16}
    assert all(torch.tensor(value).isfinite() for value in logged.values())
    after = weights(model)
    assert after.isfinite().all()
    assert 0 < (after - before).norm() <= 2 * 0.1 * 0.5 * 1.001  # two steps of at most lr * clip
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(b.dtype == torch.float32 for b in model.buffers() if b.is_floating_point())
    assert all(not torch.equal(p, q) for p, q in zip(model.parameters(), network().parameters(), strict=True))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert model.get_parameter("4.weight").is_contiguous(memory_format=layout)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_objective_trains_in_half_precision_alone(name: str, tmp_path: Path) -> None:
    model = network(norm=False)
    exact, logged = (
        train(
            tmp_path / precision,
            BUILDERS[name](),
            network(norm=False) if precision == "32-true" else model,
            precision=precision,
        )
        for precision in ("32-true", "bf16-true")
    )
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert logged["train_loss"] == pytest.approx(exact["train_loss"], rel=0.1, abs=0.05)


@pytest.mark.parametrize("name", BUILDERS)
def test_mixed_precision_stays_near_full_precision(name: str, tmp_path: Path) -> None:
    exact = train(tmp_path / "exact", BUILDERS[name](), network())
    mixed = train(tmp_path / "mixed", BUILDERS[name](), network(), precision="bf16-mixed")
    assert mixed.keys() == exact.keys()
    assert mixed["train_loss"] == pytest.approx(exact["train_loss"], rel=0.05, abs=0.02)


@pytest.mark.parametrize("objective", DETERMINISTIC.values(), ids=DETERMINISTIC)
def test_two_half_batches_are_one_batch(objective: Objective, tmp_path: Path) -> None:
    whole, halves, alone = network(norm=False), network(norm=False), network(norm=False)
    train(tmp_path / "whole", objective, whole, batch_size=8)
    train(tmp_path / "halves", objective, halves, batch_size=4, accumulate=2)
    train(tmp_path / "alone", objective, alone, batch_size=4)
    torch.testing.assert_close(weights(halves), weights(whole), rtol=1e-5, atol=1e-6)
    assert (weights(alone) - weights(whole)).norm() > 1e-3


def test_clipping_shortens_what_is_too_long_and_nothing_else(tmp_path: Path) -> None:
    before = weights(network(norm=False))
    moved = {}
    for clip in (None, 0.01, 1e4):
        model = network(norm=False)
        train(tmp_path / str(clip), CrossEntropy(), model, batch_size=16, clip=clip)
        moved[clip] = weights(model) - before
    assert moved[None].norm() > 0.1 * 0.01
    assert torch.equal(moved[1e4], moved[None])
    assert moved[0.01].norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)
    torch.testing.assert_close(moved[0.01] / moved[0.01].norm(), moved[None] / moved[None].norm(), rtol=1e-2, atol=1e-3)


class Kink(nn.Module):
    """The root of a square at 0: finite, and its slope is not a number."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (x - x.detach()).square().sqrt()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_loss_that_is_not_finite_names_its_terms(precision: str, tmp_path: Path) -> None:
    objective = MaxEntropy(0.1) + LocalGradientAlignment(0.1, 1.0, eps=0.1)
    with pytest.raises(RunError, match=r"nan in epoch 1 through l2_alignment, cosine_alignment; .*cannot go on"):
        train(tmp_path, objective, nn.Sequential(Kink(), network()), precision=precision)


def test_the_flags_are_read_and_kept(tmp_path: Path) -> None:
    words = ["--accumulate", "4", "--clip", "0.5", "--out", str(tmp_path / "run")]
    settings = read_settings(words)
    assert (settings.accumulate, settings.clip) == (4, 0.5)
    assert (settings.config()["accumulate"], settings.config()["clip"]) == (4, 0.5)
    plain = read_settings(words[-2:])
    assert (plain.accumulate, plain.clip) == (1, None)


@pytest.mark.parametrize(("flag", "value"), [("accumulate", "0"), ("accumulate", "1.5"), ("clip", "0"), ("clip", "-1")])
def test_what_makes_no_sense_is_refused(flag: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=flag):
        read_settings([f"--{flag}", value, "--out", str(tmp_path / "run")])
