"""Every attribution, objective, attack and metric on odd networks: the right value, or one line; never another map."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.attacks import ATTACKS, Attack
from gradsculpt.attributions import Attribution, GradCAM, Gradient, SmoothGrad
from gradsculpt.errors import ArgumentError, GradsculptError, ModelError
from gradsculpt.evaluation import Protocol, ScoreGroup, evaluate
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import deletion, insertion
from gradsculpt.models import Classifier
from gradsculpt.objectives import Moment
from tests.attributions.test_family import MEMBERS
from tests.evaluation.cases import GROUPS
from tests.metrics.test_model_metric_laws import ON_MODELS, given, values
from tests.objectives.cases import BUILDERS, maps
from tests.odd import RETURNED, SAME, SEVERED, SIDE, UNREADABLE, Plain, Returning, chosen, plain

Run = Callable[[nn.Module, Tensor, Tensor], Tensor]


def images(count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return x, torch.arange(count) % 3


def attributed(attribution: Attribution) -> Run:
    return lambda model, x, y: attribution(model, x, y)


def trained(name: str) -> Run:
    """Return the loss of an objective and the gradients of all parameters in one vector."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        space = InputSpace((0.5,) * 3, (0.25,) * 3)
        objective = BUILDERS[name]().at(Moment(0.5, 4, space))
        generator = torch.Generator().manual_seed(0)
        state = objective.initial_state()
        losses = objective(model, x, y, maps(x), generator=generator, state=state)
        for parameter in model.parameters():
            parameter.grad = None
        losses.loss.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return torch.cat([losses.loss[None], *gradients]).detach()

    return run


def attacked(cls: type[Attack]) -> Run:
    few = {"steps": 2} if hasattr(cls(0.1), "steps") else {}  # type: ignore[call-arg]
    return lambda model, x, y: cls(0.1, **few)(model, Gradient(), x, y)  # type: ignore[call-arg]


def measured(each: Any) -> Run:
    return lambda model, x, y: torch.cat([v.flatten() for v in values(each, given(each, model, x, y)).values()])


def scored(group: ScoreGroup) -> Run:
    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        card = evaluate(model, [(x.sigmoid(), y)], Protocol((group,)))
        return torch.tensor([entry.mean for entry in card.entries.values()], dtype=torch.float64)

    return run


RUNS: dict[str, Run] = {
    **{type(member).__name__: attributed(member) for member in MEMBERS},
    **{f"objective {name}": trained(name) for name in BUILDERS},
    **{cls.__name__: attacked(cls) for cls in ATTACKS},
    **{f"metric {each.name}": measured(each) for each in ON_MODELS},
    **{f"group {group.name}": scored(group) for group in GROUPS if not group.needs_ground_truth},
    "metric insertion": lambda model, x, y: insertion(model, x, y, x.abs(), 3),
    "metric deletion": lambda model, x, y: deletion(model, x, y, x.abs(), 3),
}
runs = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())

NEEDS_NO_GRADIENT = {
    "RandomPerturbation",
    "group accuracy",
    "metric insertion",
    "metric deletion",
    "objective CrossEntropy",
}
NEEDS_NO_GRADIENT |= {"objective MaxEntropy", "objective ExplanationDistillation"}


SCORED = [run for name, run in RUNS.items() if name.startswith("group")]
UNREAD = [RUNS[f"objective {name}"] for name in ("CrossEntropy", "MaxEntropy", "ExplanationDistillation")]
"""The objectives that read no gradient of images."""


def outcome(run: Run, model: nn.Module, x: Tensor, y: Tensor) -> Tensor | str:
    """Return the result, or what is said instead of it, which has to be one line."""
    try:
        return run(model, x, y)
    except GradsculptError as error:
        said = str(error)
    assert "\n" not in said
    return said


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@runs
def test_logits_are_found_in_whatever_has_one_reading(run: Run) -> None:
    net, (x, y) = plain(), images()
    expected = run(Returning(net, lambda inner, t: inner(t)), x, y)
    for returned in RETURNED.values():
        same(run(Returning(net, returned), x, y), expected)
    if run is not RUNS["group sanity"]:  # which draws weights by the place of a module in the whole
        same(run(chosen(net), x, y), expected)


