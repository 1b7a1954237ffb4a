"""Layer-wise relevance propagation: what arrives at a unit is split among those it was computed from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.propagation import Call, Propagation, Rule, depends, tolerance
from gradsculpt.attributions.reach import ARRANGING, Reach
from gradsculpt.attributions.sampling import source
from gradsculpt.attributions.shares import averaged, box, positive, split, summands
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.gradients import Model, pullback

WEIGHTED = frozenset(f"{kind}{n}d" for kind in ("conv", "conv_transpose") for n in (1, 2, 3)) | {"linear"}
POOLING = frozenset(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)) | {"mean", "interpolate"}
SCALING = frozenset({"mul", "multiply", "div", "divide", "true_divide", "rsub", "neg"})
DROPOUT = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d"})
SUMS = frozenset({"add", "sub"})
MAXIMA = frozenset(f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))
PADDING = frozenset({"pad", "constant_pad_nd"})

Bounds = tuple[Tensor | float, Tensor | float]


@dataclass(frozen=True)
class LRP(Attribution):
    """Layer-wise relevance propagation by the z+ rule, and by the box rule zB at the first layer.

    The class logit starts with relevance 1 and every other logit with 0. Each convolution and linear layer splits the
    relevance of a unit in proportion to the positive contributions x_i w_ij to it (z+; where x_i is negative, so is the
    w_ij that counts); the first one in proportion to x_i w_ij - l_i w_ij^+ - h_i w_ij^- (zB). Biases get none.

    - Activations, dropout, and scaling or adding constants pass relevance on; max pooling gives it to the winner.
    - Batch normalisation is merged into the convolution that it follows, and passes relevance on elsewhere.
    - Average pooling and the sum of two activations are layers with weights 1 under z+.
    - Where nothing contributes positively, the magnitudes decide: of the weights in a layer, of the summands in a sum;
      and where these are 0 too, all parts are equal.
    - Padding by constants, like biases, gets nothing.

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
        # By output, for as long as it is in use; a layer must not know its own, which knows the layer.
        self._layers = WeakTensorKeyDictionary()
        self._reach = Reach()
        # What was computed from the images without any weights, with its range.
        self._ranges: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def begin(self, x: Tensor) -> None:
        self._origin = x
        flat = x.contiguous().flatten(2)[..., None]  # fast to reduce in this layout
        low, high = self._bounds or (flat.amin(2, keepdim=True), flat.amax(2, keepdim=True))
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
            result = self._weighted(call)
            self._reach.weighted(call, result)
            return result
        result = self._unweighted(call, active)
        if isinstance(result, Tensor) and sum(active) == 1:
            self._follow(call, active.index(True), result)
        return result

    def _weighted(self, call: Call) -> Tensor:
        known, layer, reach = self._ranges.get(id(call.tensors[0])), _Layer(), self._reach.of(call.tensors[0])
        call = _by_channels(call)

        def rule(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor, ...]:
            x, weight = (_wide(t) for t in inputs[:2])
            if layer.signs is not None:
                weight = weight * layer.signs.to(weight)
            if known is None:
                return split(_wide(g), positive(call.unbiased, x, weight, reach))
            return split(_wide(g), box(call.unbiased, x, weight, known[1].to(x), known[2].to(x), reach))

        output = self.ruled(call, rule)
        if not call.name.startswith("conv_transpose"):
            self._layers[output] = layer
        return output

    def _unweighted(self, call: Call, active: list[bool]) -> Any:
        place = active.index(True)
        if call.name == "batch_norm":
            return self._passed(call, 0, self._batch_norm(call))
        if call.name in SUMS and len(active) == 2 and all(active):
            a, b = call.tensors
            result = self.ruled(call, _sum(call, (self._reach.of(a), self._reach.of(b))))
            self._reach.added(a, b, result)
            return result
        if len(active) == 1 and call.name in POOLING | MAXIMA:
            return self._pooled(call)
        if len(active) == 1 and call.name in PADDING:
            result = super().called(call)
            self._reach.padded(call, result)
            return result
        constant = call.name in SUMS | SCALING | DROPOUT and sum(active) == 1
        if constant and call.name in ("div", "divide", "true_divide") and not active[0]:
            return super().called(call)
        if call.is_activation or constant:
            shape, before = call.tensors[place].shape, [None] * place
            result = self.ruled(call, lambda _, g: (*before, g.sum_to_size(shape)), with_inputs=False)
            return self._passed(call, place, result)
        result = super().called(call)
        return self._passed(call, place, result) if call.name in ARRANGING else result

    def _passed(self, call: Call, place: int, result: Any) -> Any:
        self._reach.passed(call, place, result)
        return result

    def _pooled(self, call: Call) -> Any:
        reach = self._reach.of(call.tensors[0])
        if call.name in POOLING:
            rule = _average(call, reach)
        elif reach is not None and not call.kwargs.get("return_indices", False):
            rule = _max_pool(call, reach)
        else:
            return super().called(call)
        result = self.ruled(call, rule)
        self._reach.pooled(call, result)
        return result

    def _batch_norm(self, call: Call) -> Any:
        if call.argument(5, "training", False):
            raise ModelError(
                "the network has batch normalisation in training mode, where images of a batch depend on one another, "
                "so relevance cannot be given to each; call model.eval() first."
            )
        place = 3 if call.function is F.batch_norm else 1
        before, weight = call.tensors[0], call.argument(place, "weight")
        layer: _Layer | None = self._layers.get(before)  # type: ignore[no-untyped-call]
        if layer is not None and weight is not None and bool((weight < 0).any()):
            layer.signs = torch.where(weight.detach() < 0, -1.0, 1.0).view(-1, *[1] * (before.ndim - 1))
        return self.ruled(call, lambda _, g: (g,), with_inputs=False)

    def _follow(self, call: Call, place: int, result: Tensor) -> None:
        """Keep the range of what is computed from the images on the way to the first weights."""
        known = self._ranges.get(id(call.tensors[place]))
        if known is None:
            return
        before, after = call.tensors[:place], call.tensors[place + 1 :]
        ends = [call.of(*before, bound, *after) for bound in known[1:]]
        self._ranges[id(result)] = (result, torch.minimum(*ends), torch.maximum(*ends))


