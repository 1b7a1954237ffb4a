"""What a validation adds up to, of the images whose numbers are finite; the others are named."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.attributions import Gradient, heatmap
from gradsculpt.data.batches import WHOLE, Share
from gradsculpt.metrics import gini
from gradsculpt.outputs import logits_at, two_sided
from gradsculpt.training import broken

_MAPS_A_VALIDATION = 128


class Validated:
    """Counts the images of a validation, and those that are classified rightly, without waiting.

    Args:
        network: What is validated, in evaluation mode.
        device: Where it is.
        share: Which images of each batch are here.
    """

    def __init__(self, network: Any, device: torch.device, share: Share = WHOLE) -> None:
        self._network, self._gradient = network, Gradient()
        self._counts = torch.zeros(3, dtype=torch.long, device=device)
        self._lost = torch.zeros((), device=device)
        # The sparsity of maps, and their number: those of the first images of all, of which each process has its share.
        self._few, self._sparsity = len(range(share.rank, _MAPS_A_VALIDATION, share.of)), torch.zeros(2, device=device)
        self._batches: list[tuple[Tensor, Any]] = []

    def add(self, x: Tensor, y: Tensor, places: Any) -> None:
        """Add a batch; of the first one, the sparsity of the gradient maps of its first images too."""
        logits = two_sided(logits_at(self._network, x))
        losses = F.cross_entropy(logits, y, reduction="none")
        finite = losses.isfinite()
        if not self._batches:
            few = slice(self._few)
            maps = self._gradient(self._network, x[few], y[few])
            whole = maps.isfinite().flatten(1).all(dim=1)
            finite = torch.cat([finite[few] & whole, finite[self._few :]])
            if len(readable := maps[whole]):
                sparsity = gini(heatmap(readable, clip=100.0))
                self._sparsity += torch.stack([sparsity.sum(), sparsity.new_tensor(len(readable))])
        right = ((logits.argmax(dim=1) == y) & finite).sum()
        self._counts += torch.stack([right, finite.sum(), (~finite).sum()])
        self._lost += torch.where(finite, losses, 0.0).sum()
        self._batches.append((finite, places))

    def ended(
        self, reduced: Callable[[Tensor], Tensor], names: Sequence[str], epoch: int, *, skipping: bool
    ) -> dict[str, Tensor]:
        """Return accuracy and cross entropy in all processes together; from counts, so that equal ones are equal.

        Raises: BrokenStepError if the network's loss or gradient map is not finite for an image, with its name;
            where such images are left out, if it is more than half of them.
        """
        right, count, odd = reduced(self._counts)
        if bool(odd):
            if skipping:
                broken.check_share(float(odd), int(count + odd), epoch, ended=True, what="validation images")
            else:
                raise broken.BrokenStepError(self._told(names, epoch, int(odd)))
        more = {"val_skipped": odd.float()} if skipping else {}
        total, maps = reduced(self._sparsity)
        if bool(maps):
            more["val_gini"] = total / maps
        return {"val_accuracy": right / count, "val_cross_entropy": reduced(self._lost) / count} | more

    def _told(self, names: Sequence[str], epoch: int, odd: int) -> str:
        where = [
            int(place)
            for finite, places in self._batches
            if places is not None
            for place, whole in zip(places, finite.tolist(), strict=True)
            if not whole
        ]
        shown = broken.images(names, where or None)
        weights = broken.broken_weights(self._network)
        state = [name for name, each in self._network.named_buffers() if not bool(each.isfinite().all())]
        cause = f"; {(weights + state)[0]} is not finite" if weights or state else ""
        return (
            f"the network's loss or gradient map is NaN or infinite for {odd} of the validation images after epoch "
            f"{epoch}, {shown}{cause}, so the network of this epoch is not kept, and training cannot go on. Look at "
            "these images, lower --lr, or have them left out by --on-nan skip."
        )