@runs
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_has_no_reading_is_told_in_one_line(run: Run, name: str) -> None:
    with pytest.raises(ModelError, match=r"the model returns .* Wrap it: gradsculpt\.models\.OutputOf") as caught:
        run(Returning(plain(), UNREADABLE[name]), *images())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in RUNS if name not in NEEDS_NO_GRADIENT])
def test_where_no_gradient_goes_the_cause_is_named(name: str) -> None:
    for function, cause in SEVERED.values():
        with pytest.raises(ModelError, match=cause) as caught:
            RUNS[name](Returning(plain(), function), *images())
        assert "\n" not in str(caught.value)


@runs
@pytest.mark.parametrize("name", SAME)
def test_odd_ways_give_the_right_value_or_an_error(run: Run, name: str) -> None:
    (odd, usual), (x, y) = SAME[name], images()
    if name.endswith("reentrant") and run in UNREAD:
        return  # PyTorch itself leaves these parameters without gradients where images have none, and warns
    found = outcome(run, Returning(plain(), odd), x, y)
    if not isinstance(found, str):
        same(found, run(Returning(plain(), usual), x, y))


@pytest.mark.parametrize("reentrant", ["checkpointed", "checkpointed, reentrant"])
def test_many_passes_of_a_checkpointed_stage_with_relu_are_those_without(reentrant: str) -> None:
    (odd, usual), (x, y) = SAME[reentrant], images()
    for attribution in (SmoothGrad(4, 0.2), Gradient()):
        found = outcome(attributed(attribution), Returning(plain(activation=nn.ReLU()), odd), x, y)
        if isinstance(found, str):
            assert "torch.utils.checkpoint" in found
            assert reentrant.endswith("reentrant")
        else:
            same(found, attribution(Returning(plain(activation=nn.ReLU()), usual), x, y))


COMPILED = ["Gradient", "SmoothGrad", "GradCAM", "DeepLift", "MoreauGrad", "TargetedManipulation", "group sanity"]
COMPILED += ["objective HessianNorm", "objective LocalGradientAlignment", "metric hessian_norm"]


def test_a_compiled_network_gives_what_it_was_compiled_from() -> None:
    # Where a mode looks into it, dynamo would have traced the mode, and failed; a compiler's graph has one derivative.
    net, (x, y) = plain(), images()
    compiled: Any = torch.compile(net, backend="eager")
    for name in COMPILED:
        same(RUNS[name](compiled, x, y), RUNS[name](net, x, y))
    assert compiled(x).equal(net(x))


def test_a_network_that_ignores_its_images_has_maps_of_zeros() -> None:
    x, y = images()
    constant = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 3)).double()
    nn.init.zeros_(constant[1].weight)  # type: ignore[arg-type]
    for model in (constant, lambda t: torch.ones(len(t), 3, dtype=t.dtype)):
        assert not Gradient()(model, x, y).any()
        assert not SmoothGrad(2)(model, x, y).any()


@runs
def test_a_network_that_overwrites_its_images_is_refused_or_kept_from_it(run: Run) -> None:
    x, y = images()
    given = x.clone()
    found = outcome(run, Returning(plain(), lambda inner, t: inner(t.sub_(0.5))), given, y)
    if isinstance(found, str):
        assert "overwrites the images" in found
    else:
        assert torch.equal(given, x)
        same(found, run(Returning(plain(), lambda inner, t: inner(t - 0.5)), x, y))


def test_a_quantised_network_is_named() -> None:
    x, y = images()
    net = plain().float()
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    for attribution in (Gradient(), SmoothGrad(2)):
        with pytest.raises(ModelError, match="quantised"):
            attribution(quantised, x.float(), y)


@runs
def test_images_of_another_precision_are_one_line(run: Run) -> None:
    x, y = images()
    with pytest.raises(ModelError, match="of another type") as caught:
        run(plain().float(), x, y)
    assert "\n" not in str(caught.value)


class Single(nn.Module):
    """A network with a single logit, or with two that say the same."""

    def __init__(self, net: Plain, shape: str) -> None:
        super().__init__()
        self.net, self.shape = net, shape

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        if self.shape == "two":
            return torch.cat([-z / 2, z / 2], dim=1)
        return z[:, 0] if self.shape == "[N]" else z


