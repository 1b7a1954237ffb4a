"""One call of a PyTorch function, whichever way it was written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from gradsculpt.dispatch.operators import Kind, Operator, spelling


@dataclass(frozen=True)
class Call:
    """A call of an operator, out of place.

    Attributes:
        operator: Which.
        function: What computes it out of place.
        args: What it is called with.
        kwargs: What it is called with by name.
        overwritten: The tensor that the network wanted to be overwritten by the result, if any.
    """

    operator: Operator
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    overwritten: Tensor | None = None

    @classmethod
    def of(cls, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> "Call":
        """Return a call as a network wrote it in its one normal form."""
        spelled, args, kwargs = spelling(func), tuple(args), dict(kwargs)
        call = cls(spelled.operator, spelled.function, args, kwargs)
        overwrites = spelled.overwrites
        if spelled.flag is not None and (
            kwargs.pop("inplace", False) or args[spelled.flag : spelled.flag + 1] == (True,)
        ):
            overwrites = True
            args = (*args[: spelled.flag], False, *args[spelled.flag + 1 :]) if len(args) > spelled.flag else args
        return replace(call, args=args, overwritten=call.tensors[0]) if overwrites and call.tensors else call

    @property
    def name(self) -> str:
        """The bare name of the operator."""
        return self.operator.name

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """All arguments by name, of an operator whose parameters are known, in their order."""
        names = self.operator.parameters
        given = dict(zip(names, self.args, strict=False))
        return {**dict.fromkeys(names), **self.operator.defaults, **given, **self.kwargs}

    def __getitem__(self, name: str) -> Any:
        """Return an argument by its name, None where the call has none."""
        return self.arguments.get(name)

    def __call__(self) -> Any:
        """Compute it."""
        return self.function(*self.args, **self.kwargs)

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors among the arguments, in their order."""
        return tuple(value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Tensor))

    def having(self, *tensors: Tensor) -> "Call":
        """Return the call with other tensors, in their order."""
        waiting = iter(tensors)
        args = tuple(next(waiting) if isinstance(value, Tensor) else value for value in self.args)
        kwargs = {key: next(waiting) if isinstance(v, Tensor) else v for key, v in self.kwargs.items()}
        return replace(self, args=args, kwargs=kwargs)

    def of_tensors(self, *tensors: Tensor) -> Any:
        """Compute it for other tensors, in their order."""
        return self.having(*tensors)()

    def given(self, **arguments: Any) -> "Call":
        """Return the call with other arguments, those by name in the order of the operator's parameters."""
        names = self.operator.parameters
        placed = zip(names, self.args, strict=False)
        args = (*(arguments.pop(name, value) for name, value in placed), *self.args[len(names) :])
        named = {**self.kwargs, **arguments}
        return replace(self, args=args, kwargs={**{name: named[name] for name in names if name in named}, **named})

    @property
    def cut(self) -> tuple[float, float] | None:
        """The two levels at which a function that is the identity between them cuts, if it is one and they are numbers.

        (0, inf) for a ReLU, however it is written; (0, 6) for a ReLU6.
        """
        if self.name in ("relu", "relu6"):
            return 0.0, 6.0 if self.name == "relu6" else float("inf")
        if self.name == "threshold":
            return (0.0, float("inf")) if self["threshold"] == self["value"] == 0 else None
        if self.operator.kind is not Kind.CLAMP:
            return None
        low, high = self.levels
        if isinstance(low, Tensor) or isinstance(high, Tensor):
            return None
        return float("-inf") if low is None else float(low), float("inf") if high is None else float(high)

    @property
    def levels(self) -> tuple[Any, Any]:
        """What a clamp cuts at, below and above: a number, a tensor, or None."""
        low, high = ("min_val", "max_val") if self.name == "hardtanh" else ("min", "max")
        return self[low], self[high]

    @property
    def is_rectifier(self) -> bool:
        """Whether it lets through what is positive."""
        if self.operator.kind is Kind.CLAMP:
            low = self.levels[0]
            return isinstance(low, int | float) and low == 0
        return self.operator.kind is Kind.RECTIFIER

    @property
    def is_activation(self) -> bool:
        """Whether it is applied to every entry by itself, and is not linear."""
        return self.is_rectifier or self.operator.kind in (Kind.RECTIFIER, Kind.SATURATING)
