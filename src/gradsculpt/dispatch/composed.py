"""Functions of PyTorch that are written in Python out of others, which a mode would not see by itself."""

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch.nn.functional as F

COMPOSED: frozenset[Any] = frozenset({F.multi_head_attention_forward})
"""Those that hide functions with derivatives or rules of their own."""


@cache
def body(function: FunctionType) -> Callable[..., Any]:
    """Return what a function does once no mode has answered it, so that the functions it calls can be answered.

    Called itself inside a mode, it would hand itself to the mode again, and for ever.
    """
    scope = {**function.__globals__, "has_torch_function": lambda arguments: False}
    copied = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied
