"""Folds normalisation and activation into convolutions while the same network is passed through many times."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from gradsculpt.kernels.convolution import Geometry
from gradsculpt.kernels.folding import Normalisation, Vector, activation, in_place, normalisation, same
from gradsculpt.kernels.fused import Cut, arranged, convolve

Function = Callable[..., Any]
Arguments = tuple[Sequence[Any], Mapping[str, Any]]
Stage = Literal["convolved", "normalised", "activated"]


class Folded(TorchFunctionMode):
    """Makes passes through one network in evaluation mode faster, from the second on.

    The first pass is watched. Where the output of a convolution goes to a batch normalisation by fixed statistics and
    nowhere else, later passes convolve with weights that do both, and a ReLU or ReLU6 that follows is done in place;
    maps are laid out channels last. Values and input gradients are those of the network up to rounding.

    What a later pass does otherwise than the first is computed as it would be without this: other weights or
    statistics, training mode, a map that something else looks at too. Nothing is folded under autocast, nor while a
    module has hooks. Uses of a map are seen if they are made through PyTorch's functions and methods; TorchScript's
    are not.

    Inside the block, convolutions that are folded have no gradient with respect to their parameters.

    Args:
        model: The network, which is not changed; or any other callable.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> x, folded = torch.rand(2, 3, 8, 8), Folded(model)
        >>> for _ in range(2):
        ...     with folded:
        ...         maps = model(x)
        >>> torch.allclose(maps, model(x), atol=1e-6)
        True
    """

    def __init__(self, model: object) -> None:
        super().__init__()
        self._modules = list(model.modules()) if isinstance(model, nn.Module) else []
        self._links = WeakIdKeyDictionary()
        self._watched: dict[int, _Watched] = {}
        self._ahead: dict[int, _Ahead] = {}
        self._plain = False

    def __enter__(self) -> "Folded":
        """Start to replace functions."""
        # What a hook is given has to be what the layer computes.
        self._plain = _hooked(self._modules)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave the functions as they were; what was learnt is kept."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._ahead.clear()

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function, or hand on what was computed already."""
        kwargs = kwargs or {}
        if self._plain or func in _SHAPES:
            return func(*args, **kwargs)
        if self._ahead:
            done = self._done(func, args, kwargs)
            if done is not None:
                return done
            args, kwargs = self._true(func, args, kwargs)
        carried = self._seen(func, args, kwargs)
        result = self._convolution(args, kwargs) if func is torch.conv2d else func(*args, **kwargs)
        if carried is not None and isinstance(result, Tensor):
            if in_place(func, kwargs):
                carried.link.maps[carried.stage] = lambda: None
            self._watch(result, carried.link, "normalised" if carried.stage == "convolved" else "activated")
        return result

    def _convolution(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """Convolve: with folded weights if this convolution is known, and else so that it will be."""
        x, weight, bias, geometry = _conv2d(*args, **kwargs)
        if geometry is None or not _foldable(x, weight):
            return torch.conv2d(*args, **kwargs)
        link: _Link | None = self._links.get(weight)  # type: ignore[no-untyped-call]
        if link is None or link.version != weight._version:
            # Laid out as later passes will be, which is faster already.
            result = torch.conv2d(*_replaced(args, x, arranged(x)), **_replaced(kwargs, x, arranged(x)))
            link = self._links[weight] = _Link(weight._version, Vector.of(bias))
            self._watch(result, link, "convolved")
            return result
        folded = link.weights(weight, bias)
        if folded is None:
            return torch.conv2d(*args, **kwargs)
        result = convolve(x, *folded, geometry, link.cut)
        return self._hold(_Ahead(result, x, link, [(torch.conv2d, args, kwargs)]))

    def _hold(self, ahead: "_Ahead") -> Tensor:
        """Return a tensor that stands for a map that was not made, for as long as anybody has it."""
        stand_in = ahead.result.detach()
        key = id(stand_in)
        ahead.stand_in = weakref.ref(stand_in, lambda _: self._ahead.pop(key, None))
        self._ahead[key] = ahead
        return stand_in

    def _done(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
        """Return the map that a function would make, if it is the next one that was done ahead."""
        for tensor in args[:1] or tuple(kwargs.values()):
            ahead = self._ahead.get(id(tensor))
            after = None if ahead is None else ahead.after(tensor, func, args, kwargs)
            if ahead is None or after is None:
                continue
            if in_place(func, kwargs):
                ahead.plain = after.result
            return after.result if after.stage == after.link.last else self._hold(after)
        return None

    def _true(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return arguments in which a map that is ahead is replaced by what the network would have there."""
        found = list(_tensors((args, kwargs)))
        if in_place(func, kwargs):
            for ahead in list(self._ahead.values()):
                if any(tensor is ahead.x for tensor in found):
                    ahead.truth()
        for tensor in found:
            if id(tensor) in self._ahead:
                truth = self._ahead[id(tensor)].truth()
                args, kwargs = _replaced(args, tensor, truth), _replaced(kwargs, tensor, truth)
        return args, kwargs

    def _watch(self, tensor: Tensor, link: "_Link", stage: Stage) -> None:
        reference = weakref.ref(tensor)
        self._watched[id(tensor)] = _Watched(reference, link, stage)
        link.maps[stage] = reference

    def _seen(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> "_Watched | None":
        """Note what a function does with maps that are watched; return one that it carries on in the usual order."""
        carried = None
        for tensor in _tensors((args, kwargs)):
            watched = self._watched.get(id(tensor))
            if watched is None or watched.reference() is not tensor:
                continue
            if watched.follows(tensor, func, args, kwargs):
                carried = watched
            elif watched.stage != "activated" or in_place(func, kwargs):
                # The values of an activation tell its gradient, unless they are changed later.
                watched.link.used(watched.stage)
        return carried


@dataclass(eq=False)
class _Link:
    """A convolution: what follows it and nothing else does, and the weights that do all of it."""

    version: int
    bias: Vector | None
    norm: Normalisation | None = None
    cut: Cut | None = None
    free: dict[Stage, bool] = field(default_factory=lambda: {"convolved": True, "normalised": True})
    maps: dict[Stage, Any] = field(default_factory=dict)
    folded: tuple[Tensor, Tensor] | None = None

    @property
    def last(self) -> Stage:
        """The last stage that is done ahead."""
        return "normalised" if self.cut is None else "activated"

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
class _Watched:
    """A map of a pass from which is learnt."""

    reference: Any
    link: _Link
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
class _Ahead:
    """A map that was not made, and the result of what should come next."""

    result: Tensor
    x: Tensor
    link: _Link
    calls: list[tuple[Function, Sequence[Any], Mapping[str, Any]]]
    stage: Stage = "convolved"
    stand_in: Any = None
    plain: Tensor | None = None

    def after(self, tensor: Tensor, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> "_Ahead | None":
        """Return what a call makes of the map, if it is the one that was done ahead."""
        if self.plain is not None or self.link.norm is None:
            return None
        if self.stage == "convolved":
            norm = normalisation(func, args, kwargs)
            fits = norm is not None and norm[0] is tensor and self.link.norm.holds(*norm[1:])
        else:
            cut = activation(func, args, kwargs)
            fits = cut is not None and cut[0] is tensor and cut[1] == self.link.cut
        if not fits:
            return None
        call = func, _replaced(args, tensor, _BEFORE), _replaced(kwargs, tensor, _BEFORE)
        stage: Stage = "normalised" if self.stage == "convolved" else "activated"
        return _Ahead(self.result, self.x, self.link, [*self.calls, call], stage)

    def truth(self) -> Tensor:
        """Return the map as the network would have it, and make it the next time."""
        if self.plain is None:
            self.link.used(self.stage)
            result: Any = None
            for func, args, kwargs in self.calls:
                result = func(*_replaced(args, _BEFORE, result), **_replaced(kwargs, _BEFORE, result))
            self.plain = result
        return self.plain


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, Geometry | None]:
    if isinstance(padding, str):
        return input, weight, bias, None
    return input, weight, bias, Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)


def _pair(value: Any) -> tuple[int, int]:
    first, *rest = (value,) if isinstance(value, int) else value
    return int(first), int(rest[0] if rest else first)


def _foldable(x: Tensor, weight: Tensor) -> bool:
    if x.ndim != 4 or weight.is_inference() or weight.dtype not in (torch.float32, torch.float64):
        return False
    return x.dtype == weight.dtype and not torch.is_autocast_enabled(x.device.type)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors among arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


def _replaced(value: Any, old: object, new: object) -> Any:
    """Return arguments with something else in the place of one."""
    if value is old:
        return new
    if isinstance(value, Mapping):
        return {key: _replaced(part, old, new) for key, part in value.items()}
    return type(value)(_replaced(part, old, new) for part in value) if type(value) in (tuple, list) else value


def _hooked(modules: Sequence[nn.Module]) -> bool:
    """Return whether hooks look at what modules take or make, forward or backward."""
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    everywhere = any(getattr(module_hooks, f"_global_{kind}") for kind in kinds)
    return everywhere or any(getattr(module, f"_{kind}") for module in modules for kind in kinds)


_BEFORE = object()
"""Stands in recorded arguments for what the call before it returned."""

_SHAPES = frozenset(
    {Tensor.dim, Tensor.size, Tensor.numel, Tensor.is_contiguous, Tensor.__len__, torch.is_floating_point}
    | {getattr(Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "is_cuda")}
)
"""What looks at a map and not at its values."""
