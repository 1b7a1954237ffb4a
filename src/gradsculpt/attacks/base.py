"""What an attack is, and the control of every attack: noise of the same size."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attacks.attacked_model import keeps
from gradsculpt.attacks.balls import L2, FeasibleSet, Linf
from gradsculpt.attributions import Attribution
from gradsculpt.attributions.sampling import arithmetic, clean_classes, source
from gradsculpt.gradients import Model
from gradsculpt.inputs import Bounds, arrays_as_images
from gradsculpt.isolation import undisturbed
from gradsculpt.outputs import logits_at, predicted, two_sided

Kind = Literal["uniform", "gaussian"]


class Attack(ABC):
    """A small change of images that changes their maps and not their predicted classes.

    An attack of your own is a subclass, best a frozen dataclass whose fields are its settings, with a `__call__`. For
    one that follows a gradient, `Manipulation` does all but say what is wanted.

    Example:
        >>> from dataclasses import dataclass
        >>> from gradsculpt.attributions import Gradient
        >>> @dataclass(frozen=True)
        ... class Darkening(Attack):
        ...     eps: float = 0.1
        ...
        ...     def __call__(self, model, attribution, x, y):
        ...         darker = x - self.eps
        ...         kept = model(darker).argmax(dim=1) == model(x).argmax(dim=1)
        ...         return torch.where(kept.view(-1, 1, 1, 1), darker, x)
        >>> model = lambda x: x.flatten(1)
        >>> Darkening()(model, Gradient(), torch.tensor([[[[0.5, 0.3]]]]), torch.tensor([0]))
        tensor([[[[0.4000, 0.2000]]]])
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let every kind of attack take arrays."""
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            cls.__call__ = arrays_as_images(cls.__call__, place=3)  # type: ignore[method-assign]

    @abstractmethod
    def __call__(self, model: Model, attribution: Attribution, x: Tensor, y: Tensor) -> Tensor:
        """Return the attacked images, shape [N, C, H, W].

        Args:
            model: Any callable from [N, C, H, W] to logits [N, K]. Its mode is used as it is and no state changes.
            attribution: What reads the maps that are attacked.
            x: The clean images, [N, C, H, W], as an attribution takes them: in an array or a list, too.
            y: The classes whose maps are attacked: [N], of any integer type, in a tensor, array or list, or one for all
                images. The class that is kept is the one predicted for x.
        """


@dataclass(frozen=True)
class RandomPerturbation(Attack):
    """Adds noise that knows nothing of the model but that the predicted class is kept.

    An image whose class the noise changes gets other noise, up to `tries` times, and else stays as it is.

    Args:
        eps: Size of the noise, as of `Manipulation`.
        kind: "uniform" draws every entry from -eps to eps; "gaussian" scales Gaussian noise of each image to the L2
            length 1 and multiplies it by eps, which is the control of attacks in L2. Gaussian noise of standard
            deviation sigma has about the length sigma * sqrt(C * H * W).
        bounds: Least and greatest value of the images, as of `Manipulation`.
        seed: Seed of the noise, which is the same for every image of a batch.
        tries: How often noise is drawn.

    Shape: [N, C, H, W] to [N, C, H, W].
    Units: eps and bounds are in the units that the model takes.

    Raises: ArgumentError if a number is out of range, the kind is unknown, or eps or bounds do not fit the images.
    Source: Joo et al., AAAI 2023, the RPS metric (uniform); the Gaussian attack of MoreauGrad's released code.
    Deviation: MoreauGrad's noise is a standard deviation times the range of the whole batch, and may change the class.

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> x, y = torch.zeros(1, 1, 1, 2), torch.tensor([0])
        >>> RandomPerturbation(0.1)(lambda x: 1 - x.flatten(1).square(), Gradient(), x, y).abs().max() <= 0.1
        tensor(True)
    """

    eps: float | Tensor
    kind: Kind = "uniform"
    bounds: Bounds | None = None
    seed: int = 0
    tries: int = 10

    def __post_init__(self) -> None:
        checks.each_at_least(self, eps=0.0, seed=0, tries=1)
        checks.bounds("bounds", self.bounds)

    def __call__(self, model: Model, attribution: Attribution, x: Tensor, y: Tensor) -> Tensor:
        """Return the images with noise, shape [N, C, H, W]; the attribution is not used."""
        x = source(x, create_graph=False)
        y = clean_classes(model, x, y)
        noise = torch.Generator().manual_seed(self.seed)
        draw, ball = (Linf().random, Linf()) if self.kind == "uniform" else (L2().direction, L2())
        with arithmetic(create_graph=False), undisturbed(model):
            feasible = FeasibleSet.around(x, ball, self.eps, self.bounds)
            attacked, waiting = x.clone(), torch.arange(len(x), device=x.device)
            logits = logits_at(model, x)
            checks.labels(y, *two_sided(logits).shape)
            classes = predicted(logits)
            for _ in range(self.tries):
                if not len(waiting):
                    break
                tried = (x + feasible.nearest(feasible.eps * draw(noise, x[0]).to(x))).to(x.dtype)[waiting]
                kept = keeps(logits_at(model, tried), classes[waiting])
                attacked[waiting[kept]] = tried[kept]
                waiting = waiting[~kept]
        return attacked