def _by_channels(call: Call) -> Call:
    """Return a layer's call with maps whose weights are much larger in the layout that weights have.

    Weights of the other layout would be copied for each convolution, which takes longer than it saves.
    """
    x, weight, *_ = call.tensors
    if x.ndim != 4 or weight.numel() < 8 * x.numel():
        return call
    other = x.contiguous()
    args = tuple(other if value is x else value for value in call.args)
    return replace(call, args=args, kwargs={key: other if v is x else v for key, v in call.kwargs.items()})


def _average(call: Call, reach: Tensor | None) -> Rule:
    return lambda inputs, g: split(_wide(g), averaged(call.of, _wide(inputs[0]), reach))


def _max_pool(call: Call, reach: Tensor) -> Rule:
    """Return the rule that gives relevance to the largest of the entries that depend on the images."""

    def rule(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor]:
        _, pull = pullback(call.of, inputs[0].masked_fill(~reach, -torch.inf))
        return (pull(g),)

    return rule


def _sum(call: Call, reaches: tuple[Tensor | None, Tensor | None]) -> Rule:
    factor = call.argument(2, "alpha", 1) * (-1 if call.name == "sub" else 1)

    def rule(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor, ...]:
        a, b = _wide(inputs[0]), _wide(inputs[1])
        parts = split(_wide(g), summands(a, b if factor == 1 else factor * b, reaches))
        return tuple(part.sum_to_size(t.shape) for part, t in zip(parts, inputs, strict=True))

    return rule


def _wide(t: Tensor) -> Tensor:
    """Return a tensor of at least single precision: relevance is made of many small parts."""
    return t.to(torch.promote_types(t.dtype, torch.float32))
