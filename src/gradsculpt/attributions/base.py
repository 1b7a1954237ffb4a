"""How a map is read from a model."""

from abc import ABC, abstractmethod

from torch import Tensor

from gradsculpt.gradients import Model


class Attribution(ABC):
    """A map of how much every entry of an image matters to a model's output for one class."""

    @abstractmethod
    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return one map an image, shape [N, C, H, W].

        Args:
            model: Any callable from [N, C, H, W] to logits [N, K]. Its mode is used as it is and no state changes.
            x: What the model takes, [N, C, H, W].
            target: Class indices [N]; None takes the predicted class of each image.
            create_graph: Whether the maps can be differentiated further.
        """
