"""Twice differentiable networks: Softplus in place of ReLU-like activations."""

import traceback
from typing import Any

from torch import Tensor, nn

from gradsculpt import checks, dispatch, kernels
from gradsculpt.dispatch import SHARP, Call, Dispatch, Kind
from gradsculpt.eager import eager
from gradsculpt.errors import ModelError, first_line
from gradsculpt.models.classifier import noise, untouched

_SIZES = (32, 64, 224)


def to_softplus(network: nn.Module, beta: float = 3.0, *, example: Tensor | None = None) -> int:
    """Swap every ReLU-like activation of a network for Softplus, in place.

    Swapped are the rectifiers that are not twice differentiable: ReLU, ReLU6, LeakyReLU, PReLU, RReLU, ELU, CELU, SELU,
    Hardswish, Threshold, and Hardtanh with lower end 0. Left alone are smooth activations (GELU, SiLU, Mish, Tanh,
    Sigmoid, Softplus), and pieces with corners that Softplus could not stand in for: gates (Hardsigmoid), functions
    bounded on both sides of 0 (Hardtanh), max pooling.

    A swap reaches modules only. The network is therefore run once afterwards, and refused if its code still calls
    a ReLU-like function such as `torch.relu` or `clamp(min=0)`. Corners written out by hand, `x * (x > 0)` say, are
    not seen.

    Args:
        network: The network to change.
        beta: Sharpness of Softplus; ReLU is the limit of a large beta.
        example: A batch of the network's input, for the run; by default noise images [2, 3, S, S] of the first size S
            among 32, 64 and 224 that the network takes.

    Returns:
        How many activation modules were swapped; a module that is used at several places counts once.

    Raises:
        ModelError: If there is nothing to swap, or a ReLU-like function remains; the network is then unchanged.
        ArgumentError: If `beta` is below 0.001.

    Shape and units: the example is a batch [N, C, H, W] as the network takes it.
    Source: Joo et al., "Towards More Robust Interpretation via Local Gradient Alignment", 2023, experiments:
        "We replaced all ReLU activations with Softplus(beta=3)".
    Deviation: The paper's networks have no activation but ReLU; here the other rectifiers are swapped as well.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU())
        >>> to_softplus(network), network[2]
        (1, Softplus(beta=3.0, threshold=20.0))
    """
    checks.at_least("the beta of Softplus", beta, 1e-3)
    swapped = _swap(network, beta)
    # From here on a refusal has to put the old modules back.
    try:
        if remaining := _rectifier_calls(network, example):
            raise ModelError(
                f"the network calls {', '.join(remaining)} in its own code, where no swap can reach: it would not be "
                "smooth. Give it a module for each use (self.act = nn.ReLU()), choose another network, or leave "
                "Softplus out."
            )
        if not swapped:
            raise ModelError(
                "the network has no ReLU-like activation, so there is nothing to swap: it is as smooth already as "
                "Softplus could make it. Leave Softplus out."
            )
    except ModelError:
        for parent, name, old in swapped:
            setattr(parent, name, old)
        raise
    for module in network.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and isinstance(module.activation, nn.Softplus):
            # Otherwise its fused path for inference goes on computing the activation that it saw at construction.
            module.activation_relu_or_gelu = 0
    return len({id(old) for _, _, old in swapped})


def has_corners(network: nn.Module) -> bool:
    """Tell whether a network has activations that `to_softplus` would swap."""
    return any(map(_is_rectifier, network.modules()))


def _swap(network: nn.Module, beta: float) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replace the rectifiers; return (parent, name, old) for each place. What was shared stays shared."""
    children = [(parent, *child) for parent in network.modules() for child in parent._modules.items()]
    places = [(parent, name, child) for parent, name, child in children if child is not None and _is_rectifier(child)]
    new = {id(old): kernels.Softplus(beta=beta).train(old.training) for _, _, old in places}
    for parent, name, old in places:
        setattr(parent, name, new[id(old)])
    return places


def _is_rectifier(module: nn.Module) -> bool:
    # ReLU6 is a Hardtanh in torch, and some networks write it as one.
    return isinstance(module, tuple(SHARP.values())) or (isinstance(module, nn.Hardtanh) and module.min_val == 0)


def _rectifier_calls(network: nn.Module, example: Tensor | None) -> list[str]:
    """Run the network once and name the ReLU-like functions that it calls, with the line that does."""
    eager(network, "a swap of activations")
    failures = []
    for x in [example] if example is not None else [noise(size, network) for size in _SIZES]:
        calls: list[str] = []

        def note(call: Call, calls: list[str] = calls) -> Any:
            if _is_sharp(call) and not (caller := _caller()).startswith(f" ({kernels.__name__}."):
                calls.append(call.name + caller)
            return NotImplemented

        try:
            with untouched(network), Dispatch({}, otherwise=note):
                network(x)
        except Exception as error:
            failures.append(f"{list(x.shape)}: {first_line(error)}")
        else:
            return list(dict.fromkeys(calls))
    raise ModelError(
        "the network could not be run to see whether it is smooth: "
        f"{'; '.join(failures)}. Pass a batch that it takes as example=..."
    )


def _is_sharp(call: Call) -> bool:
    if not call.tensors or not call.tensors[0].is_floating_point():
        return False
    if call.name in ("maximum", "max"):
        return len(call.tensors) == 2 and any(tensor.numel() > 0 and not tensor.any() for tensor in call.tensors)
    return call.name in SHARP or (call.operator.kind is Kind.CLAMP and call.is_rectifier)


def _caller() -> str:
    """Return the line of the network's code that is being run; nothing if that is all PyTorch's."""
    for frame, line in traceback.walk_stack(None):
        module = frame.f_globals.get("__name__", "")
        if frame.f_code is _rectifier_calls.__code__:
            break
        if not module.startswith(("torch.", f"{dispatch.__name__}.")) and module not in ("torch", __name__):
            return f" ({module}:{line})"
    return ""
