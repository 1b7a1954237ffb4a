"""Many passes through one network: fused where they are plain, and no larger than asked."""

import weakref
from contextlib import nullcontext

import pytest
import torch
from tests.networks import batch, network, same_state, state
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradsculpt.attributions import (
    Attribution,
    Gradient,
    InputXGradient,
    IntegratedGradients,
    Smoothed,
    Sparsified,
    sampling,
)
from gradsculpt.attributions.sampling import passes
from gradsculpt.gradients import Model

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