@runs
def test_a_single_logit_is_that_of_the_second_of_two_classes(run: Run, request: pytest.FixtureRequest) -> None:
    x, _ = images()
    y = torch.tensor([1, 0, 1, 0])
    net = plain(seed=3, classes=1)
    if "ExplanationDistillation" in request.node.name:
        return  # whose teacher has three outputs
    found = [run(Single(net, shape), x, y) for shape in ("[N]", "[N, 1]")]
    same(found[0], found[1])
    probability = ("CrossEntropy", "MaxEntropy", "Adversarial", "GradientPenalty", "insertion", "deletion")
    if any(name in request.node.name for name in probability):
        same(found[0], run(Single(net, "two"), x, y))


def test_outputs_of_a_single_logit() -> None:
    x, _ = images()
    net = plain(seed=3, classes=1)
    for y in (torch.ones(4).long(), torch.zeros(4).long()):
        point = x.clone().requires_grad_()
        z = net(point)[:, 0]
        probability = z.sigmoid() if y[0] else 1 - z.sigmoid()
        for output, value in (("logit", z), ("probability", probability), ("log_probability", probability.log())):
            (expected,) = torch.autograd.grad(value.sum(), point, retain_graph=True)
            same(Gradient(output)(net, x, y), expected)  # type: ignore[arg-type]
    model = Classifier(net, InputSpace((0.5,) * 3, (0.25,) * 3), ("cat", "dog"), SIDE)
    torch.testing.assert_close(model.probabilities(x)[:, 1], model(x)[:, 0].sigmoid().detach())
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        Gradient()(net, x, torch.full((4,), 2))


LABELS: dict[str, Callable[[Tensor], Any]] = {
    "list": lambda y: y.tolist(),
    "numpy": lambda y: y.numpy(),
    "int32": lambda y: y.int(),
    "uint8": lambda y: y.byte(),
    "numpy uint8": lambda y: y.numpy().astype(np.uint8),
    "bool": lambda y: y.bool(),
    "numpy bool": lambda y: y.bool().numpy(),
}


@runs
def test_labels_of_any_integer_type_are_taken(run: Run) -> None:
    net, (x, _) = plain(), images()
    y = torch.tensor([0, 1, 1, 0])
    expected = run(net, x, y)
    for change in LABELS.values():
        same(run(net, x, change(y)), expected)
    if run not in SCORED:
        same(run(net, x, 1), run(net, x, torch.ones(4).long()))  # type: ignore[arg-type]


WRONG: dict[str, tuple[Any, str]] = {
    "too large": (torch.tensor([0, 1, 2, 3]), "class indices run from 0 to 3 but the model has 3 outputs"),
    "negative": (torch.tensor([0, -1, 2, 1]), "class indices run from -1 to 2"),
    "too few": (torch.tensor([0, 1]), r"class indices have shape \[2\]"),
    "fractions": (torch.tensor([0.0, 1.0, 2.0, 0.0]), "class indices have shape .* dtype torch.float32"),
    "one-hot": (torch.eye(4, 3).long(), r"class indices have shape \[4, 3\]"),
    "names": (["cat", "dog", "cat", "dog"], "class indices .* are no numbers"),
}


@runs
@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels_are_one_error_everywhere(run: Run, name: str) -> None:
    y, message = WRONG[name]
    with pytest.raises(ArgumentError, match=message):
        run(plain(), images()[0], y)


@runs
def test_no_images_are_one_error_everywhere(run: Run) -> None:
    x, y = images()
    with pytest.raises(ArgumentError, match="is empty, so there is nothing to compute"):
        run(plain(), x[:0], y[:0])


def test_the_laws_bite() -> None:
    x, y = images()

    def careless(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        point = x.clone().requires_grad_()
        logits = model(point)
        logits = logits if isinstance(logits, Tensor) else logits[0]
        return torch.zeros_like(x) if not logits.requires_grad else F.cross_entropy(logits, y)[None]

    with pytest.raises(AttributeError):
        test_logits_are_found_in_whatever_has_one_reading(careless)
    with pytest.raises(AttributeError):
        test_what_has_no_reading_is_told_in_one_line(careless, "text")
    assert GradCAM in {type(member) for member in MEMBERS}
    assert careless(plain(), x, y).isfinite().all()
