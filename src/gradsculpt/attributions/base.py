"""How a map is read from a model."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model
from gradsculpt.inputs import arrays_as_images


class Attribution(ABC):
    """A map of how much every entry of an image matters to a model's output for one class.

    An attribution of your own is a subclass, best a frozen dataclass whose fields are its settings, with a `__call__`
    in which the map of an image does not depend on the others of its batch, x stays as it is, and random numbers come
    from a generator with a seed among the settings. With `create_graph` it hands on what autograd needs, so that maps
    can be trained and attacked; otherwise its maps have no graph. An attribute `base` that is an attribution tells that
    the network is only looked at through it. Images that a caller passes in an array reach `__call__` as a tensor.

    Example:
        >>> from dataclasses import dataclass
        >>> import torch
        >>> from gradsculpt.attributions import Gradient
        >>> @dataclass(frozen=True)
        ... class Powered(Attribution):
        ...     power: float = 2.0
        ...
        ...     def __call__(self, model, x, target=None, *, create_graph=False):
        ...         maps = Gradient()(model, x, target, create_graph=create_graph)
        ...         return maps.abs() ** self.power
        >>> Powered(3.0)(lambda x: 2 * x.flatten(1), torch.ones(1, 1, 1, 2), torch.tensor([0]))
        tensor([[[[8., 0.]]]])
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let every kind of attribution take arrays."""
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            cls.__call__ = arrays_as_images(cls.__call__, place=2)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse a network and images, which come with the call, among the settings."""
        if len(args) > 1 and isinstance(args[0], nn.Module) and isinstance(args[1], Tensor | np.ndarray):
            name = cls.__name__
            raise ArgumentError(
                f"{name} is made of its settings, and takes a network and images when it is called; write "
                f"{name}()(model, x, target)."
            )
        return super().__new__(cls)

    @property
    def is_derivative(self) -> bool:
        """Whether maps are derivatives of the network itself, so that where it is piecewise linear they have no slope.

        That of an attribution of your own is that of its `base`; without one it is not known, and False.
        """
        base = getattr(self, "base", None)
        return isinstance(base, Attribution) and base.is_derivative

    @abstractmethod
    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return one map an image, shape [N, C, H, W].

        Args:
            model: Any callable from [N, C, H, W] to logits [N, K], or to what `outputs.logits_of` finds them in. Its
                mode is used as it is and no state changes; threads may share it.
            x: What the model takes, [N, C, H, W]: a tensor; or an array or list, which is brought to the model's
                precision and device.
            target: Class indices [N], of any integer type, in a tensor, array or list, or one for all images; None
                takes the predicted class of each.
            create_graph: Whether the maps can be differentiated further.

        Raises:
            ArgumentError: If there are no images, x is no floating-point batch, or far from [0, 1] where the model
                is a `Classifier`, or a class is out of range.
            ModelError: If the model returns no logits, no gradient leads from these to the images although they change
                with them, or a map of this kind would be wrong for it.
        """


class SpecialCase(Attribution):
    """A more general attribution under a name and with settings of its own: a dataclass that says which it is."""

    @property
    @abstractmethod
    def general(self) -> Attribution:
        """The general attribution, whose checks are those of the special case."""

    @property
    def base(self) -> Attribution | None:
        """What the general attribution looks through, if it does."""
        return getattr(self.general, "base", None)

    @property
    def is_derivative(self) -> bool:
        """As of the general attribution."""
        return self.general.is_derivative

    def __post_init__(self) -> None:
        checks.declared(self)
        _ = self.general

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the maps of the general attribution."""
        return self.general(model, x, target, create_graph=create_graph)
