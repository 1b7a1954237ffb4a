"""Attacks that follow a gradient: of the map towards a target, away from itself, out of its top, or aside."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal, overload

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attacks.attacked_model import AttackedModel, SmoothBeta
from gradsculpt.attacks.balls import BALLS, FeasibleSet
from gradsculpt.attacks.base import Attack
from gradsculpt.attacks.criteria import Away, Criterion, Distance, MassCenter, OutOfTop, Towards, frame
from gradsculpt.attacks.search import OPTIMIZERS, Search
from gradsculpt.attributions import Attribution
from gradsculpt.attributions.sampling import arithmetic, clean_classes, source
from gradsculpt.gradients import Model
from gradsculpt.inputs import Bounds, as_images
from gradsculpt.progress import Progress

Norm = Literal["linf", "l2"]
OptimizerName = Literal["adam", "sign", "gradient"]


@dataclass(frozen=True)
class Attacked:
    """What an attack led to.

    Args:
        x: The attacked images, [N, C, H, W].
        score: The score of each by the attack's criterion, [N]; lower is better for the attacker.
        smooth_beta: Sharpness of the Softplus whose slopes were followed; None for the network as it is.
    """

    x: Tensor
    score: Tensor
    smooth_beta: float | None

    @property
    def surrogate(self) -> str | None:
        """The network whose slopes were followed in place of the attacked one, in words; None if its own were."""
        return None if self.smooth_beta is None else f"the network with Softplus(beta={self.smooth_beta:g}) for ReLU"


@dataclass(frozen=True, repr=False)
class Manipulation(Attack):
    """A search for the perturbation within eps and bounds that serves a criterion best and keeps the predicted class.

    Every iterate, and the clean image, is judged on the network itself; the best one that keeps the class is returned,
    so no image is ever worse for the attacker than it was. An iterate that has lost its class is led back. Each image
    is treated by itself. Parameters are not differentiated, and an image that is done costs nothing any more.

    An attack of your own is a subclass that says in `plan` what it wants of the maps; see `Criterion`.

    Args:
        eps: How far an image may be moved, in the norm: a number, or a tensor that broadcasts over [N, C, H, W], such
            as `space.pixels(4 / 255)`. In L2, the length of delta / eps is at most 1.
        norm: "linf", every entry by itself, or "l2", the length of an image's whole perturbation.
        optimizer: "adam", "sign" (of the gradient), or "gradient" (scaled to the same length).
        step_size: Length of a step in units of eps; by default 4 / steps.
        restarts: Further searches, each from a random start.
        seed: Seed of the random starts, which are the same for every image of a batch.
        bounds: Least and greatest value of the images, (low, high), such as `space.bounds`; None does not cut off.
        patience: Give an image up after so many steps without a better iterate; None never does.
        smooth_beta: Follow the slopes of the network with Softplus of this sharpness in place of ReLU, which costs
            half as much again; None follows its own. A network that is piecewise linear has derivatives without a
            slope. "auto" takes 20 for maps that are derivatives of a network that calls ReLU or its like, and for
            others if no map of the batch has a slope; all else is followed as it is.

    Shape: [N, C, H, W] to [N, C, H, W].
    Units: eps and bounds are in the units that the model takes. Images in half precision may be moved further by as
        much as their type rounds.

    Raises: ArgumentError if a number is out of range, a choice not known, or eps, bounds or target do not fit the
        images; FlatMapsError if no map of the batch has a slope, with Softplus neither if it was tried.
    """

    eps: float | Tensor
    norm: Norm = field(default="linf", kw_only=True)
    optimizer: OptimizerName = field(default="adam", kw_only=True)
    step_size: float | None = field(default=None, kw_only=True)
    restarts: int = field(default=0, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    bounds: Bounds | None = field(default=None, kw_only=True)
    patience: int | None = field(default=None, kw_only=True)
    smooth_beta: SmoothBeta = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        checks.each_at_least(self, eps=0.0, restarts=0, seed=0, patience=1)
        if self.step_size is not None:
            checks.positive("step_size", self.step_size)
        checks.bounds("bounds", self.bounds)
        if self.smooth_beta is not None and not isinstance(self.smooth_beta, str):
            checks.at_least("smooth_beta", self.smooth_beta, 1e-3)
        checks.whole("steps", self.plan(8, 8)[1], 0)

    @abstractmethod
    def plan(self, height: int, width: int) -> tuple[Criterion, int]:
        """Return what is wanted of maps of this size, and the number of steps."""

    @overload
    def __call__(
        self, model: Model, attribution: Attribution, x: Tensor, y: Tensor, *, return_info: Literal[False] = False
    ) -> Tensor: ...

    @overload
    def __call__(
        self, model: Model, attribution: Attribution, x: Tensor, y: Tensor, *, return_info: Literal[True]
    ) -> tuple[Tensor, Attacked]: ...

    def __call__(
        self, model: Model, attribution: Attribution, x: Tensor, y: Tensor, *, return_info: bool = False
    ) -> Tensor | tuple[Tensor, Attacked]:
        """Return the attacked images, shape [N, C, H, W]; with `return_info` what `run` returns as well."""
        attacked = self.run(model, attribution, x, y)
        return (attacked.x, attacked) if return_info else attacked.x

    def run(
        self, model: Model, attribution: Attribution, x: Tensor, y: Tensor, *, progress: Progress | None = None
    ) -> Attacked:
        """Return the attacked images, how far each got, and what led there.

        `progress` is called as `progress(done, total)` after every step, counted over all restarts; what it raises ends
        the attack.
        """

        def advance(done: int) -> None:
            if progress is not None:
                progress(done, (self.restarts + 1) * steps)

        checks.of_type("attribution", attribution, Attribution)
        with arithmetic(create_graph=False):
            x = source(as_images(model, x), create_graph=False)
            y = clean_classes(model, x, y)
            feasible = FeasibleSet.around(x, BALLS[self.norm], self.eps, self.bounds)
            criterion, steps = self.plan(*x.shape[-2:])
            search = Search(criterion, OPTIMIZERS[self.optimizer], steps, self.step_size, self.patience)
            attacked = AttackedModel(model, attribution, self.smooth_beta)
            best = search(attacked, feasible, y, self._starts(feasible, criterion.flat), advance)
        return Attacked(best.x, best.score, attacked.smooth_beta)

    def _starts(self, feasible: FeasibleSet, flat: bool) -> Iterator[Tensor]:
        """Yield perturbations to start from: none first, unless there is no slope, and then random ones."""
        if not flat:
            yield torch.zeros_like(feasible.x)
        noise = torch.Generator().manual_seed(self.seed)
        for _ in range(self.restarts + flat):
            yield feasible.eps * feasible.ball.random(noise, feasible.x[0])

    def __repr__(self) -> str:
        given = ((f.name, getattr(self, f.name), f.default) for f in fields(self))
        shown = (f"{name}={_short(v)}" for name, v, usual in given if isinstance(v, Tensor | tuple) or v != usual)
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class TargetedManipulation(Manipulation):
    """Makes the map look like a target: by default a frame, which has nothing to do with the image.

    Maps and target are compared as pictures: magnitudes, added up over the channels and divided by the image's largest.

    Args:
        target_map: The target, [H, W] or with leading dimensions that broadcast to [N, H, W]; None takes `frame`.
        steps: Number of steps.
        distance: "mse", the mean squared difference of the two pictures, or 1 minus their "cosine".

    The other arguments, units and errors are those of `Manipulation`.

    Source: Dombrowski et al., NeurIPS 2019 (Explanations can be manipulated); Joo et al., AAAI 2023, experiments
        (l-infinity, 100 steps, frame, unchanged prediction).
    Deviation: the released code of the latter adds the squared change of the logits to the loss instead of keeping the
        class, and returns the last iterate; `optimizer="sign"` is the PGD that the paper names, its code uses Adam.

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> model, x = lambda x: x.flatten(1).square().cumsum(1), torch.rand(1, 1, 8, 8)  # always class 63
        >>> attacked = TargetedManipulation(0.1, steps=5)(model, Gradient(), x, torch.tensor([63]))
        >>> (attacked - x).abs().max() <= 0.1 + 1e-6
        tensor(True)
    """

    target_map: Tensor | None = None
    steps: int = 100
    distance: Distance = field(default="mse", kw_only=True)

    def plan(self, height: int, width: int) -> tuple[Criterion, int]:
        """Return the target and the number of steps."""
        return Towards(frame(height, width) if self.target_map is None else self.target_map, self.distance), self.steps


@dataclass(frozen=True, repr=False)
class UntargetedManipulation(Manipulation):
    """Makes the map as unlike the clean one as it can: the cosine of their magnitudes shall become 0.

    The search, of so many `steps`, starts at a random perturbation, as the clean image itself has no slope. Other
    arguments, units and errors are those of `Manipulation`.

    Source: Joo et al., AAAI 2023, preliminaries (untargeted adversarial attribution manipulation).
    Deviation: the similarity of maps is their cosine, which does not reward a mere change of scale.
    """

    steps: int = 100
    optimizer: OptimizerName = field(default="sign", kw_only=True)

    def plan(self, height: int, width: int) -> tuple[Criterion, int]:
        """Return the criterion and the number of steps."""
        return Away(), self.steps


@dataclass(frozen=True, repr=False)
class TopKAttack(Manipulation):
    """Drives the entries of largest magnitude out of the top of the map.

    It lowers the share of all magnitude that lies on the entries of the clean top; an iterate is better if fewer of
    these are among the top entries of its own map (the top-k intersection).

    Args:
        k: How many entries are the top, as a share in (0, 1].
        steps: Number of steps.
        nonzero: Take the share of each map's non-zero entries instead of all.

    The other arguments, units and errors are those of `Manipulation`; the norm is L2 by default.

    Source: Levine et al. 2019 (Certifiably robust interpretation); Ghorbani et al., AAAI 2019; with k = 40% as in Gong
        et al., CVPR 2024, B.6.
    Deviation: the released code of MoreauGrad takes 10 steps of the sign, and never judges the last iterate.
    """

    k: float = 0.4
    steps: int = 100
    norm: Norm = field(default="l2", kw_only=True)
    optimizer: OptimizerName = field(default="gradient", kw_only=True)
    nonzero: bool = field(default=False, kw_only=True)

    def plan(self, height: int, width: int) -> tuple[Criterion, int]:
        """Return the criterion and the number of steps."""
        return OutOfTop(self.k, self.nonzero), self.steps


@dataclass(frozen=True, repr=False)
class MassCenterAttack(Manipulation):
    """Moves the centre of mass of the map's magnitudes as far as it can, in pixels.

    The search, of so many `steps`, starts at a random perturbation, as the clean image itself has no slope. Other
    arguments, units and errors are those of `Manipulation`.

    Source: Ghorbani et al., AAAI 2019 (Interpretation of neural networks is fragile).
    """

    steps: int = 100
    optimizer: OptimizerName = field(default="sign", kw_only=True)

    def plan(self, height: int, width: int) -> tuple[Criterion, int]:
        """Return the criterion and the number of steps."""
        return MassCenter(), self.steps


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.item():g}" if value.numel() == 1 else f"tensor{list(value.shape)}"
    return f"({', '.join(map(_short, value))})" if isinstance(value, tuple) else repr(value)
