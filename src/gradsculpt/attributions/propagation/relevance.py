"""How each kind of function passes relevance on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gradsculpt.attributions.propagation.engine import Propagation
from gradsculpt.attributions.propagation.entries import Bounds, PaddingMask, Ranges
from gradsculpt.attributions.propagation.rectifiers import LARGER
from gradsculpt.attributions.propagation.rules import AVERAGE, SUM, Z_PLUS, Layer, z_box
from gradsculpt.dispatch import Call, Kind
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Model, pullback


@dataclass
class Relevance:
    """A pass in which everything that a classifier is commonly built of propagates relevance.

    Attributes:
        propagation: The engine.
        bounds: The lowest and highest value of an image, as of `LRP`.
        mask: Which entries are padding.
        signs: Of the channels of a layer, by its output, for as long as that is in use (a rule must not know its own,
            which knows the rule): none, or those that the batch normalisation which follows gives it.
    """

    propagation: Propagation
    bounds: Bounds | None
    mask: PaddingMask = field(default_factory=PaddingMask)
    signs: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)

    def maps(self, model: Model, x: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the relevance of every entry, [N, C, H, W], and the logits of the classes, [N]."""
        # Other functions propagate by the derivative, which is that of a function that only arranges entries.
        handlers = {key: partial(self._answer, handler) for key, handler in _HANDLERS.items()}
        return self.propagation.maps(model, x, target, handlers, partial(self._answer, None))[:2]

    @cached_property
    def ranges(self) -> Ranges:
        """What entries may be, before the first weights."""
        return Ranges(self.propagation.origin, self.bounds)

    def _answer(self, handler: "_Handler | None", call: Call) -> Any:
        """Answer a call if the images have a part in it."""
        places = [i for i, t in enumerate(call.tensors) if t.requires_grad and self.propagation.depends(t)]
        if len(places) == 1:
            result = handler(self, call, places[0]) if handler else call()
            if isinstance(result, Tensor):
                self.mask.follow(call, call.tensors[places[0]], result)
                self.ranges.follow(call, places[0], result)
            return result
        return _added(self, call) if len(places) == 2 and call.operator.kind is Kind.SUM else call()


def _passed(relevance: Relevance, call: Call, place: int) -> Any:
    """Pass relevance on unchanged."""
    kind = call.operator.kind
    if kind is Kind.CLAMP and not _is_relu(relevance, call):
        return relevance.propagation.plain(call)  # which the sum of the relevance has to bear out
    # A constant that is divided by a map is not linear in it.
    if kind is Kind.SCALING and place and "div" in call.name:
        return call()
    shape, before = call.tensors[place].shape, [None] * place
    return relevance.propagation.ruled(call, lambda _, g: (*before, g.sum_to_size(shape)), with_inputs=False)


def _larger(relevance: Relevance, call: Call, place: int) -> Any:
    """Pass relevance on through the larger of a map and 0."""
    return _passed(relevance, call, place) if _is_relu(relevance, call) else call()


def _is_relu(relevance: Relevance, call: Call) -> bool:
    found = relevance.propagation.rectifier(call)
    return found is not None and found.at_zero


def _weighted(relevance: Relevance, call: Call, place: int) -> Any:
    """Share by the box rule at the first layer, and by z+ in the others; the bias gets nothing."""
    x, weight = call["input"], call["weight"]
    if call.tensors[place] is not x:
        return call()
    ends, mask = relevance.ranges.of(x), relevance.mask.of(x)
    rule = Z_PLUS if ends is None else z_box(*ends)
    signs: list[Tensor] = []
    # Weights that are much larger than the map would be copied to its layout for each convolution, which takes longer
    # than it saves.
    call = call.given(input=x.contiguous() if x.ndim == 4 and weight.numel() >= 8 * x.numel() else x)

    def linear(weight: Tensor, x: Tensor) -> Any:
        return call.given(input=x, weight=weight, bias=None)()

    def shared(inputs: Sequence[Tensor], g: Tensor) -> Sequence[Tensor]:
        x, weight = (_wide(t) for t in inputs[:2])
        for sign in signs:
            weight = weight * sign.to(weight)
        return rule(_wide(g), Layer(linear, x, weight, mask))

    units = relevance.propagation.ruled(call, shared)
    if not call.name.startswith("conv_transpose"):
        relevance.signs[units] = signs
    return units


def _normalised(relevance: Relevance, call: Call, place: int) -> Any:
    """Pass relevance on, and tell the layer before which of its channels change their sign."""
    if call["training"]:
        raise ModelError(
            "the network has batch normalisation in training mode, where images of a batch depend on one another, "
            "so relevance cannot be given to each; call model.eval() first."
        )
    before, weight = call["input"], call["weight"]
    if before in relevance.signs and weight is not None and bool((weight < 0).any()):
        relevance.signs[before][:] = [torch.where(weight.detach() < 0, -1.0, 1.0).view(-1, *[1] * (before.ndim - 1))]
    return _passed(relevance, call, place)


def _averaged(relevance: Relevance, call: Call, place: int) -> Any:
    """Share as a layer with weights 1 does."""
    mask = relevance.mask.of(call.tensors[place])
    average = call.of_tensors
    return relevance.propagation.ruled(call, lambda inputs, g: AVERAGE(_wide(g), average, _wide(inputs[0]), mask))


def _maximum(relevance: Relevance, call: Call, place: int) -> Any:
    """Give relevance to the largest of the entries that depend on the images."""
    mask = relevance.mask.of(call.tensors[place])
    if mask is None or call["return_indices"]:
        return call()

    def rule(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor]:
        _, pull = pullback(call.of_tensors, inputs[0].masked_fill(~mask, -torch.inf))
        return (pull(g),)

    return relevance.propagation.ruled(call, rule)


def _added(relevance: Relevance, call: Call) -> Any:
    """Share between two summands that both depend on the images."""
    a, b = call.tensors
    masks = relevance.mask.of(a), relevance.mask.of(b)
    factor = call["alpha"] * (-1 if call.name == "sub" else 1)

    def rule(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor, ...]:
        a, b = _wide(inputs[0]), _wide(inputs[1])
        shares = SUM(_wide(g), (a, b if factor == 1 else factor * b), masks)
        return tuple(share.sum_to_size(t.shape) for share, t in zip(shares, inputs, strict=True))

    result = relevance.propagation.ruled(call, rule)
    relevance.mask.added(a, b, result)
    return result


def _wide(t: Tensor) -> Tensor:
    """Return a tensor of at least single precision: relevance is made of many small parts."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


_Handler = Callable[[Relevance, Call, int], Any]
"""Answers a call of which the images have a part in one of the tensors, whose place is told."""

_HANDLERS: Mapping[str | Kind, _Handler] = {
    Kind.WEIGHTED: _weighted,
    Kind.NORMALISATION: _normalised,
    Kind.AVERAGE: _averaged,
    Kind.MAXIMUM: _maximum,
    **dict.fromkeys((Kind.RECTIFIER, Kind.CLAMP, Kind.SATURATING, Kind.DROPOUT, Kind.SUM, Kind.SCALING), _passed),
    **dict.fromkeys(LARGER, _larger),
}
