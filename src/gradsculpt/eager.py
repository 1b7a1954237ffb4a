"""Networks as Python runs them, for all that must see inside: without compilation, and never TorchScript."""

from typing import Any

import torch
from torch import nn

from gradsculpt.errors import ModelError

_WRAPPED = "_orig_mod"
_ORIGINAL = "_torchdynamo_orig_callable"


def eager(model: Any, what: str) -> Any:
    """Return a model whose functions and modules can be seen as it runs, with the same tensors as the one given.

    What `torch.compile` made, of the whole or of a part, is taken back: a compiled model is answered by a copy of the
    modules, which shares parameters and buffers with them; any other by itself. The model given stays as it is.

    Args:
        model: A module or another callable.
        what: Who asks, for the message.

    Raises:
        ModelError: If the model is TorchScript, or a part of it is.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> eager(torch.compile(layer), "this") is layer, eager(layer, "this") is layer
        (True, True)
    """
    if (written := _written(model)) is not None:
        # The forward pass of a module, by which a module that was compiled twice goes too, is the module.
        owner = getattr(written, "__self__", None)
        forward = isinstance(owner, nn.Module) and written.__name__ == "forward"
        return eager(owner if forward else written, what)
    if isinstance(model, torch.jit.ScriptFunction):
        raise _scripted("the model", str(model.name), what)
    if not isinstance(model, nn.Module):
        return model
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise _scripted(f"the module {name}" if name else "the model", str(module.original_name), what)
    while _is_wrapper(model):
        model = model._orig_mod
    return _uncompiled(model, {}) if any(map(_is_compiled, model.modules())) else model


def plain_name(name: str) -> str:
    """Return the dotted name that a module has in the eager form of a network, from its name in a compiled one."""
    return ".".join(part for part in name.split(".") if part != _WRAPPED)


def _scripted(place: str, name: str, what: str) -> ModelError:
    return ModelError(
        f"{place} is TorchScript ({name}), which hides what it computes, and {what} has to see inside the network; "
        "pass the Python module that it was made from."
    )


def _is_wrapper(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" and _WRAPPED in module._modules


def _is_compiled(module: nn.Module) -> bool:
    call = getattr(module, "_compiled_call_impl", None)
    return _is_wrapper(module) or call is not None or _written(module.__dict__.get("forward")) is not None


def _written(function: Any) -> Any:
    """Return the function that a compiled one was made from; None if it is not compiled."""
    # Wrappers of a compiled function by `functools.wraps` have the attribute too, but are none.
    if isinstance(function, nn.Module) or getattr(function, "_torchdynamo_wrapper_id", None) != id(function):
        return None
    original = getattr(function, _ORIGINAL)
    inlined = getattr(getattr(original, "__code__", None), "co_filename", "").endswith("external_utils.py")
    return original.__wrapped__ if inlined else original


def _uncompiled(module: nn.Module, copies: dict[nn.Module, nn.Module]) -> nn.Module:
    """Return a copy of a tree of modules down to the tensors, which are shared; what occurs twice still does."""
    if _is_wrapper(module):
        return _uncompiled(module._modules[_WRAPPED], copies)  # type: ignore[arg-type]
    if module not in copies:
        copy = copies[module] = module.__class__.__new__(module.__class__)
        state = dict(module.__dict__)
        written = _written(state.get("forward"))
        if written is not None:
            bound = getattr(written, "__self__", None) is module
            state["forward"] = written.__func__.__get__(copy) if bound else written
        containers = {key: dict(value) for key, value in state.items() if key in ("_parameters", "_buffers")}
        copy.__dict__.update({**state, **containers, "_compiled_call_impl": None, "_modules": {}})
        for name, child in module._modules.items():
            copy._modules[name] = None if child is None else _uncompiled(child, copies)
    return copies[module]
