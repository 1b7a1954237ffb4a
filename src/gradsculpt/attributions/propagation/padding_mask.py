"""Which entries of maps the images have a part in, where padding by constants has added some that they have not."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.dispatch import Call, Kind


class PaddingMask:
    """Masks of the entries that depend on the images, for those maps of a pass that have others too.

    A mask broadcasts to its map. What a function does to it that is not known here is taken to depend on the images.
    """

    def __init__(self) -> None:
        self._masks: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, x: Tensor) -> Tensor | None:
        """Return the mask of a map, or None if all of it depends on the images."""
        entry = self._masks.get(id(x))
        return None if entry is None else entry[1]

    def follow(self, call: Call, x: Tensor, result: Tensor) -> None:
        """Note which entries of what a call makes of a map depend on the images."""
        mask, kind = self.of(x), call.operator.kind
        if kind is Kind.PADDING:
            mask = _padded(call, x, mask)
        elif mask is not None:
            mask = _FOLLOWED[kind](call, x, mask) if kind in _FOLLOWED else None
        if mask is not None and mask.ndim == result.ndim:
            self._keep(result, mask)

    def added(self, a: Tensor, b: Tensor, result: Tensor) -> None:
        """Note where neither of two summands depends on the images."""
        one, other = self.of(a), self.of(b)
        if one is not None and other is not None and a.ndim == b.ndim:
            self._keep(result, one | other)

    def _keep(self, result: Tensor, mask: Tensor) -> None:
        mask = mask > 0
        if not bool(mask.all()):
            self._masks[id(result)] = (result, mask)


def _padded(call: Call, x: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return 0 for what padding by constants has added."""
    if call.name == "pad" and call["mode"] != "constant":
        return None
    widths = list(call["pad"])
    mask = torch.ones([1] * x.ndim, device=x.device) if mask is None else mask.float()
    padded = x.ndim - len(widths) // 2
    return F.pad(mask.expand(*mask.shape[:padded], *x.shape[padded:]), widths)


def _weighted(call: Call, x: Tensor, mask: Tensor) -> Tensor | None:
    """Return 0 for the units of a convolution that see nothing but padding."""
    weight: Tensor = call["weight"]
    if x.ndim != weight.ndim or x.ndim == 2:
        return None
    mask, ones = mask.float().expand(-1, -1, *x.shape[2:]), torch.ones_like(weight, dtype=torch.float32)
    if call["groups"] == 1 or mask.shape[1] == 1:
        call = call.given(input=mask.amax(1, keepdim=True), weight=ones[:1, :1], bias=None, groups=1)
    else:
        call = call.given(input=mask.expand(-1, x.shape[1], *x.shape[2:]), weight=ones, bias=None)
    seen: Tensor = call()
    return seen


def _pooled(call: Call, x: Tensor, mask: Tensor) -> Tensor:
    """Return 0 for the units of a pooling that see nothing but padding."""
    pooled: Tensor = call.of_tensors(mask.float().expand(-1, -1, *x.shape[2:]))
    return pooled


def _arranged(call: Call, x: Tensor, mask: Tensor) -> Tensor:
    arranged: Tensor = call.of_tensors(mask.expand_as(x))
    return arranged


_ENTRYWISE = (*(Kind.RECTIFIER, Kind.CLAMP, Kind.SATURATING, Kind.NORMALISATION, Kind.SUM, Kind.SCALING, Kind.DROPOUT),)
_FOLLOWED: Mapping[Kind, Callable[[Call, Tensor, Tensor], Tensor | None]] = {
    Kind.WEIGHTED: _weighted,
    Kind.AVERAGE: _pooled,
    Kind.MAXIMUM: _pooled,
    Kind.ARRANGING: _arranged,
    **dict.fromkeys(_ENTRYWISE, lambda call, x, mask: mask),
}
