"""What convex duality says of every penalty; each law takes a penalty and tensors, and asserts.

A difference is measured against the size of the numbers that cancel in it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gradsculpt.penalties import Penalty
from tests.penalties.oracles import FAR, supremum

TOLERANCE = 1e-9

INSIDE = 1 - 1e-10
"""Draws a point that should be in a closed convex domain back from beyond its edge, where rounding may have put it."""


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(dim=1)


def close(a: Tensor, b: Tensor, scale: Tensor | float = 0.0, tolerance: float = TOLERANCE) -> None:
    """Assert that two finite tensors agree, relative to 1, their own size or `scale`, whichever is the largest."""
    assert a.shape == b.shape
    assert bool(a.isfinite().all())
    assert bool(b.isfinite().all())
    size = torch.maximum(torch.maximum(a.abs(), b.abs()), torch.as_tensor(scale, dtype=a.dtype)) + 1
    worst = float(((a - b).abs() / size).max()) if a.numel() else 0.0
    assert worst <= tolerance, f"differ by {worst:.3g}"


def fenchel_young(penalty: Penalty, g: Tensor, delta: Tensor) -> None:
    """h*(g) + h(delta) >= <g, delta>; h may be infinite."""
    value, conjugate = penalty.value(g), penalty.conjugate(delta)
    assert value.shape == conjugate.shape == g.shape[:1]
    assert bool(value.isfinite().all())
    scale = 1 + value.abs() + conjugate.abs().nan_to_num(posinf=0) + dot(g.abs(), delta.abs())
    assert bool((value + conjugate - dot(g, delta) >= -TOLERANCE * scale).all())


def equality(penalty: Penalty, g: Tensor, delta: Tensor) -> None:
    """Fenchel-Young holds with equality: delta is a subgradient of h* at g, and g one of h at delta."""
    value, conjugate = penalty.value(g), penalty.conjugate(delta)
    close(value + conjugate, dot(g, delta), scale=value.abs() + conjugate.abs() + dot(g.abs(), delta.abs()))


def equality_at_dual(penalty: Penalty, g: Tensor) -> None:
    equality(penalty, g, penalty.dual(g))


def prox_is_optimal(penalty: Penalty, v: Tensor, step: float | Tensor) -> None:
    """(v - p) / step is a subgradient of h* at p = prox(v); holds at kinks too."""
    p = penalty.prox(v, step)
    equality(penalty, p, (v - p) / step * INSIDE)


def conjugate_prox_is_optimal(penalty: Penalty, v: Tensor, step: float | Tensor) -> None:
    """(v - d) / step is a subgradient of h at d = conjugate_prox(v)."""
    d = penalty.conjugate_prox(v, step)
    equality(penalty, (v - d) / step, d * INSIDE)


def moreau_identity(penalty: Penalty, v: Tensor, step: float | Tensor) -> None:
    """v = prox of step * h at v, plus step * prox of h* / step at v / step."""
    close(penalty.conjugate_prox(v, step) + step * penalty.prox(v / step, 1 / step), v, scale=v.abs().max())


def convex(penalty: Penalty, a: Tensor, b: Tensor, share: float) -> None:
    """Neither h* nor h lies above its chords."""
    between = share * a + (1 - share) * b
    for function in (penalty.value, penalty.conjugate):
        ends = (function(a), function(b))
        weighted = [part * end for part, end in zip((share, 1 - share), ends, strict=True) if part > 0]
        chord = torch.stack(weighted).sum(dim=0)
        scale = 1 + ends[0].abs() + ends[1].abs()
        assert bool(((function(between) <= chord + TOLERANCE * scale) | chord.isinf()).all())


def dual_is_the_gradient(penalty: Penalty, g: Tensor) -> None:
    """Away from kinks, dual is what autograd makes of value."""
    leaf = g.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty.value(leaf).sum(), leaf)
    close(penalty.dual(g), gradient, scale=gradient.abs().max())


def differentiable_at_zero(penalty: Penalty, like: Tensor) -> None:
    """Where autograd differentiates value at a kink at 0, it gives the finite subgradient that dual gives."""
    dual_is_the_gradient(penalty, torch.zeros_like(like))


def ascent_is_the_steepest_step(penalty: Penalty, g: Tensor) -> None:
    """ascent(g) has unit size, in L2 or l-infinity, and gains most among such steps; 0 stays 0."""
    step = penalty.ascent(g)
    size, gained = step.flatten(1), dot(step, g)
    norms = ((size.norm(dim=1), g.flatten(1).norm(dim=1)), (size.abs().amax(dim=1), g.flatten(1).abs().sum(dim=1)))
    some = g.flatten(1).any(dim=1).double()
    for unit, steepest in norms:
        if bool((unit - some).abs().max() <= TOLERANCE):
            close(gained, steepest)
            break
    else:
        raise AssertionError("the step has unit size in neither norm")
    for factor in (1e-3, 1e3):
        close(penalty.ascent(factor * g), step)


def zero_stays_zero(penalty: Penalty, like: Tensor, step: float) -> None:
    """A gradient of zero costs nothing, and gets no perturbation."""
    zero = torch.zeros_like(like)
    for result in (
        penalty.value(zero),
        penalty.conjugate(zero),
        penalty.dual(zero),
        penalty.ascent(zero),
        penalty.prox(zero, step),
        penalty.conjugate_prox(zero, step),
    ):
        close(result, torch.zeros_like(result))


def shapes_and_dtypes_are_kept(penalty: Penalty, g: Tensor, step: float) -> None:
    for per_sample in (penalty.value(g), penalty.conjugate(g)):
        assert (per_sample.shape, per_sample.dtype, per_sample.device) == (g.shape[:1], g.dtype, g.device)
    for mapped in (penalty.dual(g), penalty.ascent(g), penalty.prox(g, step), penalty.conjugate_prox(g, step)):
        assert (mapped.shape, mapped.dtype, mapped.device) == (g.shape, g.dtype, g.device)
        assert not mapped.requires_grad


def input_is_never_changed(penalty: Penalty, g: Tensor, step: float) -> None:
    before, version = g.clone(), g._version
    for operation in _operations(penalty, step):
        result = operation(g)
        assert g._version == version
        assert torch.equal(g, before)
        if result.shape == g.shape:
            result.fill_(7)  # a result that shares memory with the input would change it now
            assert torch.equal(g, before)
        assert not g.requires_grad


def layout_does_not_matter(penalty: Penalty, g: Tensor, step: float) -> None:
    """A map that is not contiguous has the results of its contiguous copy."""
    wide = torch.stack([g, torch.full_like(g, torch.nan)], dim=-1)
    for other in (wide[..., 0], g.to(memory_format=torch.channels_last), g.mT.contiguous().mT):
        for operation in _operations(penalty, step):
            expected, found = operation(g), operation(other)
            assert torch.equal(expected.isinf(), found.isinf())
            close(found.nan_to_num(posinf=0), expected.nan_to_num(posinf=0))


def batch_mates_do_not_matter(penalty: Penalty, alone: list[Penalty], g: Tensor, step: float) -> None:
    """The result of a sample is that of a batch of one; `alone[i]` is the penalty of sample i."""
    whole = [operation(g) for operation in _operations(penalty, step)]
    for i, single in enumerate(alone):
        for expected, operation in zip(whole, _operations(single, step), strict=True):
            found = operation(g[i : i + 1])
            assert torch.equal(expected[i : i + 1].isinf(), found.isinf())
            close(found.nan_to_num(posinf=0), expected[i : i + 1].nan_to_num(posinf=0))


def finite(penalty: Penalty, g: Tensor, step: float) -> None:
    """Huge, tiny and zero entries give finite maps and values; h may be inf, but is always a number."""
    for operation in (penalty.value, penalty.dual, penalty.ascent, lambda t: penalty.prox(t, step)):
        assert bool(operation(g).isfinite().all())
    assert bool(penalty.conjugate_prox(g, step).isfinite().all())
    assert not bool(penalty.conjugate(g).isnan().any())


def not_a_number_is_not_hidden(penalty: Penalty, g: Tensor) -> None:
    """An entry that is not a number shows in every result: nothing takes it for a zero."""
    wrong = g.isnan()
    assert bool((~penalty.conjugate(g).isfinite() | ~wrong.flatten(1).any(dim=1)).all())
    assert bool((penalty.value(g).isnan() == wrong.flatten(1).any(dim=1)).all())
    for mapped in (penalty.dual(g), penalty.prox(g, 0.5), penalty.conjugate_prox(g, 0.5)):
        assert bool(mapped[wrong].isnan().all())


def conjugate_is_the_supremum(penalty: Penalty, delta: Tensor) -> None:
    """h(delta) = sup over g of <g, delta> - h*(g), by brute force; delta is one sample of one or two entries."""
    size = delta.numel()

    def gain(points: Tensor) -> Tensor:
        return points @ delta.flatten() - penalty.value(points.view(-1, *delta.shape[1:]))

    _agree(penalty.conjugate(delta).item(), supremum(gain, size))


def biconjugate_is_the_value(penalty: Penalty, g: Tensor, far: float = FAR) -> None:
    """h*(g) = sup over delta of <g, delta> - h(delta), by brute force; g is one sample of one or two entries."""
    size = g.numel()

    def gain(points: Tensor) -> Tensor:
        return points @ g.flatten() - penalty.conjugate(points.view(-1, *g.shape[1:]))

    _agree(penalty.value(g).item(), supremum(gain, size, far))


def _agree(found: float, expected: float) -> None:
    assert math.isclose(found, expected, rel_tol=1e-7, abs_tol=1e-7), f"{found} instead of {expected}"


def _operations(penalty: Penalty, step: float) -> tuple[Callable[[Tensor], Tensor], ...]:
    return (
        penalty.value,
        penalty.conjugate,
        penalty.dual,
        penalty.ascent,
        lambda t: penalty.prox(t, step),
        lambda t: penalty.conjugate_prox(t, step),
    )
