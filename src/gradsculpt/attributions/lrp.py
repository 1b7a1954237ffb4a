"""Layer-wise relevance propagation: what arrives at a unit is split among those it was computed from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.copies import source
from gradsculpt.attributions.propagation import Call, Propagation, depends, tolerance
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.gradients import Model, pullback

WEIGHTED = frozenset(f"{kind}{n}d" for kind in ("conv", "conv_transpose") for n in (1, 2, 3)) | {"linear"}
POOLING = frozenset(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)) | {"mean", "interpolate"}
SCALING = frozenset({"mul", "multiply", "div", "divide", "true_divide", "rsub", "neg"})
DROPOUT = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d"})
SUMS = frozenset({"add", "sub"})

_FLOOR, _CEILING = 1e-18, 1e6

Bounds = tuple[Tensor | float, Tensor | float]
Parts = tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]
"""What units add up from contributions that are not negative, and how shares of these units go back to the inputs."""


@dataclass(frozen=True)
class LRP(Attribution):
    """Layer-wise relevance propagation by the z+ rule, and by the box rule zB at the first layer.

    The class logit starts with relevance 1 and every other logit with 0. Each convolution and linear layer splits the
    relevance of a unit in proportion to the positive contributions x_i w_ij to it (z+; where x_i is negative, so is the
    w_ij that counts); the first one in proportion to x_i w_ij - l_i w_ij^+ - h_i w_ij^- (zB). Biases get none.

    - Activations, dropout, and scaling or adding constants pass relevance on; max pooling gives it to the winner.
    - Batch normalisation is merged into the convolution that it follows, and passes relevance on elsewhere.
    - Average pooling and the sum of two activations are layers with weights 1 under z+.
    - Where nothing contributes positively, the magnitudes decide: of the weights in a layer, of the summands in a sum.

    So the entries of a map add up to 1, for residual networks too. They are not negative.

    Args:
        bounds: The lowest and highest value of an image in the units that the model takes, as `InputSpace.bounds`: two
            numbers, or two tensors that broadcast to [N, C, H, W]; an entry outside extends them. None takes the
            extremes of each channel of each image.

    Raises:
        ModelError: If the relevance does not add up to 1, as where activations are multiplied by one another
            (attention, squeeze-and-excitation) or layer normalisation is used, or if batch normalisation is in
            training mode.
        ArgumentError: If x is no floating-point batch, a target is out of range or the bounds do not fit.

    Source: Bach et al. 2015; Montavon et al. 2017 (z+ and zB); Joo et al., AAAI 2023 (local gradient alignment), for
        the rules, and the start with 1.
    Deviation: In the released code of local gradient alignment batch normalisation is the identity, and residual
        networks do without the box rule and, for ImageNet, lose the relevance of the shortcuts.

    Example:
        >>> x = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
        >>> layer = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
        >>> LRP(bounds=(0.0, 4.0))(lambda t: torch.nn.functional.linear(t.flatten(1), layer), x).round(decimals=3)
        tensor([[[[0.1670, 0.3330]],
        <BLANKLINE>
                 [[0.5000, 0.0000]]]])
    """

    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        if self.bounds is None:
            return
        if len(self.bounds) != 2:
            raise ArgumentError(f"bounds has {len(self.bounds)} entries; pass the lowest and the highest value.")
        low, high = (torch.as_tensor(bound) for bound in self.bounds)
        if not bool((torch.isfinite(low) & torch.isfinite(high) & (low < high)).all()):
            raise ArgumentError("bounds are not finite with low < high everywhere; pass (low, high).")

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the relevance of every entry, shape [N, C, H, W]; not negative, and 1 in all for each image."""
        checks.images("x", x)
        # Convolutions of maps with few negative entries are memory-bound: this layout is the faster one on CPUs.
        inputs = x if create_graph else source(x, create_graph).contiguous(memory_format=torch.channels_last)
        rules = _Relevance(self.bounds)
        maps, values, _ = rules.maps(model, inputs, target, create_graph=create_graph)
        found = maps.detach().flatten(1).sum(dim=1)
        if bool(((found - 1).abs() > tolerance(values, x)).any()):
            worst = found[(found - 1).abs().nan_to_num().argmax()].item()
            raise ModelError(
                f"relevance is not conserved: a map adds up to {worst:.4g} instead of 1, so it does not show where the "
                "logit comes from. The network does something for which LRP has no rule here, such as attention, "
                "layer normalisation, or squeeze-and-excitation, which multiplies activations; take Gradient or "
                "IntegratedGradients."
            )
        return maps.contiguous() if x.is_contiguous() else maps


