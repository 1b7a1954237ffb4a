"""What PyTorch's functions are called, in all their spellings, and what kinds of them there are."""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Kind(Enum):
    """What a function does, as far as rules of propagation tell functions apart."""

    RECTIFIER = "lets through what is positive, sharply or smoothly"
    CLAMP = "cuts at two levels; a rectifier if the lower one is 0"
    SATURATING = "another function of each entry that networks use as an activation"
    WEIGHTED = "a linear map with weights"
    AVERAGE = "means of entries"
    MAXIMUM = "the largest of entries"
    NORMALISATION = "subtracts and divides by statistics"
    SUM = "the sum of two tensors, or one plus a constant"
    SCALING = "a product or quotient; linear where one of the two is constant"
    DROPOUT = "leaves entries out in training"
    PADDING = "adds entries around"
    ARRANGING = "the same entries in another shape"
    FUSED = "several steps at once, which have no rule as one"
    OTHER = "anything else"


@dataclass(frozen=True)
class Operator:
    """A function of PyTorch, whichever way it is spelled.

    Attributes:
        name: Its bare name: `relu` for `F.relu`, `torch.relu_`, `Tensor.relu` and what `nn.ReLU` calls.
        kind: What it does.
        parameters: Names of its parameters by position; empty where nobody asks for an argument by name.
        defaults: Their values where a call leaves them out.
    """

    name: str
    kind: Kind = Kind.OTHER
    parameters: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spelling:
    """One of the functions by which an operator is called.

    Attributes:
        operator: Which.
        function: The function that computes it out of place.
        overwrites: Whether this one overwrites its first argument, always.
        flag: Position of the argument `inplace`, if there is one.
    """

    operator: Operator
    function: Callable[..., Any]
    overwrites: bool = False
    flag: int | None = None


SHARP: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "rrelu": nn.RReLU,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "selu": nn.SELU,
    "hardswish": nn.Hardswish,
    "threshold": nn.Threshold,
}
"""The rectifiers with a jump in the value, the slope or the curvature, and the modules that compute them."""

_CONVOLUTION = "(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)"
_TRANSPOSED = "(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1)"
_POOLING = "(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False)"
_ADAPTIVE = "(input, output_size, return_indices=False)"

_TABLE: Mapping[Kind, tuple[str, ...]] = {
    Kind.RECTIFIER: (
        *(f"{name}(input)" for name in ("relu", "relu6", "rrelu", "elu", "celu", "selu", "hardswish")),
        *(f"{name}(input)" for name in ("gelu", "silu", "mish")),
        "leaky_relu(input, negative_slope=0.01)",
        "prelu(input, weight)",
        "threshold(input, threshold, value)",
        "softplus(input, beta=1, threshold=20)",
    ),
    Kind.CLAMP: (
        "hardtanh(input, min_val=-1.0, max_val=1.0)",
        "clamp(input, min=None, max=None)",
        "clip(input, min=None, max=None)",
        "clamp_min(input, min)",
    ),
    Kind.SATURATING: ("sigmoid", "tanh", "hardsigmoid(input)", "softsign", "logsigmoid"),
    Kind.WEIGHTED: (
        "linear(input, weight, bias=None)",
        *(f"conv{n}d{_CONVOLUTION}" for n in (1, 2, 3)),
        *(f"conv_transpose{n}d{_TRANSPOSED}" for n in (1, 2, 3)),
    ),
    Kind.AVERAGE: (*(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)), "mean", "interpolate"),
    Kind.MAXIMUM: (
        *(f"max_pool{n}d{_POOLING}" for n in (1, 2, 3)),
        *(f"adaptive_max_pool{n}d{_ADAPTIVE}" for n in (1, 2, 3)),
    ),
    Kind.NORMALISATION: (
        "batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5)",
    ),
    Kind.SUM: ("add(input, other, alpha=1)", "sub(input, other, alpha=1)"),
    Kind.SCALING: ("mul", "multiply", "div", "divide", "true_divide", "rsub", "neg"),
    Kind.DROPOUT: ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"),
    Kind.PADDING: ("pad(input, pad, mode='constant', value=None)", "constant_pad_nd(input, pad, value=0)"),
    Kind.ARRANGING: (
        "flatten(input, start_dim=0, end_dim=-1)",
        *("reshape", "view", "permute", "transpose", "contiguous"),
    ),
    Kind.FUSED: (
        "layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5)",
        "native_layer_norm(input, normalized_shape, weight, bias, eps)",
        "rms_norm(input, normalized_shape, weight=None, eps=None)",
        "instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, "
        "momentum=0.1, eps=1e-5)",
        "scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, "
        "enable_gqa=False)",
        "_weight_norm(v, g, dim=0)",
        "pdist(input, p=2.0)",
    ),
    Kind.OTHER: ("maximum(input, other)", "max(input, other=None)"),
}
_HOMES = (Tensor, torch, F)
_STATEMENTS = {"add": "__iadd__", "sub": "__isub__", "mul": "__imul__", "div": "__itruediv__"}
_OPERATORS = {"add": ("__add__", "__radd__"), "sub": ("__sub__",), "mul": ("__mul__", "__rmul__")}
_OPERATORS |= {"div": ("__truediv__", "__div__"), "neg": ("__neg__",), "rsub": ("__rsub__",)}


