"""The mode: while it is on, every function of PyTorch that a network calls can be answered in another way."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradsculpt.dispatch.call import Call
from gradsculpt.dispatch.composed import COMPOSED, body
from gradsculpt.dispatch.operators import Kind, bare_name, of_kind

RECOMPUTES = (
    "the network computes activations anew on the way back (torch.utils.checkpoint), or keeps them elsewhere "
    "(saved_tensors_hooks), which cannot be followed here: what is computed anew would not be what was computed first. "
    "Switch that off, as by model.set_grad_checkpointing(False); it saves memory in training, and is not needed here."
)
"""What is said of a network whose activations are not kept."""

Handler = Callable[[Call], Any]
"""Answers a call; `NotImplemented` leaves it to the function itself."""

Key = TypeVar("Key", bound=str | Kind)


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Let what `torch.compile` made run as it was written: a mode sees functions, not what they were compiled into.

    Whether it is compiled is one setting for all threads, which the last of several blocks puts back.
    """
    if "torch._dynamo" not in sys.modules:  # so that nothing was compiled; it takes a second to import
        yield
        return
    with _Uncompiled.lock:
        _Uncompiled.blocks += 1
        if _Uncompiled.blocks == 1:
            _Uncompiled.setting = ExitStack()
            _Uncompiled.setting.enter_context(torch.compiler.set_stance("force_eager"))
    try:
        yield
    finally:
        with _Uncompiled.lock:
            _Uncompiled.blocks -= 1
            if not _Uncompiled.blocks:
                _Uncompiled.setting.close()


class _Uncompiled:
    """How many blocks need networks uncompiled, in all threads."""

    lock, blocks, setting = threading.Lock(), 0, ExitStack()


class Dispatch(TorchFunctionMode):
    """Lets handlers answer the functions that a network calls, by module or in its own code, in place or not.

    Modes nest as their blocks do: the innermost is asked first, and what its handlers call is seen by those around it,
    never by itself.

    Args:
        handlers: By the bare name of the operator, or by its kind; a name counts before a kind.
        otherwise: Answers the calls that no handler is for; None leaves them alone, at the cost of one look-up.
        substitute: What to do where a network overwrites a tensor by a call that was answered. False copies the answer
            into the tensor. True leaves the tensor as it was, as a derivative may need it, and hands out the answer
            wherever the network names the tensor from then on; `current` does the same for what leaves the block.
        recomputes: Whether activations may be computed anew on the way back, perhaps after the block, without answers.

    Example:
        >>> import torch
        >>> double = Dispatch({"relu": lambda call: 2 * call()})
        >>> with double:
        ...     torch.tensor([-1.0, 3.0]).relu_(), torch.nn.functional.relu(torch.ones(1)), torch.ones(1).sigmoid() < 1
        (tensor([0., 6.]), tensor([2.]), tensor([True]))
    """

    def __init__(
        self,
        handlers: Mapping[Key, Handler],
        otherwise: Handler | None = None,
        *,
        substitute: bool = False,
        recomputes: bool = False,
    ) -> None:
        super().__init__()
        kinds = {name: each for kind, each in handlers.items() if isinstance(kind, Kind) for name in of_kind(kind)}
        self._handlers = kinds | {name: each for name, each in handlers.items() if isinstance(name, str)}
        self._otherwise, self._substitute, self._recomputes = otherwise, substitute, recomputes
        self._blocks: list[ExitStack] = []
        self._answers: dict[int, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> "Dispatch":
        """Start to answer calls; activations that would be computed anew later, without answers, may be refused."""
        block = ExitStack()
        self._blocks.append(block)  # modes nest, and one may be entered again within itself
        block.enter_context(_uncompiled())
        if torch.is_grad_enabled() and not self._recomputes:
            with suppress(RuntimeError):  # of hooks that were there before, and do not recompute
                block.enter_context(torch.autograd.graph.disable_saved_tensors_hooks(RECOMPUTES))
        return super().__enter__()  # type: ignore[no-untyped-call,no-any-return]

    def __exit__(self, *error: Any) -> None:
        """Stop to answer calls."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._blocks.pop().close()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer a call, or call the function."""
        kwargs = kwargs or {}
        if self._answers:
            args, kwargs = self.current(tuple(args)), self.current(dict(kwargs))
        name = bare_name(func)
        if func in COMPOSED and name not in self._handlers:
            with self:
                return body(func)(*args, **kwargs)
        handler = self._handlers.get(name, self._otherwise)
        if handler is None:
            return func(*args, **kwargs)
        call = Call.of(func, args, kwargs)
        target = call.overwritten
        if target is not None and self._substitute and target._is_view():
            # What is overwritten is a part of something else, which has to change too.
            call = call.having(target.clone(), *call.tensors[1:])
        answer = handler(call)
        if answer is NotImplemented:
            return func(*args, **kwargs)
        if target is None:
            return answer
        if not self._substitute or target._is_view():
            return answer if answer is target else target.copy_(answer)
        if answer is not target:  # as of dropout in evaluation mode
            self._answers[id(target)] = (target, answer)
        return answer

    def current(self, value: Any) -> Any:
        """Return a value with the answers in the place of the tensors that a network believes it has overwritten."""
        if isinstance(value, Tensor):
            while id(value) in self._answers:
                value = self._answers[id(value)][1]
            return value
        if type(value) in (tuple, list):
            return type(value)(map(self.current, value))
        return {key: self.current(entry) for key, entry in value.items()} if type(value) is dict else value
