"""Modes that compute a network's functions otherwise while a forward pass runs, without a copy of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradsculpt.dispatch import Call, Dispatch, Handler
from gradsculpt.kernels import gpu, normalisation, primitives
from gradsculpt.kernels.attention import attention
from gradsculpt.kernels.batch_norm import batch_norm
from gradsculpt.kernels.convolution import Reading, conv2d, conv2d_of_step
from gradsculpt.kernels.max_pool import flatten, max_pool2d
from gradsculpt.kernels.softplus import softplus

_PRIMITIVE = {
    "scaled_dot_product_attention": attention,
    "layer_norm": primitives.layer_norm,
    "native_layer_norm": primitives.native_layer_norm,
    "rms_norm": primitives.rms_norm,
    "batch_norm": primitives.batch_norm,
    "instance_norm": primitives.instance_norm,
    "hardsigmoid": primitives.hardsigmoid,
    **{f"conv_transpose{n}d": primitives.conv_transpose for n in (1, 2, 3)},
    "_weight_norm": primitives.weight_norm,
    "pdist": primitives.pdist,
}


def primitive() -> Dispatch:
    """Return a mode in which what PyTorch cannot differentiate to third order is computed by plain operations.

    These are attention, the normalisations by statistics of the input, Hardsigmoid, transposed convolutions with output
    padding, weight normalisation and `pdist`. Values and first derivatives are PyTorch's to rounding error, and so are
    second ones where it has them. A pass whose gradient will be differentiated runs in this mode, or in
    `twice_differentiable`, which includes it.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0], requires_grad=True)
        >>> with primitive():
        ...     y = torch.nn.functional.hardsigmoid(x).square()
        >>> (slope,) = torch.autograd.grad(y, x, create_graph=True)
        >>> torch.autograd.grad(slope, x)  # 2 / 36
        (tensor([0.0556]),)
    """
    return Dispatch(_PRIMITIVE)


def twice_differentiable(reading: Reading) -> Dispatch:
    """Return a mode in which a network's functions are computed by the kernels of this package where there is one.

    Values and derivatives are those of PyTorch's own functions to rounding error, up to the third where PyTorch's are
    missing or wrong, and second derivatives cost half as much or less. The kernels look at the reading to see which
    gradients are wanted.
    """
    return Dispatch(
        {
            **_PRIMITIVE,
            "conv2d": partial(conv2d, reading),
            "softplus": lambda call: softplus(call["input"], call["beta"]),
            "silu": _silu,
            "gelu": _gelu,
            "batch_norm": partial(batch_norm, reading),
            "layer_norm": normalisation.layer_norm,
            "instance_norm": normalisation.instance_norm,
            "max_pool2d": max_pool2d,
            "flatten": flatten,
        }
    )


@contextmanager
def quick_step(*, modes: bool = True) -> Iterator[None]:
    """Use the kernels of a GPU, in training steps that are recorded, so that what they cost the host does not matter.

    What is never differentiated twice is computed by PyTorch's own functions, but for max pooling and the gradients of
    biases of convolutions, which take it several times as long as memory does. Values and derivatives are the same to
    rounding error.

    Args:
        modes: Whether these two are answered for; not in networks with compiled parts, which no mode sees.
    """
    handlers = {"conv2d": _kept(conv2d_of_step), "max_pool2d": _kept(_max_pool2d_of_step)}
    with gpu.used(), Dispatch(handlers, recomputes=True) if modes else nullcontext():
        yield


def _kept(handler: Handler) -> Handler:
    """Return a handler that leaves alone what is computed anew on the way back, where no mode may be on."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks
    return lambda call: handler(call) if hooks(False) is None else NotImplemented


def _max_pool2d_of_step(call: Call) -> Any:
    return max_pool2d(call) if gpu.runs(call["input"]) else NotImplemented


def _silu(call: Call) -> Any:
    return _on_gpu(call, "silu")


def _gelu(call: Call) -> Any:
    return _on_gpu(call, "gelu") if call["approximate"] in (None, "none") else NotImplemented


def _on_gpu(call: Call, name: str) -> Any:
    """Return an activation by the kernels of a GPU, where they run: PyTorch's second derivative is many operations."""
    z = call["input"]
    if not gpu.runs(z):
        return NotImplemented
    from gradsculpt.kernels.gpu.activation import activation, overwritten

    return activation(z, name) if call.overwritten is None else overwritten(z, name)


