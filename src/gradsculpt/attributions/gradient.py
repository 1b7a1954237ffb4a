"""The plain input gradient: the map that gradsculpt trains networks for."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.gradients import Model, input_gradient
from gradsculpt.isolation import undisturbed
from gradsculpt.outputs import class_logits, logits_at, predicted, two_sided

Output = Literal["logit", "probability", "log_probability"]
OUTPUTS: tuple[Output, ...] = get_args(Output)


@dataclass(frozen=True)
class Gradient(Attribution):
    """The gradient of a class output with respect to the image ("simple gradient", "saliency").

    Args:
        output: What is differentiated: the logit of the class, its probability after the softmax, or its logarithm. Of
            a network with a single logit, which is that of class 1 against class 0, the logit is this one for either.

    Raises:
        ArgumentError: If x is no floating-point batch, a target is out of range, or the output is unknown.
        ModelError: If the logits change with the image although no gradient leads back to it, or are not to be found
            in what the model returns.

    Source: Simonyan et al. 2013; Gong et al., CVPR 2024 (AdvGrad), section 3.1.
    Deviation: AdvGrad defines the map by the probability; its released code and local gradient alignment (AAAI 2023)
        take the logit, and so does the default.

    Example:
        >>> import torch
        >>> Gradient()(lambda x: x.flatten(1).square(), torch.tensor([[[[2.0, 1.0]]]]))
        tensor([[[[4., 0.]]]])
    """

    output: Output = "logit"
    is_derivative: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.one_of("output", self.output, OUTPUTS)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the gradient of each image's class output, shape [N, C, H, W]."""
        checks.images("x", x)

        def output(inputs: Tensor) -> Tensor:
            return class_output(logits_at(model, inputs), target, self.output)

        with undisturbed(model):
            return input_gradient(output, x, create_graph=create_graph)[1]


def class_output(logits: Tensor, target: Tensor | None, output: Output) -> Tensor:
    """Return one output of each image's class, [N], from logits [N, K]; raise `ArgumentError` for wrong targets.

    A single logit an image is that of class 1 against class 0: probabilities are of the class, the logit is the one
    there is.
    """
    sides = two_sided(logits)
    classes = predicted(logits) if target is None else checks.labels(target, *sides.shape).to(logits.device)
    if output == "logit":
        return class_logits(logits, classes)
    picked = sides.log_softmax(dim=1).gather(1, classes[:, None])[:, 0]
    return picked.exp() if output == "probability" else picked
