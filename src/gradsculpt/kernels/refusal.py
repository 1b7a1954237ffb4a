"""What PyTorch says where a function cannot be differentiated as often as is asked, in words for who asked."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import torch
from torch import Tensor
from torch.autograd.graph import disable_saved_tensors_hooks

from gradsculpt.errors import ModelError

_UNKNOWN = (
    r"derivative for '?(?:aten::)?_*(?P<name>\w+?)(?:_backward)?'? is not implemented",
    r"(?P<name>batch_norm) does not support 3rd",
    r"[Dd]ouble backwards? (?:on|for|of) (?P<name>\w+) (?:is )?not (?:supported|implemented)",
    r"differentiate twice a function that was marked with @?once_differentiable(?P<name>)",
)
_CHECKPOINTED = re.compile(r"use_reentrant|torch\.utils\.checkpoint|CheckpointFunction|saved_tensors_hooks")


@contextmanager
def refused_by_name() -> Iterator[None]:
    """Turn what PyTorch raises where a derivative does not exist, within the block, into a `ModelError`.

    It names the function that the network computes with, and says what to put in its place. Any other error stays.

    Example:
        >>> with refused_by_name():
        ...     raise RuntimeError("derivative for aten::_cudnn_rnn_backward is not implemented")
        Traceback (most recent call last):
        gradsculpt.errors.ModelError: PyTorch cannot differentiate cudnn_rnn as often as this takes, ...
    """
    try:
        yield
    except RuntimeError as error:
        message = refusal(str(error))
        if message is None:
            raise
        raise ModelError(message) from error


@contextmanager
def not_recomputed() -> Iterator[None]:
    """Refuse networks that recompute their activations, for a forward pass that computes some functions otherwise.

    What is kept for the backward pass, and what it is computed from again without these functions, would not fit; where
    shapes happen to agree nobody would notice. Hooks of the caller's own, around the block, stay in force.
    """
    with ExitStack() as block:
        block.enter_context(refused_by_name())
        if torch.is_grad_enabled():
            with suppress(RuntimeError):  # if there are such hooks already
                block.enter_context(disable_saved_tensors_hooks("torch.utils.checkpoint cannot be used here"))
        yield


def refuse_dead_ends(gradient: Tensor) -> None:
    """Raise `ModelError` if a gradient with a graph was computed by a function that can be differentiated once only.

    Autograd says so when it gets there, which it does not where derivatives by given tensors are asked for: these would
    be silently without what goes through that function.
    """
    waiting, seen = [gradient.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            raise ModelError(refusal("differentiate twice a function that was marked with @once_differentiable"))
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]


def refusal(said: str) -> str | None:
    """Return the message for what PyTorch said, None if it is about something else."""
    if _CHECKPOINTED.search(said):
        return (
            "the network recomputes its activations (torch.utils.checkpoint), which goes with one plain backward pass "
            "and not with the gradients asked for here. Switch checkpointing off, for timm by "
            "network.set_grad_checkpointing(False)."
        )
    for pattern in _UNKNOWN:
        if match := re.search(pattern, said):
            name = match["name"] or "an autograd function of the network's own (marked once_differentiable)"
            return (
                f"PyTorch cannot differentiate {name} as often as this takes, so what is asked for does not exist for "
                "this network. Take another function in its place, written out of plain operations, or a method whose "
                "gradient is not differentiated again."
            )
    return None