def softplus_for_relu(beta: float) -> Dispatch:
    """Return a mode in which ReLU-like functions are computed by Softplus, whether a module or a network's code calls.

    Replaced are relu, relu6, leaky_relu, prelu, threshold, hardtanh and clamp where they cut at 0, in place or not; the
    maximum with zeros, x * (x > 0) and where(x > 0, x, 0). What is smooth, or has curvature of its own (ELU,
    Hardswish), is left alone, and so is max pooling.

    Args:
        beta: Sharpness of Softplus; ReLU is the limit of a large beta.

    Example:
        >>> import torch
        >>> with softplus_for_relu(beta=2.0):
        ...     torch.zeros(1).relu()
        tensor([0.3466])
    """

    def smoothed(call: Call) -> Any:
        applies, smooth = _SMOOTHED[call.name]
        return smooth(beta, call) if applies(call) else NotImplemented

    return Dispatch(dict.fromkeys(_SMOOTHED, smoothed))


def noted_relu(calls: list[str]) -> Dispatch:
    """Return a mode that leaves all as it is, and notes the calls that `softplus_for_relu` would replace, by name.

    Example:
        >>> import torch
        >>> calls = []
        >>> with noted_relu(calls):
        ...     torch.zeros(1).relu().clamp(min=-1.0)
        tensor([0.])
        >>> calls
        ['relu']
    """

    def note(call: Call) -> Any:
        if _SMOOTHED[call.name][0](call):
            calls.append(call.name)
        return NotImplemented

    return Dispatch(dict.fromkeys(_SMOOTHED, note))


def _cuts_at_zero(call: Call) -> bool:
    return call.cut is not None and call.cut[0] == 0 and bool(call["input"].is_floating_point())


def _cut(beta: float, call: Call) -> Any:
    x, (_, top) = call["input"], call.cut or (0.0, float("inf"))
    rising = softplus(x, beta)
    # What rises from 0 to a top has both corners rounded.
    return rising if top == float("inf") else rising - softplus(x - top, beta)


def _of_zeros(call: Call) -> bool:
    """Tell whether one of two tensors, and one alone, is zero everywhere."""
    floating = len(call.tensors) == 2 and all(each.is_floating_point() for each in call.tensors)
    return floating and bool(call.tensors[0].any()) != bool(call.tensors[1].any())


def _maximum(beta: float, call: Call) -> Any:
    return softplus(call.tensors[0] + call.tensors[1], beta)  # the zeros add nothing but their shape


def _masks(call: Call) -> bool:
    """Tell whether one of two tensors says where the other is positive, and the rest becomes 0."""
    masks, values = ([each for each in call.tensors if (each.dtype == torch.bool) is bool_] for bool_ in (True, False))
    if len(masks) != 1 or not values or values[0].shape != masks[0].shape or not values[0].is_floating_point():
        return False
    given = (*call.args, *call.kwargs.values())
    first = any(values[0] is each for each in given[:2])  # what comes third is what `where` takes elsewhere
    zero = all(not bool(each.any() if isinstance(each, Tensor) else each) for each in given[2:])
    return first and zero and torch.equal(masks[0], values[0] > 0)


def _masked(beta: float, call: Call) -> Any:
    return softplus(next(each for each in call.tensors if each.dtype != torch.bool), beta)


def _leaky(beta: float, call: Call) -> Any:
    x, slope = call["input"], call["negative_slope"]
    if slope is None:
        weight: Tensor = call["weight"]
        slope = weight.view(1, -1, *[1] * (x.ndim - 2)) if x.ndim > 1 else weight
    return slope * x + (1 - slope) * softplus(x, beta)


_SMOOTHED: Mapping[str, tuple[Callable[[Call], bool], Callable[[float, Call], Any]]] = {
    **dict.fromkeys(("relu", "relu6", "threshold", "hardtanh", "clamp", "clip", "clamp_min"), (_cuts_at_zero, _cut)),
    **dict.fromkeys(("leaky_relu", "prelu"), (lambda call: True, _leaky)),
    **dict.fromkeys(("maximum", "max"), (_of_zeros, _maximum)),
    **dict.fromkeys(("mul", "multiply", "where"), (_masks, _masked)),
}
"""What Softplus stands in for: when, and how."""
