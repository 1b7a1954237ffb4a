"""What is known of a convolution and what follows it, and the maps that are not made because of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from gradsculpt.kernels.folding import Normalisation, Vector, activation, normalisation, replaced, same
from gradsculpt.kernels.fused import Cut

Function = Callable[..., Any]
Call = tuple[Function, Sequence[Any], Mapping[str, Any]]
Stage = Literal["convolved", "normalised", "activated"]

_BEFORE = object()
"""Stands in recorded arguments for what the call before it returned."""


@dataclass(eq=False)
class Link:
    """A convolution: what follows it and nothing else does, and the weights that do all of it."""

    version: int
    bias: Vector | None
    norm: Normalisation | None = None
    cut: Cut | None = None
    free: dict[Stage, bool] = field(default_factory=lambda: {"convolved": True, "normalised": True})
    maps: dict[Stage, Any] = field(default_factory=dict)
    folded: tuple[Tensor, Tensor] | None = None

    def used(self, stage: Stage) -> None:
        """Remember that something else looks at a map, which therefore has to be made."""
        if stage == "convolved":
            self.free["convolved"] = False
        else:
            self.free["normalised"], self.cut = False, None

    def weights(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Return the folded weights; None if this convolution has to be done by itself."""
        if self.norm is None or not self.free["convolved"] or not same(self.bias, bias):
            return None
        if self.folded is None:
            # A map that outlived its pass is in the hands of somebody who may look at it.
            if self.maps["convolved"]() is not None:
                return None
            if self.cut is not None and self.maps["normalised"]() is not None:
                self.used("normalised")
            self.folded = self.norm.fold(weight, bias)
            self.free["convolved"] = self.folded is not None
            self.maps.clear()
        return self.folded


@dataclass(frozen=True, eq=False)
class Watched:
    """A map of a pass from which is learnt."""

    reference: Any
    link: Link
    stage: Stage

    def follows(self, tensor: Tensor, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Learn whether a call that takes the map is what can be folded, and the first to take it."""
        link = self.link
        if self.stage == "convolved" and link.norm is None and link.free["convolved"]:
            norm = normalisation(func, args, kwargs)
            if norm is not None and norm[0] is tensor:
                link.norm = Normalisation(tuple(Vector.of(vector) for vector in norm[1]), norm[2])
                return True
        if self.stage == "normalised" and link.cut is None and link.free["normalised"]:
            cut = activation(func, args, kwargs)
            if cut is not None and cut[0] is tensor:
                link.cut = cut[1]
                return True
        return False


@dataclass(eq=False)
class Ahead:
    """A map that was not made, and the result of what should come next."""

    result: Tensor
    x: Tensor
    link: Link
    cut: Cut | None
    calls: list[Call]
    stage: Stage = "convolved"
    stand_in: Any = None
    plain: Tensor | None = None

    @property
    def finished(self) -> bool:
        """Whether the result is what the network would have here."""
        return self.stage == ("normalised" if self.cut is None else "activated")

    def after(self, tensor: Tensor, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> "Ahead | None":
        """Return what a call makes of the map, if it is the one that was done ahead."""
        if self.plain is not None or self.link.norm is None:
            return None
        if self.stage == "convolved":
            norm = normalisation(func, args, kwargs)
            fits = norm is not None and norm[0] is tensor and self.link.norm.holds(*norm[1:])
        else:
            cut = activation(func, args, kwargs)
            fits = cut is not None and cut[0] is tensor and cut[1] == self.cut
        if not fits:
            return None
        call = func, replaced(args, tensor, _BEFORE), replaced(kwargs, tensor, _BEFORE)
        stage: Stage = "normalised" if self.stage == "convolved" else "activated"
        return Ahead(self.result, self.x, self.link, self.cut, [*self.calls, call], stage)

    def truth(self) -> Tensor:
        """Return the map as the network would have it, and make it the next time."""
        if self.plain is None:
            self.link.used(self.stage)
            result: Any = None
            for func, args, kwargs in self.calls:
                result = func(*replaced(args, _BEFORE, result), **replaced(kwargs, _BEFORE, result))
            self.plain = result
        return self.plain
