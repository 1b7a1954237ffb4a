"""Layer-wise relevance propagation: what arrives at a unit is split among those it was computed from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.propagation.engine import Propagation, by_channels, tolerance
from gradsculpt.attributions.propagation.entries import Bounds
from gradsculpt.attributions.propagation.relevance import Relevance
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.gradients import Model
from gradsculpt.numerics import per_sample


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
            (attention, squeeze-and-excitation) or layer normalisation is used; if batch normalisation is in
            training mode; or if the network has a kink that no rule saw, such as `torch.where(t > 0, t, 0)`, runs under
            activation checkpointing, or is TorchScript.
        ArgumentError: If x is no floating-point batch, a target is out of range or the bounds do not fit.

    Source: Bach et al. 2015; Montavon et al. 2017 (z+ and zB); Joo et al., AAAI 2023 (local gradient alignment), for
        the rules, and the start with 1.
    Deviation: In the released code of local gradient alignment batch normalisation is the identity, and residual
        networks do without the box rule and, for ImageNet, lose the relevance of the shortcuts. Units are sums of
        positive contributions alone, as the paper defines the rules; the released code adds positive biases to these
        denominators, so that its relevance sums to .98 to .99.

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
        checks.of_type("bounds", self.bounds, tuple | list | None)
        if self.bounds is None:
            return
        if len(self.bounds) != 2:
            raise ArgumentError(f"bounds has {len(self.bounds)} entries; pass the lowest and the highest value.")
        low, high = (torch.as_tensor(bound) for bound in self.bounds)
        if not bool((torch.isfinite(low) & torch.isfinite(high) & (low < high)).all()):
            raise ArgumentError("bounds are not finite with low < high everywhere; pass (low, high).")

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the relevance of every entry, shape [N, C, H, W]; not negative, and 1 in all for each image."""

        def compute(images: Tensor) -> tuple[Tensor, Tensor]:
            return Relevance(Propagation(create_graph), self.bounds).maps(model, images, target)

        maps, values = by_channels(compute, x, create_graph)
        total = per_sample(maps.detach())
        error = (total - 1).abs()
        if bool((error > tolerance(values, x)).any()):
            worst = total[error.nan_to_num().argmax()].item()
            raise ModelError(
                f"relevance is not conserved: a map adds up to {worst:.4g} instead of 1, so it does not show where the "
                "logit comes from. The network does something for which LRP has no rule here, such as attention, "
                "layer normalisation, or squeeze-and-excitation, which multiplies activations; take Gradient or "
                "IntegratedGradients."
            )
        return maps.contiguous() if x.is_contiguous() else maps
