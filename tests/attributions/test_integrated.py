"""Integrated gradients against a plain loop, known integrals, and the sum that they promise."""

import numpy as np
import pytest
import torch
from tests.networks import batch, network

from gradsculpt.attributions import Gradient, InputXGradient, IntegratedGradients
from gradsculpt.attributions.integrated import RULES, Rule
from gradsculpt.errors import ArgumentError

rules = pytest.mark.parametrize("rule", RULES)

# Written out by hand for three steps.
THREE: dict[Rule, tuple[list[float], list[float]]] = {
    "midpoint": ([1 / 6, 3 / 6, 5 / 6], [1 / 3, 1 / 3, 1 / 3]),
    "left": ([0, 1 / 3, 2 / 3], [1 / 3, 1 / 3, 1 / 3]),
    "right": ([1 / 3, 2 / 3, 1], [1 / 3, 1 / 3, 1 / 3]),
    "trapezoid": ([0, 1 / 2, 1], [1 / 4, 1 / 2, 1 / 4]),
    "gauss-legendre": ([0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5], [5 / 18, 8 / 18, 5 / 18]),
}


@rules
@pytest.mark.parametrize("baseline", [0.0, -0.5, "channel", "image"])
def test_every_rule_is_the_plain_sum(rule: Rule, baseline: float | str) -> None:
    model, (x, y) = network().eval(), batch(3)
    named = {
        "channel": torch.tensor([0.1, -0.2, 0.3]).view(3, 1, 1),
        "image": torch.randn(x.shape, generator=torch.Generator().manual_seed(7)),
    }
    start = named[baseline] if isinstance(baseline, str) else baseline
    expected = np.zeros(x.shape)
    for n in range(len(x)):
        origin = (torch.zeros_like(x) + start)[n]
        for place, weight in zip(*THREE[rule], strict=True):
            leaf = (origin + place * (x[n] - origin))[None].requires_grad_()
            gradient = torch.autograd.grad(model(leaf)[0, y[n]], leaf)[0][0]
            expected[n] += weight * ((x[n] - origin) * gradient).numpy()
    found = IntegratedGradients(3, rule, start, batch_size=4)(model, x, y)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-13)


@rules
@pytest.mark.parametrize("output", ["logit", "probability", "log_probability"])
def test_maps_add_up(rule: Rule, output: str) -> None:
    model, (x, y) = network().eval(), batch()
    errors = []
    for steps in (8, 64):
        attribution = IntegratedGradients(steps, rule, baseline=0.3, output=output)  # type: ignore[arg-type]
        maps = attribution(model, x, y)
        error = attribution.completeness(model, x, y, maps)
        scores = {
            "logit": lambda z: z,
            "probability": lambda z: z.softmax(1),
            "log_probability": lambda z: z.log_softmax(1),
        }
        at_image, at_start = (
            scores[output](model(t)).detach().numpy()[np.arange(4), y.numpy()] for t in (x, torch.full_like(x, 0.3))
        )
        np.testing.assert_allclose(error.numpy(), maps.numpy().sum((1, 2, 3)) - (at_image - at_start), atol=1e-12)
        errors.append(error.abs().max().item())
    # One-sided sums err by the first power of the step, midpoint and trapezoid by the second.
    assert errors[1] < errors[0] * (0.2 if rule in ("left", "right") else 0.03) + 1e-12
    if rule not in ("left", "right"):
        assert errors[1] < 1e-3


def test_completeness_takes_the_predicted_class_and_leaves_no_trace() -> None:
    model, (x, _) = network(dropout=0.5).eval(), batch()
    attribution = IntegratedGradients(20)
    maps = attribution(model, x)
    found = attribution.completeness(model, x, None, maps)
    assert torch.equal(found, attribution.completeness(model, x, model(x).argmax(dim=1), maps))
    assert found.shape == (4,)
    assert not found.requires_grad
    with pytest.raises(ArgumentError, match="one shape"):
        attribution.completeness(model, x, None, maps[:2])


def test_of_a_linear_function_it_is_the_input_times_the_gradient() -> None:
    weights = batch(1, seed=5)[0]
    x, _ = batch()
    for rule in RULES:
        found = IntegratedGradients(5, rule)(lambda t: (t * weights).flatten(1).sum(dim=1, keepdim=True), x)
        torch.testing.assert_close(found, x * weights)


def test_one_step_on_the_right_is_the_input_times_the_gradient() -> None:
    model, (x, y) = network().eval(), batch()
    found = IntegratedGradients(1, "right", output="probability")(model, x, y)
    torch.testing.assert_close(found, InputXGradient(Gradient("probability"))(model, x, y))
    torch.testing.assert_close(InputXGradient()(model, x, y), x * Gradient()(model, x, y))


def test_an_image_at_the_baseline_has_no_attribution() -> None:
    model, (x, y) = network().eval(), batch()
    assert not IntegratedGradients(baseline=x.clone(), steps=3)(model, x, y).any()


def test_wrong_settings_are_refused() -> None:
    for wrong in (
        {"steps": 0},
        {"rule": "simpson"},
        {"batch_size": 0},
        {"output": "logits"},
        {"baseline": float("nan")},
    ):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            IntegratedGradients(**wrong)
    with pytest.raises(ArgumentError, match="steps=1"):
        IntegratedGradients(1, "trapezoid")
    with pytest.raises(ArgumentError, match=r"baseline has shape \[4\].*\[1, 3, 1, 1\]"):
        IntegratedGradients(baseline=torch.zeros(4))(network().eval(), *batch())
    with pytest.raises(ArgumentError, match=r"baseline has shape \[2, 3, 6, 6\]"):
        IntegratedGradients(baseline=torch.zeros(2, 3, 6, 6))(network().eval(), *batch(1))