@dataclass
class _Layer:
    """A layer with weights, whose channels may get signs from the batch normalisation that follows."""

    signs: Tensor | None = None


class _Relevance(Propagation):
    """Everything that a classifier is commonly built of propagates relevance."""

    def __init__(self, bounds: Bounds | None) -> None:
        super().__init__()
        self._bounds = bounds
        # By output; a layer must not know its own, which knows the layer.
        self._layers: dict[int, tuple[Tensor, _Layer]] = {}
        # What was computed from the images without any weights, with its range.
        self._ranges: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def begin(self, x: Tensor) -> None:
        self._origin = x
        low, high = self._bounds or (x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True))
        try:
            low, high = (torch.as_tensor(bound, dtype=x.dtype, device=x.device).expand_as(x) for bound in (low, high))
        except RuntimeError as error:
            raise ArgumentError(
                f"the bounds do not broadcast to the images {list(x.shape)}; pass numbers, or tensors such as "
                f"[1, {x.shape[1]}, 1, 1] with one value a channel."
            ) from error
        if self._bounds:
            low, high = torch.minimum(low, x), torch.maximum(high, x)
        self._ranges = {id(x): (x, low, high)}

    def called(self, call: Call) -> Any:
        active = [tensor.requires_grad and depends(tensor, self._origin) for tensor in call.tensors]
        if not any(active):
            return super().called(call)
        if call.name in WEIGHTED and active[0] and not any(active[1:]):
            return self._weighted(call)
        result = self._unweighted(call, active)
        if isinstance(result, Tensor) and sum(active) == 1:
            self._follow(call, active.index(True), result)
        return result

    def _weighted(self, call: Call) -> Tensor:
        known, layer = self._ranges.get(id(call.tensors[0])), _Layer()

        def linear(x: Tensor, weight: Tensor) -> Tensor:
            args = (x, weight, None, *call.args[3:])[: max(2, len(call.args))]
            named = {key: value for key, value in call.kwargs.items() if key not in ("input", "weight", "bias")}
            return call.function(*args, **named)  # type: ignore[no-any-return]

        def rule(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor, ...]:
            x, weight = (_wide(t) for t in inputs[:2])
            if layer.signs is not None:
                weight = weight * layer.signs.to(weight)
            if known is None:
                return _split(_wide(g), _layer(linear, x, weight))
            return _split(_wide(g), _box(linear, x, weight, known[1].to(x), known[2].to(x)))

        output = self.ruled(call, rule)
        if not call.name.startswith("conv_transpose"):
            self._layers[id(output)] = (output, layer)
        return output

    def _unweighted(self, call: Call, active: list[bool]) -> Any:
        if call.name == "batch_norm":
            return self._batch_norm(call)
        if call.name in SUMS and len(active) == 2 and all(active):
            return self.ruled(call, _sum_rule(call))
        if call.name in POOLING and active == [True]:
            return self.ruled(call, lambda inputs, g: _split(_wide(g), _pool(call.of, _wide(inputs[0]))))
        constant = call.name in SUMS | SCALING | DROPOUT and sum(active) == 1
        if constant and call.name in ("div", "divide", "true_divide") and not active[0]:
            return super().called(call)
        if call.is_activation or constant:
            place = active.index(True)
            return self.ruled(call, lambda inputs, g: (*[None] * place, g.sum_to_size(inputs[place].shape)))
        return super().called(call)

    def _batch_norm(self, call: Call) -> Any:
        if call.argument(5, "training", False):
            raise ModelError(
                "the network has batch normalisation in training mode, where images of a batch depend on one another, "
                "so relevance cannot be given to each; call model.eval() first."
            )
        place = 3 if call.function is F.batch_norm else 1
        before, weight = self._layers.get(id(call.tensors[0])), call.argument(place, "weight")
        if before is not None and weight is not None and bool((weight < 0).any()):
            output, layer = before
            layer.signs = torch.where(weight.detach() < 0, -1.0, 1.0).view(-1, *[1] * (output.ndim - 1))
        return self.ruled(call, lambda inputs, g: (g,))

    def _follow(self, call: Call, place: int, result: Tensor) -> None:
        """Keep the range of what is computed from the images on the way to the first weights."""
        known = self._ranges.get(id(call.tensors[place]))
        if known is None:
            return
        ends = []
        for bound in known[1:]:
            tensors = call.tensors
            tensors[place] = bound
            ends.append(call.of(*tensors))
        self._ranges[id(result)] = (result, torch.minimum(*ends), torch.maximum(*ends))


