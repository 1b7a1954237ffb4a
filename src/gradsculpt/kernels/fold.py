"""Folds normalisation and activation into convolutions while the same network is passed through many times."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from gradsculpt.kernels.folding import Vector, convolution, foldable, in_place, replaced, tensors
from gradsculpt.kernels.fused import arranged, convolve
from gradsculpt.kernels.links import Ahead, Link, Stage, Watched

Function = Callable[..., Any]
Arguments = tuple[Sequence[Any], Mapping[str, Any]]


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
        self._watched: dict[int, Watched] = {}
        self._ahead: dict[int, Ahead] = {}
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
        if func is Tensor.view and not any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values())):
            # Maps are laid out otherwise than the network laid out the images, where a view is a copy.
            func = Tensor.reshape
        if self._ahead:
            done = self._done(func, args, kwargs)
            if done is not None:
                return done
        if func is torch.conv2d:
            folded = self._folded(args, kwargs)
            if folded is not None:
                return folded
        if self._ahead:
            args, kwargs = self._true(func, args, kwargs)
        carried = self._seen(func, args, kwargs)
        result = self._learnt(args, kwargs) if func is torch.conv2d else func(*args, **kwargs)
        if carried is not None and isinstance(result, Tensor):
            if in_place(func, kwargs):
                carried.link.maps[carried.stage] = lambda: None
            self._watch(result, carried.link, "normalised" if carried.stage == "convolved" else "activated")
        return result

    def _folded(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
        """Return a convolution with folded weights, if it is known."""
        x, weight, bias, geometry = convolution(args, kwargs)
        link: Link | None = self._links.get(weight)  # type: ignore[no-untyped-call]
        known = link is not None and foldable(x, weight) and link.version == weight._version
        if link is None or geometry is None or not known or id(x) in self._ahead:
            return None
        folded = link.weights(weight, bias)
        if folded is None:
            return None
        self._seen(torch.conv2d, args, kwargs)
        result = convolve(x, *folded, geometry, link.cut)
        return self._hold(Ahead(result, x, link, link.cut, [(torch.conv2d, args, kwargs)]))

    def _learnt(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """Return a convolution, and watch what becomes of it if it is not known."""
        x, weight, bias, geometry = convolution(args, kwargs)
        link: Link | None = None
        if geometry is not None and foldable(x, weight):
            link = self._links.get(weight)  # type: ignore[no-untyped-call]
            if link is None or link.version != weight._version:
                link = self._links[weight] = Link(weight._version, Vector.of(bias))
                # Laid out as later passes will be, which is faster already.
                result = torch.conv2d(*replaced(args, x, arranged(x)), **replaced(kwargs, x, arranged(x)))
                self._watch(result, link, "convolved")
                return result
        return torch.conv2d(*args, **kwargs)

    def _hold(self, ahead: Ahead) -> Tensor:
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
            return after.result if after.finished else self._hold(after)
        return None

    def _true(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return arguments in which a map that is ahead is replaced by what the network would have there."""
        found = list(tensors((args, kwargs)))
        if in_place(func, kwargs):
            for ahead in list(self._ahead.values()):
                if any(tensor is ahead.x for tensor in found):
                    ahead.truth()
        for tensor in found:
            if id(tensor) in self._ahead:
                truth = self._ahead[id(tensor)].truth()
                args, kwargs = replaced(args, tensor, truth), replaced(kwargs, tensor, truth)
        return args, kwargs

    def _watch(self, tensor: Tensor, link: Link, stage: Stage) -> None:
        reference = weakref.ref(tensor)
        self._watched[id(tensor)] = Watched(reference, link, stage)
        link.maps[stage] = reference

    def _seen(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Watched | None:
        """Note what a function does with maps that are watched; return one that it carries on in the usual order."""
        carried = None
        for tensor in tensors((args, kwargs)):
            watched = self._watched.get(id(tensor))
            if watched is None or watched.reference() is not tensor:
                continue
            if watched.follows(tensor, func, args, kwargs):
                carried = watched
            elif watched.stage != "activated" or in_place(func, kwargs):
                # The values of an activation tell its gradient, unless they are changed later.
                watched.link.used(watched.stage)
        return carried


def _hooked(modules: Sequence[nn.Module]) -> bool:
    """Return whether hooks look at what modules take or make, forward or backward."""
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    everywhere = any(getattr(module_hooks, f"_global_{kind}") for kind in kinds)
    return everywhere or any(getattr(module, f"_{kind}") for module in modules for kind in kinds)


_SHAPES = frozenset(
    {Tensor.dim, Tensor.size, Tensor.numel, Tensor.is_contiguous, Tensor.__len__, torch.is_floating_point}
    | {getattr(Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "is_cuda")}
)
"""What looks at a map and not at its values."""
