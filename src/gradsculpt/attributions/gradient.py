"""The plain input gradient: the map that gradsculpt trains networks for."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.gradients import Model, differentiable, input_gradient
from gradsculpt.isolation import undisturbed

Output = Literal["logit", "probability", "log_probability"]
OUTPUTS: tuple[Output, ...] = get_args(Output)


@dataclass(frozen=True)
class Gradient(Attribution):
    """The gradient of a class output with respect to the image ("simple gradient", "saliency").

    Args:
        output: What is differentiated: the logit of the class, its probability after the softmax, or its logarithm.

    Raises: ArgumentError if x is no floating-point batch, a target is out of range, or the output is unknown.
    Source: Simonyan et al. 2013; Gong et al., CVPR 2024 (AdvGrad), section 3.1.
    Deviation: AdvGrad defines the map by the probability; its released code and local gradient alignment (AAAI 2023)
        take the logit, and so does the default.

    Example:
        >>> import torch
        >>> Gradient()(lambda x: x.flatten(1).square(), torch.tensor([[[[2.0, 1.0]]]]))
        tensor([[[[4., 0.]]]])
    """

    output: Output = "logit"

    def __post_init__(self) -> None:
        checks.one_of("output", self.output, OUTPUTS)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the gradient of each image's class output, shape [N, C, H, W]."""
        checks.images("x", x)

        def output(inputs: Tensor) -> Tensor:
            return class_output(model(inputs), target, self.output)

        with undisturbed(model):
            return input_gradient(output, x, create_graph=create_graph)[1]


def class_output(logits: Tensor, target: Tensor | None, output: Output) -> Tensor:
    """Return one output of each image's class, [N], from logits [N, K]; raise `ArgumentError` for wrong targets."""
    classes = logits.argmax(dim=1) if target is None else differentiable(target).to(logits.device)
    checks.labels(classes, *logits.shape)
    scores = logits if output == "logit" else F.log_softmax(logits, dim=1)
    picked = scores.gather(1, classes[:, None])[:, 0]
    return picked.exp() if output == "probability" else picked
