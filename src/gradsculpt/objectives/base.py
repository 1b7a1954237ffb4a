"""What training minimises: one data term, and regularisers that add up."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Generator, Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model, backpropagated
from gradsculpt.isolation import random_state, undisturbed
from gradsculpt.objectives.passes import Losses, Passes, check_term
from gradsculpt.objectives.schedules import Moment, Setting, Weight, check_weights, resolved
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations import State


class Objective(ABC):  # noqa: B024 - its kinds, not it, have abstract methods
    """A training loss: one data term (a cross entropy) and any number of regularisers.

    `a + b` keeps the one data term and adds the regularisers; a regulariser alone comes with the plain cross entropy.
    `0.5 * a` scales the regularisers of `a`, and the penalty of an adversarial data term: never the cross entropy
    itself. The factor may be a schedule, `warmup(5) * a`.

    An objective never remembers. Where something is carried from step to step, as by `Free`, a training begins with
    `state=objective.initial_state()` and hands `losses.state` of each step to the next.
    To write an objective, derive a frozen dataclass from `Regulariser`, `SecondOrder` or `DataTerm`.
    """

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        attention: Tensor | None = None,
        *,
        generator: Generator | None = None,
        state: State | None = None,
    ) -> Losses:
        """Evaluate the loss of a batch.

        Args:
            model: Any callable from [N, C, H, W] to logits [N, K].
            x: What the model takes, [N, C, H, W].
            y: Class indices [N], or one for all images.
            attention: Attention maps [N, 1, H, W], for penalties that follow them.
            generator: Source of the randomness of terms that have any; by default PyTorch's own.
            state: What the step before has left, or `initial_state()`; needed, also without gradients, by whatever
                carries something.

        Raises:
            ArgumentError: If x is no batch of images, there are classes that the model has not, the objective has
                schedules that were not resolved, or it carries something and was given no state.
            ModelError: If no gradient leads from the logits to the images, as terms need it, or PyTorch has none of
                the order that they need.
        """
        state = self._begun(state)
        data, regularisers = _sorted(self.parts())
        active = [term for factor, term in regularisers if factor]
        if active and not torch.is_grad_enabled():
            with torch.inference_mode(False), torch.enable_grad():  # the terms are made of gradients
                losses = self(model, x, y, attention, generator=generator, state=state)
            terms = {name: term.detach() for name, term in losses.terms.items()}
            return replace(losses, loss=losses.loss.detach(), terms=terms)
        # An adversarial data term reads the loss's gradient from the pass at x that the terms share.
        recorded = any(term.reads_gradients or data is not None for term in active)
        passes = Passes(model, x, y, attention, generator=generator, recorded=recorded)
        if active and generator is None:
            _ = passes.generator  # drawn here, and not where the random state will be put back
        random = random_state() if active else None
        logits, state = (passes.clean.output, state) if data is None else data.logits(passes, state)
        loss = passes.losses(logits).mean()
        if active and not any(term.differentiates_clean for term in active):
            # The largest part of the memory is freed before the terms take theirs.
            with undisturbed(model, random=random):
                for term in active:
                    term.read(passes)
            loss = backpropagated(loss, apart=passes.forget())
        terms = {"cross_entropy" if data is None else data.name: loss}
        names: Counter[str] = Counter()
        for factor, term in regularisers:
            with undisturbed(model if factor else None, random=random):
                values = term.terms(passes) if factor else dict.fromkeys(term.names, loss.detach().new_zeros(()))
            for name, value in values.items():
                check_term(term, name, value)
                names[name] += 1
                terms[name if names[name] == 1 else f"{name}_{names[name]}"] = factor * value
        return Losses(cast(Tensor, sum(terms.values())), logits.detach(), terms, state)

    def phase(self, moment: Moment) -> Hashable | None:
        """Return what a step depends on: moments of equal phases have equal objectives. None if each has its own."""
        if _defines_later(type(self), "at", "phase"):
            return None  # one's own `at`, of which no more is known
        settings = [value.phase(moment) for value in vars(self).values() if isinstance(value, Setting)]
        phases = (*settings, *(member.phase(moment) for member in self.members))
        return None if None in phases else phases

    def at(self, moment: Moment) -> "Objective":
        """Return the objective with every schedule and every size in pixel levels replaced by its value."""
        return self._changed(Setting | Objective, lambda value: value.at(moment))

    def with_teacher(self, teacher: Model) -> "Objective":
        """Return the objective with its trained teacher, a callable from [N, C, H, W] to logits; most want none."""
        return self._changed(Objective, lambda value: value.with_teacher(teacher))

    @property
    def requirements(self) -> "Requirements":
        """What training needs for it; raise `ArgumentError` if what it is put together from contradicts itself."""
        settings = vars(self).values()
        alone = Requirements(
            attention=any(value.follows_attention for value in settings if isinstance(value, Penalty)),
            pixel_units=any(value.needs_space for value in settings if isinstance(value, Setting)),
        )
        return alone.merged(*(member.requirements for member in self.members))

    def initial_state(self) -> State:
        """Return the state before the first step; empty, unless something is carried."""
        return {name: value for member in self.members for name, value in member.initial_state().items()}

    def learnt(self, state: State) -> State:
        """Return the state once its step was propagated back: tensors alone, fit for a checkpoint."""
        return next((member.learnt(state) for member in self.members if member.initial_state()), state)

    @property
    def members(self) -> "tuple[Objective, ...]":
        """The objectives that it is put together from."""
        return ()

    def parts(self) -> "tuple[Part, ...]":
        """Return the data terms and regularisers that the objective is made of, each with its factor."""
        return ((1.0, self),)

    def __add__(self, other: object) -> "Objective":
        return Sum((self, other)) if isinstance(other, Objective) else NotImplemented

    def __mul__(self, factor: object) -> "Objective":
        return Scaled(self, factor) if isinstance(factor, int | float | Setting) else NotImplemented

    __rmul__ = __mul__

    def _changed(self, kind: Any, change: Callable[[Any], Any]) -> "Objective":
        changed = {name: change(value) for name, value in vars(self).items() if isinstance(value, kind)}
        return replace(cast(Any, self), **changed) if changed else self

    def _begun(self, state: State | None) -> State:
        if state is None and (carried := self.initial_state()):
            raise ArgumentError(
                f"{type(self).__name__} carries {', '.join(carried)} from step to step and was given no state, so each "
                "starts anew. Begin with state=objective.initial_state(), then hand on losses.state."
            )
        return state or {}


@dataclass(frozen=True)
class TeacherSpecification:
    """What an objective wants from another network, its teacher; `ArgumentError` if a number is out of range.

    Args:
        teacher, epochs: What the teacher is trained with, and how long; None is as long as the network itself.
        samples, sigma: Noisy copies in a SmoothGrad map, and the standard deviation of their noise, as a share of the
            range from black to white.
    """

    teacher: Objective
    epochs: int | None
    samples: int
    sigma: float

    def __post_init__(self) -> None:
        checks.each_at_least(self, epochs=1, samples=1, sigma=0)


@dataclass(frozen=True)
class Requirements:
    """What an objective needs from a training, beyond images and labels; `ArgumentError` if two contradict each other.

    Args:
        teacher: What its teacher has to be trained for; None if no teacher is wanted.
        replays: How many steps in a row want the same batch.
        attention: Whether a penalty follows human attention, which accompanies the images.
        pixel_units: Whether `at` needs a moment with a space, as a setting is in pixel levels.
        smooth: Whether it trusts one gradient over the whole length of a perturbation. A few hundred steps of it do
            less to the maps of a network with corners (ReLU) than to those of a smooth one.
    """

    teacher: TeacherSpecification | None = None
    replays: int = 1
    attention: bool = False
    pixel_units: bool = False
    smooth: bool = False

    def merged(self, *others: "Requirements") -> "Requirements":
        """Return what all need together; refuse two teachers, or the maps of a teacher beside those of a human."""
        each = (self, *others)
        teachers = [needs.teacher for needs in each if needs.teacher]
        attention = any(needs.attention for needs in each)
        if len(teachers) > 1:
            raise ArgumentError(f"{len(teachers)} of the objectives want a teacher, and there is one; keep one.")
        if teachers and attention:
            raise ArgumentError(
                "one objective follows human attention and another the explanations of its teacher, and only one kind "
                "of map can accompany the images. Leave one of the two objectives out."
            )
        replays, pixel_units = max(needs.replays for needs in each), any(needs.pixel_units for needs in each)
        smooth = any(needs.smooth for needs in each)
        return Requirements(teachers[0] if teachers else None, replays, attention, pixel_units, smooth)


Part = tuple[float, Objective]
"""A factor, and a data term or regulariser without settings."""


class DataTerm(Objective):
    """An objective that is a cross entropy at some inputs.

    To write one, derive a frozen dataclass, name its term, and give it `logits` and `scaled`.
    """

    name: ClassVar[str]

    @abstractmethod
    def logits(self, passes: Passes, state: State) -> tuple[Tensor, State]:
        """Return the logits [N, K] whose cross entropy trains the network, and the state for the next step."""

    @abstractmethod
    def scaled(self, factor: float) -> "DataTerm":
        """Return the data term with its penalty, if it has one, times a factor."""


class Regulariser(Objective):
    """An objective that adds terms to the cross entropy.

    To write one, derive a frozen dataclass, name its terms, and give it `terms`; what is made of gradients that are
    differentiated again is a `SecondOrder`, and gets its options.

    Attributes:
        names, reads_gradients: The names of its terms, and whether they are made of input gradients.

    Example:
        >>> @dataclass(frozen=True)
        ... class LogitDecay(Regulariser):
        ...     weight: float
        ...     names = ("logit_decay",)
        ...     reads_gradients = False
        ...     def terms(self, passes):
        ...         return {"logit_decay": self.weight * passes.clean.output.square().mean()}
        >>> LogitDecay(0.1)(torch.nn.Flatten(), torch.ones(2, 3, 1, 1), torch.tensor([0, 1])).terms
        {'cross_entropy': tensor(1.0986), 'logit_decay': tensor(0.1000)}
    """

    names: ClassVar[tuple[str, ...]]
    reads_gradients: ClassVar[bool] = True

    @property
    def differentiates_clean(self) -> bool:
        """Whether the terms are propagated back through the pass at x; if none is, its memory is freed early."""
        return True

    def read(self, passes: Passes) -> None:
        """Read what the terms will need from the pass at x, before it is forgotten."""

    @abstractmethod
    def terms(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted terms by name, scalars averaged over the batch.

        Passes through the model leave no trace in it, and draw the random masks of the data term.
        """


