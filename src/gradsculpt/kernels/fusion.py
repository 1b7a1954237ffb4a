"""A private copy of a network, with its normalisations merged into its convolutions, for passes that are many."""

import copy
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.nn.modules import module as module_hooks
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized

from gradsculpt.dispatch import Call, Dispatch
from gradsculpt.isolation import undisturbed

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_SHAPES = {Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__}
_SHAPES |= {getattr(Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "is_cuda")}
"""What may be asked about a stand-in."""
_CONVOLVING = {torch.conv1d, torch.conv2d, torch.conv3d}
_LAYOUT = {Tensor.as_strided, torch.as_strided, Tensor.stride, Tensor.untyped_storage, Tensor.is_contiguous}
"""What depends on how maps lie in memory, which is another way in the copy."""


class _OtherwiseError(Exception):
    """A network calls something else than a convolution and the normalisation after it."""


@contextmanager
def fused(model: Callable[[Tensor], Tensor], x: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield a network that gives what `model` gives, and its input gradients, in less time where that can be had.

    It is a copy in which a convolution computes what the batch normalisation by fixed statistics after it among its
    parent's children gives for it. Every pass is watched: wherever it turns out that the output of such a convolution
    goes elsewhere, that one of the two was changed, or that the copy fails, it is computed again by `model`, and so are
    all passes after it. The copy also has to prove itself on the first image, by its logits up to rounding; if it does
    not, and for a model that is in training, has hooks, recomputes activations, or is no module at all, `model` itself
    is yielded. The copy lives no longer than the block; its parameters take no gradients.

    Args:
        model: The network.
        x: What it takes, [N, C, H, W].

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> with fused(model, torch.rand(2, 3, 8, 8)) as faster:
        ...     type(faster).__name__, faster.merged
        ('Fused', 1)
    """
    faster = _copy(model, x) if isinstance(model, nn.Module) and len(x) else None
    yield model if faster is None else faster


class Fused(nn.Module):
    """A merged copy of a network, which takes its images in the memory format that convolutions are fastest in.

    Attributes:
        merged: How many normalisations are computed by the convolutions before them; 0 once the copy is given up.
    """

    def __init__(self, model: nn.Module, layout: torch.memory_format) -> None:
        super().__init__()
        self.network = copy.deepcopy(model).to(memory_format=layout).requires_grad_(False)
        self._model = [model]  # a list, as it is no part of this one
        self._layout, self._watch = layout, _Watch()
        pairs = list(_pairs(self.network))
        for _, norm in pairs:  # nothing that makes copies of buffers shall think that these could change
            vars(norm).update({name: norm._buffers.pop(name) for name in list(norm._buffers)})
        layers = [layer for pair in pairs for layer in pair]
        self._versions = [(value, value._version) for layer in layers for _, _, value in _values(layer)]
        for conv, norm in pairs:
            self._watch.merge(conv, norm, layout)
        self.merged = len(pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        if self.merged:
            try:
                return self.watched(x)
            except Exception:  # whatever a stranger's network raises in a copy: it still works by itself
                self.merged, self.network = 0, nn.Identity()
        logits: Tensor = self._model[0](x)
        return logits

    def watched(self, x: Tensor) -> Tensor:
        """Return the logits by the copy, or raise."""
        self._watch.start()
        self._refuse_changes()
        # What recomputes activations in the backward pass would do so unwatched. The caller's images are copied even if
        # they have the format already, as an activation in place may come first.
        with self._watch, disable_saved_tensors_hooks("a merged copy keeps its activations"):
            logits: Tensor = self.network(x.clone(memory_format=self._layout))
            self._watch.refuse(logits)
        self._refuse_changes()
        return logits

    def _refuse_changes(self) -> None:
        """Raise if a tensor that was merged has been written to, even if it was put back."""
        if any(value._version != version for value, version in self._versions):
            raise _OtherwiseError


class _Watch(Dispatch):
    """Sees every function that a merged network calls.

    The output of a merged convolution is hidden: the network is given a stand-in with its shape, which the
    normalisation exchanges for the output, and which nothing else may read.
    """

    def __init__(self) -> None:
        # Maps in another memory format have no view of another shape: a call is made by reshape.
        super().__init__({"view": Call.__call__})
        self._merged: dict[int, _Merged] = {}  # by the weight that a convolution is called with
        self.start()

    def merge(self, conv: Any, norm: Any, layout: torch.memory_format) -> None:
        """Let a convolution, whenever it is called with its own weights, compute what a normalisation makes of it.

        What else the module of the convolution does is left to it: what it does to the output shows as another reader.
        """
        merged = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        weight, bias = (parameter.detach() for parameter in merged)
        weight = weight.contiguous(memory_format=layout if weight.ndim == 4 else torch.contiguous_format)
        plain, made_of = norm.forward, (*_values(conv), *_values(norm))
        self._merged[id(conv.weight)] = _Merged(conv.weight, conv.bias, weight, bias, norm, made_of)

        def normalised(x: Tensor) -> Tensor:
            found = self.exchange(x, norm)
            return plain(x) if found is None else found

        norm.forward = normalised

    def start(self) -> None:
        """Forget an earlier pass."""
        self._stand_ins: dict[int, weakref.ref[Tensor]] = {}  # a dead tensor's id may be that of another one
        self._hidden: dict[int, tuple[Tensor, nn.Module]] = {}

    def hide(self, output: Tensor, norm: nn.Module) -> Tensor:
        """Return a stand-in for what the normalisation is going to give."""
        stand_in = output.detach()
        self._stand_ins[id(stand_in)] = weakref.ref(stand_in)
        self._hidden[id(stand_in)] = output, norm
        return stand_in

    def exchange(self, given: Tensor, norm: nn.Module) -> Tensor | None:
        """Return what a stand-in stands for; None for any other tensor, or one of another normalisation."""
        if not self._is_stand_in(given) or self._hidden.get(id(given), (given, None))[1] is not norm:
            return None
        return self._hidden.pop(id(given))[0]

    def refuse(self, *values: Any) -> None:
        """Raise if a stand-in is among values."""
        for value in values:
            if isinstance(value, Tensor):
                if self._is_stand_in(value):
                    raise _OtherwiseError
            elif isinstance(value, tuple | list):
                self.refuse(*value)

    def _is_stand_in(self, value: Tensor) -> bool:
        reference = self._stand_ins.get(id(value))
        return reference is not None and reference() is value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, if it may be called."""
        if func in _LAYOUT:
            raise _OtherwiseError
        if self._stand_ins and func not in _SHAPES:
            self.refuse(*args, *(kwargs or {}).values())
        if func in _CONVOLVING and (merged := self._merged_of(args, kwargs or {})) is not None:
            return self.hide(func(*args[:1], merged.weight, merged.bias, *args[3:], **kwargs or {}), merged.norm)
        return super().__torch_function__(func, types, args, kwargs)

    def _merged_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "_Merged | None":
        """Return what to convolve with in the place of the weights of a call; None if they are not those of a pair."""
        if len(args) < 3 or {"weight", "bias"} & kwargs.keys():
            return None
        merged = self._merged.get(id(args[1]))
        if merged is None or merged.of_weight is not args[1] or merged.of_bias is not args[2]:
            return None
        if merged.norm.training or any(place.get(name) is not value for place, name, value in merged.made_of):
            raise _OtherwiseError
        return merged


class _Merged(NamedTuple):
    """The weights of a convolution merged with a normalisation, and what they were made of."""

    of_weight: Tensor
    of_bias: Tensor | None
    weight: Tensor
    bias: Tensor
    norm: nn.Module
    made_of: tuple[tuple[dict[str, Any], str, Tensor], ...]


def _copy(model: nn.Module, x: Tensor) -> Fused | None:
    """Return the copy if there is anything to gain and it gives the same logits."""
    if torch.is_autocast_enabled(x.device.type) or _hooked(model) or not any(_pairs(model)) or _is_opaque(model):
        return None
    try:
        # A tensor of inference mode, as a parameter or as a map, could not be differentiated.
        with torch.inference_mode(False), undisturbed(model):
            first = x[:1].detach().clone()
            fast = Fused(model, torch.channels_last if x.device.type == "cpu" else torch.contiguous_format)
            with undisturbed(model), torch.no_grad():
                expected = model(first)
            with torch.enable_grad():
                # What goes wrong in a backward pass only is shown by one.
                logits = fast.watched(first.requires_grad_())
                logits.sum().backward()
    except Exception:  # whatever a stranger's network raises when it is copied: it still works by itself
        return None
    return fast if _same(logits.detach(), expected) else None


def _values(layer: nn.Module) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    """Yield every tensor of a layer: where it is, and under which name."""
    for place in (layer._parameters, vars(layer)):
        yield from ((place, name, value) for name, value in place.items() if isinstance(value, Tensor))


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield every convolution, and the batch normalisation by fixed statistics after it among a module's children."""
    seen: set[int] = set()
    for parent in model.modules():
        for first, second in pairwise(parent.children()):
            # A subclass of a normalisation may compute otherwise.
            fits = isinstance(first, _CONVOLUTIONS) and type(second) in _NORMALISATIONS and not is_parametrized(first)
            if (
                fits
                and second.running_mean is not None
                and not first.training
                and not second.training
                and not {id(first), id(second)} & seen
            ):
                seen |= {id(first), id(second)}
                yield first, second


def _is_opaque(model: nn.Module) -> bool:
    """Return whether a part of a network cannot be watched, or takes minutes to copy, as what was compiled does."""
    return any(hasattr(each, "_orig_mod") or isinstance(each, torch.jit.ScriptModule) for each in model.modules())


def _same(logits: Tensor, expected: Tensor) -> bool:
    if logits.shape != expected.shape or not bool(logits.isfinite().all()):
        return False
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * float(expected.abs().amax())
    return bool((logits - expected).abs().amax() <= tolerance)


def _hooked(model: nn.Module) -> bool:
    """Return whether hooks look at what modules take or make: what they are given has to be what the layer computes."""
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    everywhere = any(getattr(module_hooks, f"_global_{kind}") for kind in kinds)
    return everywhere or any(getattr(module, f"_{kind}") for module in model.modules() for kind in kinds)
