"""Modes that compute a network's functions otherwise while a forward pass runs, without a copy of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor

from gradsculpt.dispatch import Call, Dispatch, Handler
from gradsculpt.kernels import normalisation, primitives
from gradsculpt.kernels.attention import attention
from gradsculpt.kernels.batch_norm import batch_norm
from gradsculpt.kernels.convolution import Reading, conv2d
from gradsculpt.kernels.max_pool import flatten, max_pool2d
from gradsculpt.kernels.refusal import not_recomputed
from gradsculpt.kernels.softplus import softplus

_PRIMITIVE: dict[str, Handler] = {
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


@contextmanager
def primitive() -> Iterator[None]:
    """Return a mode in which what PyTorch cannot differentiate to third order is computed by plain operations.

    These are attention, the normalisations by statistics of the input, Hardsigmoid, transposed convolutions with output
    padding, weight normalisation and `pdist`. Values and first derivatives are PyTorch's to rounding error, and so are
    second ones where it has them. A pass whose gradient will be differentiated runs in this mode, or in
    `twice_differentiable`, which includes it.

    Raises: ModelError if the network recomputes its activations, which would be without the mode.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0], requires_grad=True)
        >>> with primitive():
        ...     y = torch.nn.functional.hardsigmoid(x).square()
        >>> (slope,) = torch.autograd.grad(y, x, create_graph=True)
        >>> torch.autograd.grad(slope, x)  # 2 / 36
        (tensor([0.0556]),)
    """
    with not_recomputed(), Dispatch(_PRIMITIVE):
        yield


@contextmanager
def twice_differentiable(reading: Reading) -> Iterator[None]:
    """Return a mode in which a network's functions are computed by the kernels of this package where there is one.

    Values and derivatives are those of PyTorch's own functions to rounding error, up to the third where PyTorch's are
    missing or wrong, and second derivatives cost half as much or less. The kernels look at the reading to see which
    gradients are wanted.

    Raises: ModelError if the network recomputes its activations, which would be without the mode.
    """
    kernels: dict[str, Handler] = {
        **_PRIMITIVE,
        "conv2d": partial(conv2d, reading),
        "softplus": lambda call: softplus(call["input"], call["beta"]),
        "batch_norm": partial(batch_norm, reading),
        "layer_norm": normalisation.layer_norm,
        "instance_norm": normalisation.instance_norm,
        "max_pool2d": max_pool2d,
        "flatten": flatten,
    }
    with not_recomputed(), Dispatch(kernels):
        yield


@contextmanager
def softplus_for_relu(beta: float) -> Iterator[None]:
    """Return a mode in which ReLU-like functions are computed by Softplus, whether a module or a network's code calls.

    Replaced are relu, relu6, leaky_relu, prelu, threshold, hardtanh and clamp where they cut at 0, in place or not.
    What is smooth, or has curvature of its own (ELU, Hardswish), is left alone, and so is max pooling.

    Args:
        beta: Sharpness of Softplus; ReLU is the limit of a large beta.

    Raises: ModelError if the network recomputes its activations, which would be without the mode.

    Example:
        >>> import torch
        >>> with softplus_for_relu(beta=2.0):
        ...     torch.zeros(1).relu()
        tensor([0.3466])
    """
    cut = ("relu", "relu6", "threshold", "hardtanh", "clamp", "clip", "clamp_min")
    leaky = dict.fromkeys(("leaky_relu", "prelu"), partial(_leaky, beta))
    with not_recomputed(), Dispatch({**dict.fromkeys(cut, partial(_cut, beta)), **leaky}):
        yield


def _cut(beta: float, call: Call) -> Any:
    x, cut = call["input"], call.cut
    if cut is None or cut[0] != 0 or not x.is_floating_point():
        return NotImplemented
    rising, top = softplus(x, beta), cut[1]
    # What rises from 0 to a top has both corners rounded.
    return rising if top == float("inf") else rising - softplus(x - top, beta)


def _leaky(beta: float, call: Call) -> Any:
    x, slope = call["input"], call["negative_slope"]
    if slope is None:
        weight: Tensor = call["weight"]
        slope = weight.view(1, -1, *[1] * (x.ndim - 2)) if x.ndim > 1 else weight
    return slope * x + (1 - slope) * softplus(x, beta)