def _split(g: Tensor, ways: Iterable[Parts]) -> tuple[Tensor, ...]:
    """Split relevance in proportion to contributions, and in the next way where there are none."""
    found: tuple[Tensor, ...] = ()
    for total, back in ways:
        # The quotient tells by its size whether relevance meets units without contributions, in one pass less.
        share = g / total.clamp(min=_FLOOR)
        complete = bool(share.detach().amax() < _CEILING)
        if not complete:
            known = total > torch.finfo(total.dtype).tiny
            share = torch.where(known, g / torch.where(known, total, 1.0), 0.0)
            g = torch.where(known, 0.0, g)
        parts = back(share)
        found = tuple(a + b for a, b in zip(found, parts, strict=True)) if found else parts
        if complete or not bool(g.any()):
            break
    return found


def _layer(linear: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Iterable[Parts]:
    """Yield the z+ rule, and that of the magnitudes of the weights."""
    if bool(x.detach().amin() >= 0):
        yield _contributions(linear, [(x, weight.clamp(min=0))])
    else:
        yield _contributions(linear, [(x.clamp(min=0), weight.clamp(min=0)), (x.clamp(max=0), weight.clamp(max=0))])
    yield _contributions(linear, [(torch.ones_like(x), weight.abs())])


def _box(
    linear: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, low: Tensor, high: Tensor
) -> Iterable[Parts]:
    """Yield the zB rule, as two sums of which no term is negative, and that of the magnitudes of the weights."""
    yield _contributions(linear, [(x - low, weight.clamp(min=0)), (x - high, weight.clamp(max=0))])
    yield _contributions(linear, [(torch.ones_like(x), weight.abs())])


def _contributions(linear: Callable[[Tensor, Tensor], Tensor], pairs: list[tuple[Tensor, Tensor]]) -> Parts:
    """Return the sum of a layer's products of inputs and weights, and how shares of it go back to the inputs."""
    totals, pulls = zip(*(pullback(partial(_swapped, linear, w), a) for a, w in pairs), strict=True)

    def back(share: Tensor) -> tuple[Tensor, ...]:
        products = [a * pull(share) for (a, _), pull in zip(pairs, pulls, strict=True)]
        return (products[0] if len(products) == 1 else products[0] + products[1],)

    return totals[0] if len(totals) == 1 else totals[0] + totals[1], back


def _swapped(linear: Callable[[Tensor, Tensor], Tensor], weight: Tensor, x: Tensor) -> Tensor:
    return linear(x, weight)


def _pool(function: Callable[..., Tensor], x: Tensor) -> Iterable[Parts]:
    """Yield the ways to split relevance among the entries that are averaged."""
    for entries in _CONTRIBUTIONS:
        yield _averaged(function, entries(x))


def _averaged(function: Callable[..., Tensor], a: Tensor) -> Parts:
    total, pull = pullback(function, a)
    return total, lambda share: (a * pull(share),)


def _sum_rule(call: Call) -> Callable[[Sequence[Tensor], Tensor], tuple[Tensor, ...]]:
    factor = call.argument(2, "alpha", 1) * (-1 if call.name == "sub" else 1)

    def rule(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor, ...]:
        a, b = _wide(inputs[0]), _wide(inputs[1])
        parts = _split(_wide(g), _summands(a, b if factor == 1 else factor * b))
        return tuple(part.sum_to_size(t.shape) for part, t in zip(parts, inputs, strict=True))

    return rule


def _summands(a: Tensor, b: Tensor) -> Iterable[Parts]:
    """Yield the ways to split relevance between two summands."""
    for entries in _CONTRIBUTIONS:
        yield _added(entries(a), entries(b))


def _added(a: Tensor, b: Tensor) -> Parts:
    return a + b, lambda share: (a * share, b * share)


def _wide(t: Tensor) -> Tensor:
    """Return a tensor of at least single precision: relevance is made of many small parts."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


_CONTRIBUTIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.relu, torch.abs, torch.ones_like)
"""What entries of weight 1 contribute: the positive ones, or if none is, all by size, or if all are 0, all alike."""
