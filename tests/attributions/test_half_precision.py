"""Maps of networks in half precision are those of float32 up to rounding, and never 0 or infinite for its range."""

import pytest
import torch
from tests.networks import halved
from torch import Tensor, nn

from gradsculpt.attributions import (
    ATTRIBUTIONS,
    Attribution,
    MoreauGrad,
    ProximalGradient,
    Smoothed,
    SmoothGrad,
    SmoothGradSquared,
    Sparsified,
    VarGrad,
)
from gradsculpt.penalties import L1, GroupL21

FEW = {"samples": 4, "steps": 4}


def small(cls: type[Attribution]) -> Attribution:
    return cls(**{name: value for name, value in FEW.items() if hasattr(cls(), name)})


MEMBERS = [
    *map(small, ATTRIBUTIONS),
    MoreauGrad(L1(1e-4), samples=4, steps=4),
    MoreauGrad(GroupL21(1e-4, patch=14), sigma=0.0, steps=4),
    MoreauGrad(solver=ProximalGradient(0.1), samples=4, steps=4),
    Smoothed(Sparsified(keep=0.2), samples=4, kind="variance"),
]
halves = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


@halves
@pytest.mark.parametrize("attribution", MEMBERS, ids=lambda each: repr(each)[:60])
def test_every_attribution(attribution: Attribution, dtype: torch.dtype) -> None:
    half, single, x = halved(dtype, 48)
    target = torch.tensor([1, 3])
    found, exact = attribution(half, x, target), attribution(single, x.float(), target)
    squares = getattr(attribution, "kind", "mean") != "mean" and dtype == torch.float16
    assert found.dtype == (torch.float32 if squares else dtype)
    assert bool(found.isfinite().all())
    size = exact.double().flatten(1).norm(dim=1)
    assert torch.equal(found.flatten(1).any(dim=1), size > 0)
    error = (found.double() - exact.double()).flatten(1).norm(dim=1) / torch.where(size > 0, size, 1.0)
    # Which entries are the largest hangs on rounding; the gradients themselves have lost some digits in the network.
    assert float(error.max()) <= (200 if "Spars" in repr(attribution) else 50) * float(torch.finfo(dtype).eps)


def test_squares_leave_the_range_of_float16_at_both_ends() -> None:
    x = torch.ones(1, 1, 2, 2).half()
    for slope in (1e-4, 300.0):

        def model(t: Tensor, slope: float = slope) -> Tensor:
            return slope * t.flatten(1).sum(dim=1, keepdim=True)

        squared = SmoothGradSquared(8, 0.0)(model, x)
        torch.testing.assert_close(squared, torch.full((1, 1, 2, 2), float(torch.tensor(slope).half()) ** 2))

    def bent(t: Tensor) -> Tensor:
        return 5e-4 * t.square().flatten(1).sum(dim=1, keepdim=True)

    noisy, exact = VarGrad(64, noise_range=(0.0, 1.0))(bent, x), VarGrad(64, noise_range=(0.0, 1.0))(bent, x.float())
    assert bool((exact < 1e-7).all())  # less than half of the least number of float16
    torch.testing.assert_close(noisy, exact, rtol=0.02, atol=0)


@halves
def test_maps_of_bent_networks_can_be_differentiated(dtype: torch.dtype) -> None:
    half, single, x = halved(dtype, 48)
    for attribution in (SmoothGrad(2), MoreauGrad(samples=2, steps=2), MoreauGrad(sigma=0.0, steps=2, surrogate=True)):
        slopes = []
        for model, images in ((half, x), (single, x.float())):
            point = images.clone().requires_grad_()
            maps = 100 * attribution(model, point, torch.tensor([1, 3]), create_graph=True).float()
            (slope,) = torch.autograd.grad(maps.square().sum(), point)
            assert slope.dtype == images.dtype
            slopes.append(slope.double())
        assert float((slopes[0] - slopes[1]).norm() / slopes[1].norm()) <= 100 * float(torch.finfo(dtype).eps)


class Wrong(nn.Module):
    """A function whose gradient is not a number, or endless, wherever the image is dark."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, t: Tensor) -> Tensor:
        bright = t.flatten(1).mean(dim=1, keepdim=True) > 0
        return torch.where(bright, 1.0, self.value) * t.flatten(1)[:, :3]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("penalty", [None, L1(0.1), GroupL21(0.1, patch=2)], ids=repr)
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_a_map_that_is_not_finite_has_not_converged(value: float, penalty: L1 | None, sigma: float) -> None:
    x = torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)])
    x[:, :, 0, 0] += 0.5
    attribution = MoreauGrad(penalty, sigma=sigma, samples=2)
    maps, info = attribution(Wrong(value), x, torch.tensor([0, 1]), return_info=True)
    assert info.converged.tolist() == maps.isfinite().flatten(1).all(dim=1).tolist() == [True, False]
    assert bool(info.residual[0] <= attribution.tolerance)