def spelling(func: Callable[..., Any]) -> Spelling:
    """Return what a function is; one that the table lacks counts by its own bare name."""
    return _SPELLINGS.get(func) or Spelling(_BY_NAME.get(name := bare_name(func)) or Operator(name), func)


def bare_name(func: Callable[..., Any]) -> str:
    """Return the name of the operator that a function computes."""
    spelled = _SPELLINGS.get(func)
    return getattr(func, "__name__", "").strip("_") if spelled is None else spelled.operator.name


def of_kind(kind: Kind) -> list[str]:
    """Return the names of the operators of a kind."""
    return [operator.name for operator in _BY_NAME.values() if operator.kind is kind]


def _operators() -> Iterator[Operator]:
    for kind, signatures in _TABLE.items():
        for signature in signatures:
            name, bracket, _ = signature.partition("(")
            definition = ast.parse(f"def {signature if bracket else f'{name}()'}: pass").body[0]
            arguments = definition.args  # type: ignore[attr-defined]
            names = tuple(argument.arg for argument in arguments.args)
            values = [ast.literal_eval(value) for value in arguments.defaults]
            yield Operator(name, kind, names, dict(zip(names[len(names) - len(values) :], values, strict=True)))


def _spelled(operator: Operator) -> Iterator[tuple[Callable[..., Any], Spelling]]:
    """Yield every function that computes an operator."""
    name = operator.name
    plain = [function for home in _HOMES if (function := getattr(home, name, None)) is not None]
    plain += [getattr(Tensor, each) for each in _OPERATORS.get(name, ()) if hasattr(Tensor, each)]
    for function in plain:
        names = list(inspect.signature(function).parameters) if inspect.isfunction(function) else []
        yield function, Spelling(operator, function, flag=names.index("inplace") if "inplace" in names else None)
    if operator.kind is Kind.ARRANGING:
        return  # `transpose_` gives the tensor itself another shape, and overwrites no entry
    for home in _HOMES:  # what statements such as `+=` call is in the first only
        for each in (f"{name}_", _STATEMENTS.get(name, "")):
            if hasattr(home, each):
                yield getattr(home, each), Spelling(operator, getattr(home, name, plain[0]), overwrites=True)


def _view(x: Tensor, *size: Any, **kwargs: Any) -> Tensor:
    """Compute `view`, by a copy where a map is laid out otherwise than the network laid out the images."""
    if any(isinstance(value, torch.dtype) for value in (*size, *kwargs.values())):
        return x.view(*size, **kwargs)
    return x.reshape(*size, *kwargs.values())


_BY_NAME: dict[str, Operator] = {operator.name: operator for operator in _operators()}
_SPELLINGS: dict[Callable[..., Any], Spelling] = {
    function: spelled for operator in _BY_NAME.values() for function, spelled in _spelled(operator)
}
_with_indices = torch.adaptive_max_pool1d  # this one always returns where the maxima are, too
_SPELLINGS[_with_indices] = Spelling(Operator("adaptive_max_pool1d_with_indices"), _with_indices)
_SPELLINGS[Tensor.view] = Spelling(_BY_NAME["view"], _view)
# The same operators with their arguments in another order.
for _function, _uses in ((torch.batch_norm, "training"), (torch.instance_norm, "use_input_stats")):
    _names = ("input", "weight", "bias", "running_mean", "running_var", _uses, "momentum", "eps", "cudnn_enabled")
    _named = _BY_NAME[bare_name(_function)]
    _SPELLINGS[_function] = Spelling(Operator(_named.name, _named.kind, _names), _function)