@dataclass(frozen=True)
class Scaled(Objective):
    """An objective whose regularisers, or whose adversarial penalty, are multiplied by a factor or a schedule of one.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.2: adversarial training adds the penalty to the loss.

    Example:
        >>> from gradsculpt.objectives import MaxEntropy, warmup
        >>> (warmup(4) * MaxEntropy(2.0)).at(Moment(epoch=1.0))
        Scaled(objective=MaxEntropy(weight=2.0), factor=0.25)
    """

    objective: Objective
    factor: Weight

    def __post_init__(self) -> None:
        check_weights(self, "factor")

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the objective, each times the factor."""
        return tuple((resolved(self.factor) * factor, part) for factor, part in self.objective.parts())

    @property
    def members(self) -> tuple[Objective, ...]:
        """What is scaled."""
        return (self.objective,)


@dataclass(frozen=True)
class Sum(Objective):
    """One data term with the regularisers of several objectives; the state is that of the data term.

    Args:
        objectives: What is added; at most one may have a data term other than the plain cross entropy.

    Raises: ArgumentError for nothing to add, two adversarial data terms, two teachers, or two kinds of maps.
    Source: Joo et al., AAAI 2023 (local gradient alignment), equation 5: a cross entropy plus weighted criteria.
    """

    objectives: Sequence[Objective]

    def __post_init__(self) -> None:
        checks.declared(self)
        if not self.objectives:
            raise ArgumentError("a sum of no objectives trains nothing; pass at least one.")
        _ = self.requirements  # which are refused if they contradict each other

    def _changed(self, kind: Any, change: Callable[[Any], Any]) -> Objective:
        return Sum(tuple(map(change, self.objectives)))

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of all objectives."""
        return tuple(part for objective in self.objectives for part in objective.parts())

    @property
    def members(self) -> tuple[Objective, ...]:
        """The objectives."""
        return tuple(self.objectives)


def _defines_later(kind: type, first: str, second: str) -> bool:
    """Tell whether a class has its first method from a more special class than its second."""
    order = [[name in vars(each) for each in kind.__mro__].index(True) for name in (first, second)]
    return order[0] < order[1]


def _sorted(parts: tuple[Part, ...]) -> tuple[DataTerm | None, list[tuple[float, Regulariser]]]:
    """Return the data term, if it is not the plain cross entropy of the clean batch, and the regularisers."""
    data = [term.scaled(c) for c, term in parts if isinstance(term, DataTerm) and term.name != "cross_entropy"]
    if len(data) > 1:
        raise ArgumentError(
            f"{' and '.join(type(term).__name__ for term in data)} each say where the cross entropy is taken, and it "
            "is taken once. Keep one of them, with a penalty that says all: ElasticNet is L1 plus SquaredL2."
        )
    return (data[0] if data else None), [(factor, part) for factor, part in parts if isinstance(part, Regulariser)]
