"""Smoothing against a plain loop over copies and images, and its limits."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.networks import batch, network

from gradsculpt.attributions import Gradient, InputXGradient, Smoothed, SmoothGrad, SmoothGradSquared, VarGrad
from gradsculpt.attributions.smoothed import Kind
from gradsculpt.errors import ArgumentError

KINDS: tuple[Kind, ...] = ("mean", "square", "variance")


def one_by_one(x: torch.Tensor, y: torch.Tensor, samples: int, sigma: float, seed: int) -> np.ndarray:
    """Return the gradient of every copy of every image, [samples, N, C, H, W]; every image sees the same noise."""
    model, found = network().eval(), np.zeros((samples, *x.shape))
    generator = torch.Generator().manual_seed(seed)
    for s in range(samples):
        noise = torch.randn(x.shape[1:], generator=generator).double()
        for n in range(len(x)):
            reach = float(x[n].max() - x[n].min())
            leaf = (x[n] + sigma * reach * noise)[None].requires_grad_()
            found[s, n] = torch.autograd.grad(model(leaf)[0, y[n]], leaf)[0][0].numpy()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_averaged_as_in_a_plain_loop(kind: Kind) -> None:
    x, y = batch(3)
    x[1] *= 10
    copies = one_by_one(x, y, samples=5, sigma=0.2, seed=3)
    expected = {"mean": copies.mean(0), "square": (copies**2).mean(0), "variance": copies.var(0)}[kind]
    found = Smoothed(Gradient(), 5, 0.2, kind, seed=3, batch_size=6)(network().eval(), x, y)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-14)


def test_one_copy_without_noise_is_the_map_itself() -> None:
    model, (x, y) = network().eval(), batch()
    for base in (Gradient(), InputXGradient(), Gradient("probability")):
        plain = base(model, x, y)
        assert torch.equal(Smoothed(base, 1, 0.0)(model, x, y), plain)
        assert torch.equal(Smoothed(base, 1, 0.0, "square")(model, x, y), plain.square())
        assert not Smoothed(base, 1, 0.3, "variance")(model, x, y).any()


def test_the_smoothed_gradient_of_a_cubic_is_known() -> None:
    x = torch.linspace(-1, 1, 36, dtype=torch.float64).view(1, 1, 6, 6)
    found = SmoothGrad(4000, 0.2)(lambda t: t.pow(3).flatten(1).sum(dim=1, keepdim=True), x)
    # E 3 (x + s e)^2 = 3 x^2 + 3 s^2, and s is a share of the range 2.
    torch.testing.assert_close(found, 3 * x.square() + 3 * 0.4**2, rtol=0.0, atol=0.2)


@pytest.mark.parametrize("make", [SmoothGrad, lambda *given, **more: Smoothed(Gradient(), *given, **more)])
def test_noise_of_a_range_is_of_one_level_for_all_images_and_its_own_for_each_channel(
    make: Callable[..., Smoothed],
) -> None:
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x[1] *= 100
    low, high = torch.zeros(1, 3, 1, 1), torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)
    maps = make(5, 0.25, seed=3, noise_range=(low - 7, high - 7))(
        lambda t: t.square().flatten(1).sum(dim=1, keepdim=True), x
    )
    drawn = torch.Generator().manual_seed(3)
    noise = torch.stack([torch.randn(3, 4, 4, generator=drawn) for _ in range(5)]).mean(dim=0)
    torch.testing.assert_close(maps, 2 * (x + 0.25 * high * noise))


def test_a_variance_far_from_zero_keeps_its_digits() -> None:
    x = torch.rand(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def steep(t: torch.Tensor) -> torch.Tensor:
        return (1000 * t + t.square() / 2).flatten(1).sum(dim=1, keepdim=True)

    noise = torch.Generator().manual_seed(0)
    reach = float(x.max() - x.min())
    copies = np.stack([torch.randn(1, 2, 2, generator=noise).numpy() for _ in range(50)]).astype(np.float64)
    expected = (0.1 * reach * copies).var(axis=0)
    np.testing.assert_allclose(VarGrad(50, 0.1)(steep, x)[0].numpy(), expected, rtol=2e-3)


def test_named_cases_are_the_general_one() -> None:
    model, (x, y) = network().eval(), batch()
    for cls, kind in zip((SmoothGrad, SmoothGradSquared, VarGrad), KINDS, strict=True):
        general = Smoothed(Gradient("probability"), 4, 0.1, kind, seed=5)
        assert torch.equal(cls(4, 0.1, output="probability", seed=5)(model, x, y), general(model, x, y))
        assert repr(cls(4)).startswith(f"{cls.__name__}(samples=4, sigma=0.15")
    assert (SmoothGrad().samples, SmoothGrad().sigma) == (50, 0.15)
    assert SmoothGrad(4) == SmoothGrad(4) != SmoothGrad(5)
    assert not torch.equal(SmoothGrad(4, seed=1)(model, x, y), SmoothGrad(4, seed=2)(model, x, y))


def test_half_precision_does_not_spoil_the_mean() -> None:
    x = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = SmoothGrad(300, 0.0, batch_size=1)(lambda t: t.flatten(1).sum(dim=1, keepdim=True), x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, torch.ones_like(x))


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"samples": 0}, {"sigma": -0.1}, {"kind": "median"}, {"seed": -1}, {"batch_size": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Smoothed(**wrong)
