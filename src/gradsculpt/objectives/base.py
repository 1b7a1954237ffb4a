"""What training minimises: one data term, and regularisers that add up."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model, settled
from gradsculpt.isolation import random_state, undisturbed
from gradsculpt.objectives.moment import Moment, Setting, Weight, check_weight, resolved
from gradsculpt.objectives.passes import Passes
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations import Perturbation


@dataclass(frozen=True)
class Losses:
    """The result of an objective on one batch.

    Args:
        loss: What to call `backward` on; a scalar, averaged over the batch.
        logits: [N, K], of the inputs on which the data term was computed, without a graph.
        terms: The parts whose sum is the loss, by name.
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]


class Objective(ABC):  # noqa: B024 - its kinds, not it, have abstract methods
    """A training loss: one data term (a cross entropy) and any number of regularisers.

    `a + b` keeps the one data term and adds the regularisers; a regulariser alone comes with the plain cross entropy.
    `0.5 * a` scales the regularisers of `a`, and the penalty of an adversarial data term: never the cross entropy
    itself. The factor may be a schedule, `warmup(5) * a`.
    """

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        attention: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Losses:
        """Evaluate the loss of a batch.

        Args:
            model: Any callable from [N, C, H, W] to logits [N, K].
            x: What the model takes, [N, C, H, W].
            y: Class indices [N].
            attention: Attention maps [N, 1, H, W], for penalties that follow them.
            generator: Source of the randomness of terms that have any; by default PyTorch's own.

        Raises:
            ArgumentError: If x is no batch of images, or the objective has schedules that were not resolved.
        """
        data, regularisers = _sorted(self.parts())
        active = [term for factor, term in regularisers if factor]
        if active and not torch.is_grad_enabled():
            with torch.inference_mode(False), torch.enable_grad():  # the terms are made of gradients
                losses = self(model, x, y, attention, generator=generator)
            terms = {name: term.detach() for name, term in losses.terms.items()}
            return Losses(losses.loss.detach(), losses.logits, terms)
        # An adversarial data term reads the loss's gradient from the pass at x that the terms share.
        recorded = any(term.reads_gradients or data is not None for term in active)
        passes = Passes(model, x, y, attention, generator=generator, recorded=recorded)
        if active and generator is None:
            _ = passes.generator  # drawn here, and not where the random state will be put back
        start = random_state() if active else None
        logits = passes.clean.output if data is None else data.logits(passes)
        loss = F.cross_entropy(logits, passes.y)
        if active and not any(term.differentiates_clean for term in active):
            # The largest part of the memory is freed before the terms take theirs.
            with undisturbed(model, random=start):
                for term in active:
                    term.read(passes)
            loss = settled(loss, apart=passes.forget())
        terms = {"cross_entropy" if data is None else data.name: loss}
        names: Counter[str] = Counter()
        for factor, term in regularisers:
            with undisturbed(model if factor else None, random=start):
                values = term.terms(passes) if factor else dict.fromkeys(term.names, loss.detach().new_zeros(()))
            for name, value in values.items():
                names[name] += 1
                terms[name if names[name] == 1 else f"{name}_{names[name]}"] = factor * value
        return Losses(cast(Tensor, sum(terms.values())), logits.detach(), terms)

    def at(self, moment: Moment) -> "Objective":
        """Return the objective with every schedule and every size in pixel levels replaced by its value.

        Training loops call this for each batch; an objective without such settings needs no call.
        """
        changed = {
            field.name: value.at(moment)
            for field in fields(cast(Any, self))
            if isinstance(value := getattr(self, field.name), Setting | Objective)
        }
        return replace(cast(Any, self), **changed) if changed else self

    @property
    def replays(self) -> int:
        """How many steps in a row want the same batch."""
        return 1

    @property
    def lesson(self) -> "Lesson | None":
        """What a teacher has to be trained for before this can train a network; None if no teacher is wanted."""
        return next((found for objective in self.members() if (found := objective.lesson)), None)

    def taught(self, teacher: Model) -> "Objective":
        """Return the objective with its trained teacher, a callable from [N, C, H, W] to logits; most want none."""
        found = {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}
        inner = {name: value.taught(teacher) for name, value in found.items() if isinstance(value, Objective)}
        return replace(cast(Any, self), **inner) if inner else self

    @property
    def follows_attention(self) -> bool:
        """Whether a penalty in it follows the attention that accompanies the images."""
        found = [getattr(self, field.name) for field in fields(cast(Any, self))]
        return any(_follows(value) for value in found) or any(inner.follows_attention for inner in self.members())

    def members(self) -> "tuple[Objective, ...]":
        """Return the objectives that this one is put together from, as they were given."""
        found = (getattr(self, field.name) for field in fields(cast(Any, self)))
        return tuple(value for value in found if isinstance(value, Objective))

    def perturbations(self) -> tuple[Perturbation, ...]:
        """Return the solvers of adversarial data terms, which may carry something from step to step."""
        return tuple(solver for objective in self.members() for solver in objective.perturbations())

    def parts(self) -> "tuple[Part, ...]":
        """Return the data terms and regularisers that the objective is made of, each with its factor."""
        return ((1.0, self),)

    def __add__(self, other: object) -> "Objective":
        return Sum((self, other)) if isinstance(other, Objective) else NotImplemented

    def __mul__(self, factor: object) -> "Objective":
        return Scaled(self, factor) if isinstance(factor, int | float | Setting) else NotImplemented

    __rmul__ = __mul__


