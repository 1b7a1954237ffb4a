"""What the entries of images may be, and of what is computed from them on the way to the first weights."""

import torch
from torch import Tensor

from gradsculpt.dispatch import Call, Kind
from gradsculpt.errors import ArgumentError

Bounds = tuple[Tensor | float, Tensor | float]


class Ranges:
    """The lowest and highest values of what was computed from images without any weights.

    Args:
        x: The images.
        bounds: As of `LRP`.

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
        entry = self._ranges.get(id(x))
        return None if entry is None else entry[1:]

    def follow(self, call: Call, place: int, result: Tensor) -> None:
        """Note the range of what a call makes of a map, which is the tensor at a place among its arguments."""
        ends = self.of(call.tensors[place])
        if ends is None or call.operator.kind is Kind.WEIGHTED:
            return
        before, after = call.tensors[:place], call.tensors[place + 1 :]
        one, other = (call.of_tensors(*before, end, *after) for end in ends)
        self._ranges[id(result)] = (result, torch.minimum(one, other), torch.maximum(one, other))
