"""RelEx: its limits as laws, and the published steps written out with PyTorch's own optimiser."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.networks import Recorder, batch, network
from torch import Tensor, nn

from gradsculpt.attributions import RelEx
from gradsculpt.errors import ArgumentError

LONG = RelEx(steps=60)


def linear(weights: Tensor) -> nn.Sequential:
    """Return a model of two classes with logits 0 and <weights, x>."""
    layer = nn.Linear(weights.numel(), 2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros_like(weights).flatten(), weights.flatten()]))
    return nn.Sequential(nn.Flatten(), layer)


def plain(settings: RelEx, model: nn.Module, image: Tensor, target: int) -> Tensor:
    """Return the mask of one image by the published loop: softmax, logarithms, SGD with momentum, a clamp."""
    generator = torch.Generator().manual_seed(settings.seed)
    mask = (torch.rand(image.shape, generator=generator) / 100).double().requires_grad_()
    optimiser = torch.optim.SGD([mask], lr=settings.step_size, momentum=settings.momentum)
    level = settings.sigma * (image.max() - image.min())
    for _ in range(settings.steps):
        draws = [torch.randn(image.shape, generator=generator).double() for _ in range(settings.samples)]
        losses = []
        for noise in draws:
            copy = image + level * noise
            shown = model((mask * copy)[None]).softmax(dim=1)[0, target]
            hidden = model(((1 - mask) * copy)[None]).softmax(dim=1)[0, target]
            losses.append(-torch.log(shown) - settings.background * torch.log(1 - hidden))
        loss = torch.stack(losses).mean() + settings.sparsity * mask.sum()
        (gradient,) = torch.autograd.grad(loss, mask)
        mask.grad = gradient / gradient.square().sum().sqrt()
        optimiser.step()
        with torch.no_grad():
            mask.clamp_(0, 1)
    return mask.detach()


@pytest.mark.parametrize("background", [1.0, 0.3, 0.0])
def test_masks_are_those_of_the_published_loop(background: float) -> None:
    model, (x, y) = network().eval(), batch(3)
    settings = RelEx(sparsity=0.02, background=background, samples=3, steps=12, seed=4)
    expected = torch.stack([plain(settings, model, image, int(c)) for image, c in zip(x, y, strict=True)])
    assert 0 < float((expected == 0).double().mean()) < 1
    torch.testing.assert_close(settings(model, x, y), expected, rtol=1e-6, atol=1e-8)  # the first mask is float32


def test_without_pressure_all_that_speaks_for_the_class_is_kept_and_under_pressure_nothing() -> None:
    x = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    model, y = linear(torch.full((2, 4, 5), 0.1).double()), torch.ones(3, dtype=torch.long)
    free = replace(LONG, sparsity=0.0, background=0.0, sigma=0.0)
    assert torch.equal(free(model, x, y), torch.ones_like(x))
    # To the other class the same entries speak against it.
    assert torch.equal(free(model, x, 0 * y), torch.zeros_like(x))
    assert torch.equal(replace(LONG, sparsity=1e4)(model, x, y), torch.zeros_like(x))


@pytest.mark.parametrize("settings", [LONG, replace(LONG, background=0.0), replace(LONG, sigma=0.0)], ids=repr)
def test_the_pixels_that_a_class_depends_on_are_found(settings: RelEx) -> None:
    x = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    weights = torch.zeros(3, 5, 5).double()
    weights[0, 1, 2], weights[2, 3, 3], weights[1, 4, 0], weights[0, 0, 0] = 0.4, 0.5, 0.3, -0.6
    masks = replace(settings, sparsity=0.01)(linear(weights), x, torch.tensor([1, 1]))
    assert torch.equal(masks > 0.5, (weights > 0).expand_as(x))
    assert float(masks[:, weights <= 0].max()) < 0.05


def test_what_is_hidden_loses_its_class_and_what_is_kept_has_it() -> None:
    model, (x, _) = network().eval(), batch()
    y = model(x).argmax(dim=1)
    masks = RelEx(sigma=0.0)(model, x)

    def share(images: Tensor) -> Tensor:
        return model(images).softmax(dim=1).gather(1, y[:, None])[:, 0].detach()

    assert bool((share(masks * x) > share(x)).all())
    assert bool((share((1 - masks) * x) < share(x)).all())


def test_masks_lie_between_0_and_1_and_depend_on_the_seed_alone() -> None:
    model, (x, y) = network().eval(), batch()
    first = RelEx(steps=8)(model, x, y)
    assert bool(((first >= 0) & (first <= 1)).all())
    assert torch.equal(RelEx(steps=8)(model, x, y), first)
    assert not torch.equal(RelEx(steps=8, seed=1)(model, x, y), first)


def test_a_certain_network_has_finite_masks() -> None:
    """The logarithm of what is left beside a probability that rounds to 1 is finite, and so is its derivative."""
    x = torch.ones(2, 1, 2, 2)
    sure = linear(torch.full((1, 2, 2), 1e4).double()).float()
    for y in (0, 1):
        masks = RelEx(steps=5)(sure, x, torch.tensor([y, y]))
        assert bool(masks.isfinite().all())
    assert bool(masks.bool().all())


def test_a_single_logit_is_that_of_class_1() -> None:
    x, y = torch.rand(2, 1, 2, 2).double() + 0.5, torch.tensor([1, 0])
    weights = torch.tensor([[[2.0, -2.0], [0.0, 3.0]]]).double()
    both = linear(weights)
    single = RelEx(sparsity=0.0)(lambda t: both(t)[:, 1:], x, y)
    torch.testing.assert_close(single, RelEx(sparsity=0.0)(both, x, y))


def test_passes_are_as_many_as_the_terms_need() -> None:
    model, (x, y) = network().eval(), batch(2)
    for settings, passes in ((RelEx(samples=3, steps=2), 2), (RelEx(samples=3, steps=2, background=0.0), 1)):
        recorder = Recorder(model)
        replace(settings, batch_size=6)(recorder.__call__, x, y)
        assert [len(seen) for seen in recorder.seen] == [6] * 2 * passes
    recorder = Recorder(model)
    RelEx(sigma=0.0, steps=3, batch_size=6)(recorder.__call__, x, y)
    assert [len(seen) for seen in recorder.seen] == [2] * 6


WRONG: list[dict[str, Any]] = [{"sparsity": -1e-4}, {"background": -1.0}, {"sigma": -0.1}, {"samples": 0}]
WRONG += [{"steps": 0}, {"seed": -1}, {"step_size": 0.0}, {"momentum": 1.5}, {"batch_size": 0}]
WRONG += [{"sparsity": float("nan")}]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_bad_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"^{next(iter(wrong))}="):
        RelEx(**wrong)


def test_what_all_logits_have_in_common_does_not_matter() -> None:
    model, (x, y) = network().eval(), batch(2)
    expected, last = RelEx(steps=4)(model, x, y), model[-1]
    assert isinstance(last, nn.Linear)
    for shift in (-5000.0, 10000.0):
        with torch.no_grad():
            last.bias.add_(shift)
        torch.testing.assert_close(RelEx(steps=4)(model, x, y), expected, rtol=1e-6, atol=1e-8)
