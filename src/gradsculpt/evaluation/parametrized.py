"""Weights that are computed from other tensors before each pass: what they are, and how they are given others."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def copied(value: Any, network: nn.Module) -> Any:
    """Return a deep copy of something that may hold a network.

    Tensors that a module keeps for the next pass, such as the weight of the old form of weight normalisation, are
    copied without the graph that they have; PyTorch alone refuses to.
    """
    kept = (t for module in network.modules() for t in vars(module).values() if isinstance(t, Tensor) and not t.is_leaf)
    return copy.deepcopy(value, {id(t): t.detach().clone() for t in kept})


def learnt(module: nn.Module) -> dict[str, Tensor]:
    """Return what a module itself has learnt: its parameters, what its weights are computed from, and statistics."""
    tensors: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
    buffers = dict(module.named_buffers(recurse=False))
    if hasattr(module, "reset_running_stats") or frozen_statistics(module) or any(_hooks(module)):
        tensors |= buffers
    for name, step in below(module).items():
        tensors |= {f"{name}.{key}": t for key, t in step.named_parameters(recurse=False)}
        tensors |= {f"{name}.{key}": t for key, t in step.named_buffers(recurse=False)}
    return tensors


def below(module: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that compute the weights of one, by their names in it."""
    steps = _parametrizations(module)
    return {} if steps is None else dict(steps.named_modules(prefix="parametrizations"))


def is_computed(module: nn.Module) -> bool:
    """Return whether weights of a module are computed from other tensors before each pass."""
    return _parametrizations(module) is not None or any(_hooks(module))


def frozen_statistics(module: nn.Module) -> dict[str, float]:
    """Return what a batch normalisation whose weights are buffers has before training; nothing of other modules."""
    start = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    buffers = dict(module.named_buffers(recurse=False))
    return start if start.keys() <= buffers.keys() else {}


def plain(module: nn.Module) -> nn.Module:
    """Return a copy of a module on the CPU, in which weights that were computed are parameters of its own."""
    own: nn.Module = copied(module, module).to("cpu").eval()
    for key, hook in list(_hooks(own)):
        hook.remove(own)
        own._forward_pre_hooks.pop(key)
    if (steps := _parametrizations(own)) is not None:
        weights = {name: getattr(own, name).detach().clone() for name in steps}
        own.__class__ = type_before_parametrizations(own)
        del own._modules["parametrizations"]
        for name, weight in weights.items():
            own.register_parameter(name, nn.Parameter(weight))
    return own


def enter(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give a module other weights, through what computes them; those that it can have may be others than the values.

    A parametrisation without a way back is left out on it; if what is then entered has not even the right shape, it is
    drawn, as much spread as before.
    """
    hooked, steps = {_name(hook): hook for _, hook in _hooks(module)}, _parametrizations(module)
    with torch.no_grad():
        for name, value in values.items():
            if steps is not None and name in steps:
                _enter_through(steps[name], value)
            elif name in hooked:
                for each, tensor in _sources(hooked[name], value).items():
                    getattr(module, each).copy_(tensor)
            else:
                getattr(module, name).copy_(value)


def drawn_like(t: Tensor) -> Tensor:
    """Return random numbers with the mean and the standard deviation of others."""
    wide = t.to(torch.promote_types(t.dtype, torch.float32))
    return (torch.randn(t.shape, dtype=wide.dtype) * wide.std(correction=0) + wide.mean()).to(t.dtype)


def _parametrizations(module: nn.Module) -> nn.ModuleDict | None:
    steps = getattr(module, "parametrizations", None)
    return steps if isinstance(steps, nn.ModuleDict) else None


def _hooks(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Yield the hooks that compute a weight before a pass, in the forms before parametrisations."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm | SpectralNorm | BasePruningMethod):
            yield key, hook


def _name(hook: Any) -> str:
    return str(hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name)


def _sources(hook: Any, value: Tensor) -> dict[str, Tensor]:
    """Return what a hook computes the value from."""
    name = _name(hook)
    if isinstance(hook, WeightNorm):
        return {f"{name}_g": torch.norm_except_dim(value, 2, hook.dim), f"{name}_v": value}
    if isinstance(hook, SpectralNorm):
        u, v = _singular(hook.reshape_weight_to_matrix(value))
        return {f"{name}_orig": value, f"{name}_u": u, f"{name}_v": v}
    return {f"{name}_orig": value}


def _enter_through(steps: Any, value: Tensor) -> None:
    originals = [*steps.parameters(recurse=False), *steps.buffers(recurse=False)]
    for step in reversed(steps):
        try:
            value = step.right_inverse(value)
        except (AttributeError, RuntimeError, ValueError):
            continue  # as where the parametrisation is registered: what it starts from takes the value itself
    values = [value] if isinstance(value, Tensor) else list(value)
    fitting = [t.shape for t in values] == [t.shape for t in originals]
    for tensor, start in zip(originals, values if fitting else map(drawn_like, originals), strict=True):
        tensor.copy_(start)
    current = list(originals)
    for step in steps:
        if isinstance(step, _SpectralNorm) and current[0].ndim > 1:
            u, v = _singular(step._reshape_weight_to_matrix(current[0]))
            step._u.copy_(u)
            step._v.copy_(v)
        current = [step(*current)]


def _singular(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the singular vectors of the largest singular value, to which power iterations would come in training."""
    u, _, vh = torch.linalg.svd(matrix.to(torch.promote_types(matrix.dtype, torch.float32)), full_matrices=False)
    return u[:, 0].to(matrix.dtype), vh[0].conj().to(matrix.dtype)
