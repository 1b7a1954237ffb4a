"""What the entries of maps owe to the images: whether anything at all, and, before any weights, their range."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.dispatch import Call, Kind
from gradsculpt.errors import ArgumentError

Bounds = tuple[Tensor | float, Tensor | float]


class PaddingMask:
    """Masks of the entries that depend on the images, for those maps of a pass that have others too.

    A mask broadcasts to its map. What a function does to it that is not known here is taken to depend on the images.
    """

    def __init__(self) -> None:
        self._masks: dict[int, tuple[Tensor, Tensor | None]] = {}

    def of(self, x: Tensor) -> Tensor | None:
        """Return the mask of a map, or None if all of it depends on the images."""
        return self._masks.get(id(x), (x, None))[1]

    def follow(self, call: Call, x: Tensor, result: Tensor) -> None:
        """Note which entries of what a call makes of a map depend on the images."""
        mask, kind = self.of(x), call.operator.kind
        if kind is Kind.PADDING:
            mask = _padded(call, x, mask)
        elif mask is not None:
            mask = _FOLLOWED[kind](call, x, mask) if kind in _FOLLOWED else None
        self._keep(result, mask)

    def added(self, a: Tensor, b: Tensor, result: Tensor) -> None:
        """Note where neither of two summands depends on the images."""
        one, other = self.of(a), self.of(b)
        if one is not None and other is not None and a.ndim == b.ndim:
            self._keep(result, one | other)

    def _keep(self, result: Tensor, mask: Tensor | None) -> None:
        if mask is not None and mask.ndim == result.ndim and not bool((mask := mask > 0).all()):
            self._masks[id(result)] = (result, mask)


def _padded(call: Call, x: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return 0 for what padding by constants has added."""
    if call.name == "pad" and call["mode"] != "constant":
        return None
    widths = list(call["pad"])
    mask = torch.ones([1] * x.ndim, device=x.device) if mask is None else mask.float()
    padded = x.ndim - len(widths) // 2
    return F.pad(mask.expand(*mask.shape[:padded], *x.shape[padded:]), widths)


def _weighted(call: Call, x: Tensor, mask: Tensor) -> Any:
    """Return 0 for the units of a convolution that see nothing but padding."""
    weight = call["weight"]
    if x.ndim != weight.ndim or x.ndim == 2:
        return None
    mask, ones = mask.float().expand(-1, -1, *x.shape[2:]), torch.ones_like(weight, dtype=torch.float32)
    if call["groups"] == 1 or mask.shape[1] == 1:
        call = call.given(input=mask.amax(1, keepdim=True), weight=ones[:1, :1], bias=None, groups=1)
    else:
        call = call.given(input=mask.expand(-1, x.shape[1], *x.shape[2:]), weight=ones, bias=None)
    return call()


_FOLLOWED: Mapping[Kind, Callable[[Call, Tensor, Tensor], Tensor | None]] = {
    Kind.WEIGHTED: _weighted,
    # A unit of a pooling gets 0 if it sees nothing but padding.
    **dict.fromkeys(
        (Kind.AVERAGE, Kind.MAXIMUM),
        lambda call, x, mask: call.of_tensors(mask.float().expand(-1, -1, *x.shape[2:])),
    ),
    Kind.ARRANGING: lambda call, x, mask: call.of_tensors(mask.expand_as(x)),
    **dict.fromkeys((Kind.RECTIFIER, Kind.CLAMP, Kind.SATURATING, Kind.NORMALISATION), lambda call, x, mask: mask),
    **dict.fromkeys((Kind.SUM, Kind.SCALING, Kind.DROPOUT), lambda call, x, mask: mask),
}


class Ranges:
    """The lowest and highest values of what was computed from images without any weights.

    Raises:
        ArgumentError: If the bounds do not broadcast to the images.
    """

    def __init__(self, x: Tensor, bounds: Bounds | None) -> None:
        flat = x.contiguous().flatten(2)[..., None]  # fast to reduce in this layout
        low, high = bounds or (flat.amin(2, keepdim=True), flat.amax(2, keepdim=True))
        try:
            low, high = (torch.as_tensor(bound, dtype=x.dtype, device=x.device).expand_as(x) for bound in (low, high))
        except RuntimeError as error:
            raise ArgumentError(
                f"the bounds do not broadcast to the images {list(x.shape)}; pass numbers, or tensors such as "
                f"[1, {x.shape[1]}, 1, 1] with one value a channel."
            ) from error
        if bounds:
            low, high = torch.minimum(low, x), torch.maximum(high, x)
        self._ranges = {id(x): (x, low, high)}

    def of(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the lowest and highest values of a map, or None if there are weights between it and the images."""
        return self._ranges[id(x)][1:] if id(x) in self._ranges else None

    def follow(self, call: Call, place: int, result: Tensor) -> None:
        """Note the range of what a call makes of a map, which is the tensor at a place among its arguments."""
        ends = self.of(call.tensors[place])
        if ends is None or call.operator.kind is Kind.WEIGHTED:
            return
        before, after = call.tensors[:place], call.tensors[place + 1 :]
        one, other = (call.of_tensors(*before, end, *after) for end in ends)
        self._ranges[id(result)] = (result, torch.minimum(one, other), torch.maximum(one, other))
