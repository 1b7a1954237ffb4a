"""What a metric is: a function that returns one value a sample, and what tables and law tests must know of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.heatmap import finite_maps, magnitudes
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import as_images

P = ParamSpec("P")
R = TypeVar("R", bound="Tensor | dict[str, Tensor]")

_BATCHES = frozenset(("maps", "a", "b", "truth", "gaze", "x", "logits"))


@dataclass(frozen=True)
class Score:
    """One number a sample: its name, unit, range and direction.

    Args:
        name: Name of the column; the metric's own name, or the key in the dict that the metric returns.
        low: Least possible value with the metric's default options.
        high: Largest possible value with the metric's default options.
        better: Which direction is better, or None if neither is.
        unit: Unit of the value; "fraction" for a share that a table may print in per cent, "" for a plain number.
        meaning: What it says, in a sentence that somebody outside the field understands; empty if nobody wrote one.

    Example:
        >>> share = Score("share", 0.0, 1.0, "higher", "fraction", "How much of the map is used.")
        >>> share.within("noisy_share", "after noise").meaning, share.span
        ('How much of the map is used, after noise.', '0% to 100%')
    """

    name: str
    low: float
    high: float
    better: Literal["higher", "lower"] | None
    unit: str = ""
    meaning: str = ""

    def within(self, name: str, circumstances: str) -> "Score":
        """Return the same score under another name, the circumstances added to its sentence, before a colon in it."""
        fact, colon, scale = self.meaning.removesuffix(".").partition(":")
        return replace(self, name=name, meaning=f"{fact}, {circumstances}{colon}{scale}." if fact else "")

    @property
    def span(self) -> str:
        """The range in words, in per cent for a fraction."""
        scale, sign = (100, "%") if self.unit == "fraction" else (1, "")
        low, high = (f"{end * scale:g}{sign}" if math.isfinite(end) else "" for end in (self.low, self.high))
        spans = {(True, True): f"{low} to {high}", (True, False): f"{low} and more", (False, True): f"up to {high}"}
        return spans.get((bool(low), bool(high)), "any number")

    @property
    def best(self) -> float | None:
        """The best possible value, or None if no direction is better."""
        return {"higher": self.high, "lower": self.low, None: None}[self.better]


@dataclass(frozen=True, repr=False, eq=False)
class Metric(Generic[P, R]):
    """A metric function together with its scores; called like the function, whose signature and docstring it keeps.

    A metric of your own is a function under the decorator `metric`. It returns one value a sample, which does not
    depend on the others of the batch, or a dict of them. The names of its arguments without a default say what it needs
    (`maps`; `a` and `b`; `model`, `x`, `y` and `maps`; ...), the first line of its docstring describes it in tables.
    Arrays that a caller passes reach it as tensors, and lists under these names.

    Args:
        function: Returns one value a sample: [N], or a dict of [N].
        scores: What is returned: one `Score` for a tensor, one a key for a dict, in the same order.

    Raises: ArgumentError if an argument has not its type; in use, what the function raises.

    Example:
        >>> @metric(Score("bright_share", low=0.0, high=1.0, better="lower", unit="fraction"))
        ... def bright_share(maps: Tensor, level: float = 0.5) -> Tensor:
        ...     "Share of the entries that exceed half of the largest magnitude."
        ...     sizes = rows("maps", maps)
        ...     return (sizes > level * sizes.amax(dim=1, keepdim=True)).float().mean(dim=1)
        >>> bright_share(torch.tensor([[[4.0, -3.0, 1.0, 0.0]]]))
        tensor([0.5000])
        >>> bright_share.needs, bright_share.scores[0].best
        (('maps',), 0.0)
    """

    function: Callable[P, R]
    scores: tuple[Score, ...]

    def __post_init__(self) -> None:
        # functools.update_wrapper assigns attributes, which a frozen dataclass refuses.
        kept = ("__module__", "__name__", "__qualname__", "__doc__")
        vars(self).update({name: getattr(self.function, name) for name in kept}, __wrapped__=self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Score a batch: the call is the function's own, once settings are of their types and arrays are tensors."""
        checks.arguments(self.function, args, kwargs)
        names = list(signature(self.function).parameters)
        given: dict[str, Any] = {**dict(zip(names, args, strict=False)), **kwargs}
        tensors = {name: self._tensor(name, value, given.get("model")) for name, value in given.items()}
        args = (*(tensors.pop(name) for name in names[: len(args)]), *args[len(names) :])  # type: ignore[assignment]
        return self.function(*args, **tensors)

    def _tensor(self, name: str, value: Any, model: object) -> Any:
        """Return an array, or a list where maps, images or logits have to be given, as a tensor."""
        if name == "y":  # classes are read by `checks.labels`, which takes single ones too
            return value
        if not isinstance(value, np.ndarray) and not (isinstance(value, list) and name in _BATCHES):
            return value
        return as_images(model, value) if name == "x" else checks.tensor(name, value)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name  # pickled by reference, as a function is

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__

    @property
    def description(self) -> str:
        """The first line of the docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the arguments that must be given: ("maps",), ("a", "b"), ("maps", "truth"), ..."""
        parameters = signature(self.function).parameters.values()
        return tuple(parameter.name for parameter in parameters if parameter.default is Parameter.empty)


