"""Which entries of maps the images have a part in, where padding by constants has added some that they have not."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.attributions.propagation import Call

ARRANGING = frozenset({"flatten", "reshape", "view", "permute", "transpose", "contiguous"})


class Reach:
    """Masks of the entries that depend on the images, for those maps of a pass that have others too.

    A mask broadcasts to its map. What a function does to it that is not known here is taken to depend on the images.
    """

    def __init__(self) -> None:
        self._masks: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, x: Tensor) -> Tensor | None:
        """Return the mask of a map, or None if all of it depends on the images."""
        found = self._masks.get(id(x))
        return None if found is None else found[1]

    def padded(self, call: Call, result: Tensor) -> None:
        """Note what padding by constants has added."""
        x, widths = call.tensors[0], call.argument(1, "pad")
        if call.name == "pad" and call.argument(2, "mode", "constant") != "constant":
            return
        known, kept = self.of(x), x.ndim - len(widths) // 2
        mask = torch.ones([1] * x.ndim, device=x.device) if known is None else known.float()
        self._keep(result, F.pad(mask.expand(*mask.shape[:kept], *x.shape[kept:]), list(widths)))

    def weighted(self, call: Call, result: Tensor) -> None:
        """Note which units of a convolution see nothing but padding."""
        x, weight, *_ = call.tensors
        mask = self.of(x)
        if mask is None or x.ndim != weight.ndim or x.ndim == 2:
            return
        mask, ones = mask.float().expand(-1, -1, *x.shape[2:]), torch.ones_like(weight, dtype=torch.float32)
        if call.argument(6, "groups", 1) == 1 or mask.shape[1] == 1:
            found = call.unbiased(mask.amax(1, keepdim=True), ones[:1, :1], groups=1)
        else:
            found = call.unbiased(mask.expand(-1, x.shape[1], *x.shape[2:]), ones)
        self._keep(result, found)

    def pooled(self, call: Call, result: Any) -> None:
        """Note which units of a pooling see nothing but padding."""
        x = call.tensors[0]
        mask = self.of(x)
        if mask is not None and isinstance(result, Tensor):
            self._keep(result, call.of(mask.float().expand(-1, -1, *x.shape[2:])))

    def passed(self, call: Call, place: int, result: Any) -> None:
        """Note what a function of each entry, or one that only arranges entries, makes of a map."""
        x = call.tensors[place]
        mask = self.of(x)
        if mask is None or not isinstance(result, Tensor):
            return
        if call.name in ARRANGING:
            self._keep(result, call.of(mask.expand_as(x)))
        elif result.shape == x.shape:
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