@dataclass(frozen=True)
class Lesson:
    """What an objective wants from another network, its teacher, before it can train one.

    Args:
        teacher: What the teacher is trained with.
        epochs: How long; by default as long as the network itself.
        samples: Noisy copies of an image in its explanation, a SmoothGrad map.
        sigma: Standard deviation of that noise, as a share of the range from black to white.
    """

    teacher: Objective
    epochs: int | None
    samples: int
    sigma: float


Part = tuple[float, Objective]
"""A factor, and a data term or regulariser without settings."""


class DataTerm(Objective):
    """An objective that is a cross entropy at some inputs."""

    name: ClassVar[str]

    @abstractmethod
    def logits(self, passes: Passes) -> Tensor:
        """Return the logits [N, K] whose cross entropy trains the network."""

    @abstractmethod
    def scaled(self, factor: float) -> "DataTerm":
        """Return the data term with its penalty, if it has one, times a factor."""


class Regulariser(Objective):
    """An objective that adds terms to the cross entropy."""

    names: ClassVar[tuple[str, ...]]
    reads_gradients: ClassVar[bool] = True
    """Whether its terms are made of input gradients."""

    @property
    def differentiates_clean(self) -> bool:
        """Whether the terms are propagated back through the pass at x; if none is, its memory is freed early."""
        return True

    def read(self, passes: Passes) -> None:
        """Read what the terms will need from the pass at x, before it is forgotten."""

    @abstractmethod
    def terms(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted terms by name, scalars averaged over the batch.

        Passes through the model leave no trace in it: running statistics are those of the data term, and random
        masks are the data term's too.
        """


@dataclass(frozen=True)
class Scaled(Objective):
    """An objective whose regularisers, or whose adversarial penalty, have been multiplied by a factor.

    Args:
        objective: What is scaled.
        factor: A number, or a schedule of one.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.2: adversarial training adds the penalty to the loss.

    Example:
        >>> from gradsculpt.objectives import MaxEntropy, Moment, warmup
        >>> (warmup(4) * MaxEntropy(2.0)).at(Moment(epoch=1.0))
        Scaled(objective=MaxEntropy(weight=2.0), factor=0.25)
    """

    objective: Objective
    factor: Weight

    def __post_init__(self) -> None:
        check_weight("factor", self.factor)

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the objective, each times the factor."""
        return tuple((resolved(self.factor) * factor, part) for factor, part in self.objective.parts())

    @property
    def replays(self) -> int:
        """How many steps in a row want the same batch."""
        return self.objective.replays


@dataclass(frozen=True)
class Sum(Objective):
    """One data term with the regularisers of several objectives.

    Args:
        objectives: What is added; at most one may have a data term other than the plain cross entropy.

    Raises:
        ArgumentError: If there is nothing to add, or there are two adversarial data terms.

    Source: Joo et al., AAAI 2023 (local gradient alignment), equation 5: a cross entropy plus weighted criteria.
    """

    objectives: Sequence[Objective]

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(self.objectives))
        if not self.objectives:
            raise ArgumentError("a sum of no objectives trains nothing; pass at least one.")
        pupils = [objective for objective in self.objectives if objective.lesson]
        if len(pupils) > 1:
            raise ArgumentError(f"{len(pupils)} of the objectives want a teacher, and there is one; keep one of them.")
        if pupils and self.follows_attention:
            raise ArgumentError(
                "one objective follows human attention and another the explanations of its teacher, and only one kind "
                "of map can accompany the images. Leave one of the two objectives out."
            )

    def at(self, moment: Moment) -> Objective:
        """Return the sum with every setting replaced by its value."""
        return Sum(tuple(objective.at(moment) for objective in self.objectives))

    def taught(self, teacher: Model) -> Objective:
        """Return the sum with the trained teacher of the objective that wants one."""
        return Sum(tuple(objective.taught(teacher) for objective in self.objectives))

    def members(self) -> tuple[Objective, ...]:
        """Return the objectives."""
        return tuple(self.objectives)

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of all objectives."""
        return tuple(part for objective in self.objectives for part in objective.parts())

    @property
    def replays(self) -> int:
        """How many steps in a row want the same batch."""
        return max(objective.replays for objective in self.objectives)


def _sorted(parts: tuple[Part, ...]) -> tuple[DataTerm | None, list[tuple[float, Regulariser]]]:
    """Return the data term, if it is not the plain cross entropy of the clean batch, and the regularisers."""
    data: list[DataTerm] = []
    regularisers: list[tuple[float, Regulariser]] = []
    for factor, part in parts:
        if isinstance(part, Regulariser):
            regularisers.append((factor, part))
        elif isinstance(part, DataTerm) and (part.name != "cross_entropy"):
            data.append(part.scaled(factor))
    if len(data) > 1:
        raise ArgumentError(
            f"{' and '.join(type(term).__name__ for term in data)} each say where the cross entropy is taken, and it "
            "is taken once. Keep one of them, with a penalty that says all: ElasticNet is L1 plus SquaredL2."
        )
    return (data[0] if data else None), regularisers


def _follows(value: object) -> bool:
    """Tell whether a value is a penalty that does something with attention maps."""
    if not isinstance(value, Penalty):
        return False
    inner = [v for v in vars(value).values() if isinstance(v, Penalty)]
    return any(map(_follows, inner)) if inner else type(value).given is not Penalty.given