def metric(*scores: Score) -> Callable[[Callable[P, R]], Metric[P, R]]:
    """Decorate a function that returns one value a sample, or a dict of them, as a `Metric` with these scores."""
    return lambda function: Metric(function, scores)


def rows(name: str, maps: Tensor) -> Tensor:
    """Return the magnitudes of valid maps as one row a sample, [N, C * H * W], cut off from the autograd graph."""
    checks.not_empty(name, len(maps))
    return magnitudes(name, maps.detach()).flatten(1)


def pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return two valid batches of maps of one shape, cut off from the autograd graph."""
    checks.same_shape("a", a, "b", b)
    checks.not_empty("a", len(a))
    return finite_maps("a", a.detach()), finite_maps("b", b.detach())


def one_a_pixel(name: str, values: Tensor, maps: Tensor) -> Tensor:
    """Return values [N, H, W] or [N, 1, H, W] as [N, H, W]; raise `ArgumentError` if maps have other pixels."""
    pixels = values[:, 0] if values.ndim == 4 and values.shape[1] == 1 else values
    if pixels.shape != (maps.shape[0], *maps.shape[-2:]):
        raise ArgumentError(
            f"{name} has shape {list(values.shape)} but maps has {list(maps.shape)}; pass one value a pixel, "
            "[N, H, W] or [N, 1, H, W] of the same batch and size."
        )
    return pixels


def ascending(values: Tensor) -> Tensor:
    """Sort each row of [N, M] upwards."""
    if values.device.type == "cpu":  # NumPy's vectorised sort takes a twentieth of torch.sort's time
        return torch.from_numpy(np.sort(values.numpy(), axis=1))
    return torch.sort(values, dim=1).values


def order(values: Tensor, *, stable: bool = False) -> Tensor:
    """Return the indices that sort each row of [N, M] upwards."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(values.numpy(), axis=1, kind="stable" if stable else None))
    return torch.sort(values, dim=1, stable=stable).indices


def wide(t: Tensor) -> torch.dtype:
    """Return the precision that scores of this are computed in: its own, and float32 where that is less."""
    return torch.promote_types(t.dtype, torch.float32)


def share(part: Tensor, whole: Tensor, dtype: torch.dtype) -> Tensor:
    """Divide counts by counts; a share of nothing is 0."""
    # Counts of more than 2,048 entries are not exact in half precision, so the division is done in a wider one.
    return (part.to(torch.promote_types(dtype, torch.float32)) / whole.clamp(min=1)).to(dtype)
