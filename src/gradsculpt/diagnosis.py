"""Why a gradient cannot be had, in one line."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gradsculpt.dispatch import RECOMPUTES, Call, Dispatch
from gradsculpt.errors import ModelError, first_line
from gradsculpt.graph import history
from gradsculpt.isolation import own_randomness

_UNKNOWN = (
    "PyTorch cannot differentiate {} as often as this takes. Take another function in its place, written out of plain "
    "operations, or a method whose gradient is not differentiated again."
)
_ONCE = _UNKNOWN.format("an autograd function of the network's own (marked once_differentiable)")
_DEAD_ENDS = {
    "torch::autograd::Error": _ONCE,
    "NativeLayerNormBackwardBackward0": (
        "a layer normalisation is hidden, as in TorchScript, so that it is PyTorch's own, whose third derivative is "
        "wrong; pass the Python module that the network was made from."
    ),
}
"""Names of nodes through which a gradient cannot be differentiated further, and why."""

_OTHERS = "the images are of another type than the network, or on another device; convert one of them, as by x.to(...)."
_CHANNELS = (
    "the network does not take images with so many channels; a batch [N, C, H, W] with those of the network is needed. "
    "Of images with channels last, [N, H, W, C], pass x.permute(0, 3, 1, 2) or array.transpose(0, 3, 1, 2)."
)
_SIZE = (
    "the network does not take images of this size, or its layers do not fit each other; pass such as it was built for."
)
_OVERWRITTEN = (
    "the network overwrites the images that it is given, so there is no gradient at them. Let its first operation work "
    "out of place (x = x - mean instead of x -= mean)."
)
_REFUSALS = {
    r"use_reentrant|torch\.utils\.checkpoint|saved_tensors_hooks": RECOMPUTES,
    "Inference tensors": (
        "a part of the network computes under torch.inference_mode(), or its weights were made there, so no gradient "
        "leads back to the images; take it out, or copy the network outside of it (copy.deepcopy)."
    ),
    r"derivative for '?(?:aten::)?_*(?P<name>\w+?)(?:_backward)?'? is not implemented": _UNKNOWN,
    r"(?P<name>batch_norm) does not support 3rd": _UNKNOWN,
    r"[Dd]ouble backwards? (?:on|for|of) (?P<name>\w+) (?:is )?not (?:supported|implemented)": _UNKNOWN,
    r"'quantized::|Quantized\w+' backend": (
        "the network is quantised, for which PyTorch lacks a function that this takes; pass the network that it was "
        "made from."
    ),
    "once_differentiable": _ONCE,
    "does not currently support double backward": (
        "a network by torch.compile cannot be differentiated twice; pass the one that it was made from (its _orig_mod)."
    ),
    "a leaf Variable that requires grad is being used in an in-place": _OVERWRITTEN,
    "more than one element of the written-to tensor": _OVERWRITTEN,
    r"type \(.*should be the same|same dtype|expected scalar type|on the same device": _OTHERS,
    r"to have \d+ channels, but got \d+ channels|running_mean should contain": _CHANNELS,
    r"mat1 and mat2 shapes|Kernel size can't be greater|Output size is too small": _SIZE,
    "modified by an inplace operation": (
        "the network overwrites in place what its derivative needs; call that operation out of place."
    ),
}
"""What PyTorch says, as a pattern, and what that means."""

_CAUSES: dict[str, Callable[[Call], bool]] = {
    "computes under torch.inference_mode(); take it out": lambda call: torch.is_inference_mode_enabled(),
    "computes under torch.no_grad(); take it out": lambda call: not torch.is_grad_enabled(),
    "is quantised; explain the network that it was made from": lambda call: (
        "quantize" in call.name or call.name.endswith("_dynamic")
    ),
    "cuts its activations off by detach() or .data; take that out": lambda call: (
        call.name == "detach" or getattr(call.function, "__self__", None) is Tensor.data
    ),
    "leaves PyTorch by numpy() or tolist(); compute that by torch functions": lambda call: (
        call.name in ("numpy", "array", "tolist", "item")
    ),
}
"""What a network does, with what helps, and whether a call shows it; the first that applies to a call is its cause."""


@contextmanager
def explained() -> Iterator[None]:
    """Turn what PyTorch refuses to compute or to differentiate inside the block into a `ModelError` of one line.

    Any other error stays what it is.

    Example:
        >>> with explained():
        ...     raise RuntimeError("derivative for aten::_cudnn_rnn_backward is not implemented")
        Traceback (most recent call last):
        gradsculpt.errors.ModelError: PyTorch cannot differentiate cudnn_rnn as often as this takes. ...
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        for pattern, meaning in _REFUSALS.items():
            if found := re.search(pattern, said):
                known = meaning.format(*found.groups())
                raise ModelError(known if known in said else f"{known} ({first_line(error, kind=False)})") from error
        raise


def refuse_dead_ends(gradient: Tensor) -> None:
    """Raise `ModelError` if a gradient with a graph was computed by a function whose next derivative is not to be had.

    Of one that can be differentiated once only autograd says so when it gets there, which it does not where derivatives
    by given tensors are asked for: these would be silently without what goes through that function.
    """
    for node in history(gradient.grad_fn):
        if (meaning := _DEAD_ENDS.get(node.name())) is not None:
            raise ModelError(meaning)


def refuse_severed(function: Callable[[Tensor], Tensor], point: Tensor) -> None:
    """Raise `ModelError` if the values of a function change with its argument, although no gradient leads back to it.

    To be called where autograd found no way back, so that the gradient would be 0 everywhere: which it is if the
    function ignores its argument. It is evaluated a few more times.
    """
    here = _values(function, point)
    noise = torch.randn(point.shape, generator=torch.Generator().manual_seed(0)).to(point)
    if all(_same(here, _values(function, other)) for other in (torch.zeros_like(point), noise, point + noise)):
        return
    causes: list[str] = []
    again = point.detach().requires_grad_()
    with torch.enable_grad(), Dispatch({}, otherwise=lambda call: _watched(call, causes)):
        function(again)
    known = [cause for cause in _CAUSES if cause in causes] or causes or ["computes what autograd cannot see"]
    raise ModelError(
        f"the logits change with the images, but no gradient leads back to these, so that maps would be zero: the "
        f"network {known[0]}, or take an attribution of your own that needs no gradient."
    )


def _values(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    # With the same dropout masks each time.
    with own_randomness(seed=0):
        return function(x).detach()


def _same(a: Tensor, b: Tensor) -> bool:
    tolerance = torch.finfo(a.dtype).eps ** 0.5
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(a.abs().amax()), equal_nan=True)


def _watched(call: Call, causes: list[str]) -> Any:
    """Compute a call, and note what cuts the way back there, if something does."""
    result = call()
    connected = any(t.requires_grad for t in call.tensors)
    returned = [t for t in (result if isinstance(result, tuple | list) else [result]) if isinstance(t, Tensor)]
    left = not returned and call.name in ("numpy", "array", "tolist", "item")
    cut = not any(
        t.requires_grad and "NotImplemented" not in t.grad_fn.name() for t in returned if t.grad_fn is not None
    )
    if connected and (left or (returned and cut)):
        other = f"calls {call.name}, which has no derivative; replace it"
        causes.append(next((cause for cause, applies in _CAUSES.items() if applies(call)), other))
    return result
