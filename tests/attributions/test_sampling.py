"""Many passes through one network: fused where they are plain, and no larger than asked."""

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.networks import batch, network, same_state, state
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.models import VisionTransformer, mobilenet_v2, resnet18

from gradsculpt.attributions import (
    Attribution,
    Gradient,
    InputXGradient,
    IntegratedGradients,
    MoreauGrad,
    RelEx,
    Smoothed,
    Sparsified,
    memory,
    sampling,
)
from gradsculpt.attributions.memory import activation_bytes, images_per_pass
from gradsculpt.attributions.sampling import passes
from gradsculpt.gradients import Model
from gradsculpt.kernels import fused
from gradsculpt.penalties import L1

FAST = [
    Smoothed(samples=6, batch_size=4),
    Smoothed(Sparsified(), 6, batch_size=4),
    IntegratedGradients(6, batch_size=4),
]


class Other(Attribution):
    """An attribution that may look at maps inside the network."""

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return torch.zeros_like(x)


class Largest(TorchDispatchMode):
    """Notes how many images the largest call of an operation had."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.images, self.normalisations = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if "convolution" in str(func):
            self.images = max(self.images, args[0].shape[0])
        self.normalisations += "batch_norm" in str(func)
        return func(*args, **(kwargs or {}))


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are made, and alive, inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.alive:
                    self.alive[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.alive.pop, storage._cdata, None)
        self.most = max(self.most, sum(self.alive.values()))
        return result


@pytest.mark.parametrize("attribution", FAST, ids=lambda member: type(member).__name__)
def test_fusing_changes_no_map_and_no_state(attribution: Attribution, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, y) = network().eval(), batch(2)
    before = state(model)
    with Largest() as fused:
        found = attribution(model, x, y)
    assert same_state(state(model), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    monkeypatch.setattr(sampling, "fused", lambda model, x: nullcontext(model))
    with Largest() as plain:
        torch.testing.assert_close(found, attribution(model, x, y), rtol=1e-10, atol=1e-12)
    assert fused.images == plain.images == 4
    assert 0 < fused.normalisations < plain.normalisations


def test_passes_are_fused_only_where_they_are_plain_and_several() -> None:
    model, (x, _) = network().eval(), batch(2)

    def is_fused(base: Attribution, *, create_graph: bool = False, copies: int | None = None) -> bool:
        with passes(base, model, x, create_graph, copies=copies) as faster:
            return faster.model is not model

    for base in (Gradient(), InputXGradient(), Sparsified(InputXGradient(Gradient("probability")))):
        assert is_fused(base)
        assert not is_fused(base, copies=16)
        assert not is_fused(base, create_graph=True)
    for other in (Other(), Sparsified(Other())):
        assert not is_fused(other)


@pytest.mark.parametrize("made", [Smoothed, IntegratedGradients])
def test_memory_is_bounded_by_the_passes_and_not_by_the_copies(made: type) -> None:
    model, (x, y) = network().eval().float(), batch(1)
    peaks = []
    for count in (16, 64):
        with Peak() as peak:
            made(**{"samples" if made is Smoothed else "steps": count}, batch_size=8)(model, x.float(), y)
        peaks.append(peak.most)
    assert peaks[1] < 1.05 * peaks[0]


def test_a_network_in_training_mode_is_left_to_its_batch_statistics() -> None:
    model, (x, y) = network(), batch(2)
    with Largest() as calls:
        Smoothed(samples=6, batch_size=4)(model, x, y)
    assert calls.normalisations == 6  # three passes, there and back


MANY: list[Attribution] = [
    Smoothed(samples=12),
    Smoothed(InputXGradient(), 12, kind="variance"),
    Smoothed(Sparsified(), 12),
    IntegratedGradients(12),
    MoreauGrad(samples=12, steps=2),
    MoreauGrad(L1(1e-3), samples=12, steps=2, output="probability"),
    RelEx(samples=12, steps=2),
]
many = pytest.mark.parametrize("attribution", MANY, ids=repr)


@many
@pytest.mark.parametrize("images", [1, 5])
def test_the_memory_of_a_pass_is_bounded_and_no_map_depends_on_it(
    attribution: Attribution, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (x, y) = network().eval(), batch(images)
    with Largest() as calls:
        expected = attribution(model, x, y)
    assert calls.images > 3
    with fused(model, x) as faster:
        each = max(activation_bytes(passed, x[:1]) for passed in (model, faster))
    for room in (1, 3):
        monkeypatch.setattr(memory, "BUDGET", room * each)
        with Largest() as calls:
            torch.testing.assert_close(attribution(model, x, y), expected, rtol=1e-9, atol=1e-12)
        assert calls.images <= 2 * room  # an image of the copy needs less


@many
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_is_never_split_where_its_images_may_depend_on_each_other(
    attribution: Attribution, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "BUDGET", 1)
    model, (x, y) = network(), batch(5)
    with Largest() as calls:
        attribution(model if training else model.eval().__call__, x, y)
    assert calls.images == 5


@many
def test_a_number_of_images_is_taken_as_it_is(attribution: Attribution, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "activation_bytes", lambda *given: pytest.fail("looked at the memory"))
    model, (x, y) = network().eval(), batch(5)
    for size, largest in ((4, 5), (12, 10)):
        with Largest() as calls:
            replace(attribution, batch_size=size)(model, x, y)  # type: ignore[type-var]
        assert calls.images == largest


def test_what_is_kept_for_the_backward_pass_is_counted() -> None:
    """Each activation once, no weight, no statistic, whoever holds it; by hand for a small network."""
    model, (x, _) = network().eval().float(), batch(2)
    x = x.float()
    convolved = 4 * 16 * 4
    # What the convolution, the normalisation and the activation made; dropout and flattening make nothing.
    for images in (1, 2):
        assert activation_bytes(model, x[:images]) == images * 3 * convolved
    assert activation_bytes(lambda t: model(t), x) == 2 * 3 * convolved
    with fused(model, x) as faster:
        assert activation_bytes(faster, x) < 2 * 3 * convolved
    # Without a gradient of its scale, the normalisation keeps nothing either.
    assert activation_bytes(model.requires_grad_(requires_grad=False), x) == 2 * 2 * convolved
    before = state(model)
    activation_bytes(model.train(), x)
    assert same_state(state(model), before)


@pytest.mark.parametrize(
    "make",
    [
        resnet18,
        mobilenet_v2,
        partial(VisionTransformer, image_size=64, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64),
    ],
    ids=["resnet18", "mobilenet_v2", "vit"],
)
def test_what_is_counted_is_what_a_backward_pass_holds(make: Callable[[], nn.Module]) -> None:
    model, x = make().eval(), torch.rand(1, 3, 64, 64)
    with Peak() as peak:
        logits = model(x.requires_grad_())
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}  # of which there are views
    held = sum(size for place, size in peak.alive.items() if place not in weights)
    assert activation_bytes(model, x) == pytest.approx(held, rel=0.1)
    assert logits.requires_grad


def test_a_network_that_takes_no_single_image_gets_as_many_as_ever() -> None:
    def picky(t: Tensor) -> Tensor:
        if len(t) == 1:
            raise ValueError("no")
        return t.flatten(1)[:, :3].square()

    x, y = batch(3)
    assert images_per_pass(picky, x) == 32
    assert Smoothed(samples=4)(picky, x, y).shape == x.shape
