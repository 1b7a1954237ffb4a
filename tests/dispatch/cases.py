"""Every operator, written down by hand: what kind it is, what it can be called with, and how it can be spelled."""

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.dispatch import Kind

Function = Callable[..., Any]

DIMS = (1, 2, 3)

KINDS: dict[Kind, set[str]] = {
    Kind.RECTIFIER: {
        *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish"),
        *("threshold", "softplus"),
    },
    Kind.CLAMP: {"hardtanh", "clamp", "clip", "clamp_min"},
    Kind.SATURATING: {"sigmoid", "tanh", "hardsigmoid", "softsign", "logsigmoid"},
    Kind.WEIGHTED: {"linear", *(f"conv{n}d" for n in DIMS), *(f"conv_transpose{n}d" for n in DIMS)},
    Kind.AVERAGE: {"mean", "interpolate", *(f"{kind}avg_pool{n}d" for n in DIMS for kind in ("", "adaptive_"))},
    Kind.MAXIMUM: {f"{kind}max_pool{n}d" for n in DIMS for kind in ("", "adaptive_")},
    Kind.NORMALISATION: {"batch_norm"},
    Kind.SUM: {"add", "sub"},
    Kind.SCALING: {"mul", "multiply", "div", "divide", "true_divide", "rsub", "neg"},
    Kind.DROPOUT: {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"},
    Kind.PADDING: {"pad", "constant_pad_nd"},
    Kind.ARRANGING: {"flatten", "reshape", "view", "permute", "transpose", "contiguous"},
    Kind.FUSED: {
        *("layer_norm", "native_layer_norm", "rms_norm", "instance_norm", "pdist"),
        *("scaled_dot_product_attention", "_weight_norm"),
    },
    Kind.OTHER: {"maximum", "max"},
}


def images(dims: int = 1) -> Tensor:
    """Return [2, 4, 6, ...] of both signs, with so many dimensions after the channels."""
    generator = torch.Generator().manual_seed(dims)
    return torch.randn(2, 4, *[6] * dims, generator=generator, dtype=torch.float64)


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "prelu": (torch.full((4,), 0.3).double(),),
    "rrelu": (0.1, 0.3, False),
    "threshold": (0.1, 0.2),
    "leaky_relu": (0.2,),
    "hardtanh": (-0.5, 0.5),
    "clamp": (0.0,),
    "clip": (0.0,),
    "clamp_min": (0.0,),
    "linear": (images()[0, :3],),
    **{f"{kind}{n}d": (images(n)[:, :, :2],) for n in DIMS for kind in ("conv",)},
    **{f"conv_transpose{n}d": (images(n).transpose(0, 1),) for n in DIMS},
    **{f"{kind}_pool{n}d": (2,) for n in DIMS for kind in ("avg", "max", "adaptive_avg", "adaptive_max")},
    "mean": (1,),
    "interpolate": (9,),
    "batch_norm": (torch.full((4,), 0.5).double(), torch.full((4,), 2.0).double()),
    **{name: (images().flip(0),) for name in ("add", "sub", "mul", "multiply", "div", "divide", "true_divide", "rsub")},
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"), (0.0, True)),
    "layer_norm": ((6,),),
    "rms_norm": ((6,),),
    "scaled_dot_product_attention": (images().flip(0), images().flip(1)),
    "_weight_norm": (images()[:, :1, :1],),
    "pad": ((1, 2),),
    "constant_pad_nd": ((1, 2), 0.5),
    "flatten": (1,),
    "reshape": ((2, -1),),
    "view": ((2, -1),),
    "permute": ((0, 2, 1),),
    "transpose": (1, 2),
    "maximum": (images().flip(0),),
    "max": (images().flip(0),),
}

SIGNS: dict[str, tuple[Function, ...]] = {
    "add": (operator.add, operator.iadd, Tensor.__radd__),
    "sub": (operator.sub, operator.isub),
    "mul": (operator.mul, operator.imul, Tensor.__rmul__),
    "div": (operator.truediv, operator.itruediv),
    "neg": (operator.neg,),
    "rsub": (Tensor.__rsub__,),
}
IN_PLACE_SIGNS = (operator.iadd, operator.isub, operator.imul, operator.itruediv)

# Of another signature, of another result, or of matrices alone; each has a test of its own.
APART: tuple[Function, ...] = (
    torch.batch_norm,
    torch.instance_norm,
    torch.adaptive_max_pool1d,
    torch.native_layer_norm,
)
APART += (torch.pdist, F.pdist)


class Case(NamedTuple):
    """One way to write one operator."""

    name: str
    label: str
    function: Function
    in_place: bool
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def images(self) -> Tensor:
        """Return what it is tried on."""
        digit = self.name[-2] if self.name[-2:] in ("1d", "2d", "3d") else "1"
        return images(int(digit))

    def __call__(self, x: Tensor) -> Any:
        """Call it as a network would."""
        return self.function(x, *ARGUMENTS.get(self.name, ()), **self.kwargs)


def cases() -> Iterator[Case]:
    """Yield every spelling that PyTorch has of every operator."""
    for name in sorted(set().union(*KINDS.values())):
        for home in (Tensor, torch, F):
            where = home.__name__.removeprefix("torch.nn.")
            for each, in_place in ((name, False), (f"{name}_", True)):
                function = getattr(home, each, None)
                if function is not None and function not in APART and each != "transpose_":
                    yield Case(name, f"{where}.{each}", function, in_place)
                    if home is F and not in_place and "inplace" in _parameters(function):
                        yield Case(name, f"{where}.{each}(inplace)", function, True, {"inplace": True})
        for sign in SIGNS.get(name, ()):
            yield Case(name, f"{name} by {sign.__name__}", sign, sign in IN_PLACE_SIGNS)


def _parameters(function: Function) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return code.co_varnames[: code.co_argcount] if code is not None else ()


CASES = list(cases())
