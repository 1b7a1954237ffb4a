"""What stands in for a CUDA graph where there is none: a tape of operations on memory that stays where it is."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradsculpt import isolation

WAITS = {"_local_scalar_dense", "nonzero", "is_nonzero", "item", "masked_select", "equal", "lift_fresh", "_unique2"}
"""Operations for which the host has to wait for an accelerator, or copies something to it."""


class WaitError(Exception):
    """An operation would wait for the device."""


class NeverWaits(TorchDispatchMode):
    """Fails at what would wait for the device, if there were one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        masks = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        moves = name in ("_to_copy", "copy_") and kwargs.get("device", tensors[0].device) != tensors[-1].device
        if name in WAITS or masks or moves:
            raise WaitError(name)
        return self.called(func, args, kwargs)

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call the operation."""
        return func(*args, **kwargs)


class _Tape(NeverWaits):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Callable[[], None]] = []

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        made = func(*args, **kwargs)
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        places = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]

        def again() -> None:
            values = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
            for place, value in zip(places, values, strict=True):
                if place.untyped_storage()._cdata not in given:  # no view, and not the tensor that was overwritten
                    place.copy_(value)

        self.entries.append(again)
        return made


def recorder(device: torch.device, generators: Iterable[torch.Generator]) -> Any:
    """Return what records a function once, without any effect, as a CUDA graph is captured, and then replays it."""

    def record(function: Callable[[], None], sown: int) -> Callable[[], None]:
        tape, kept = _Tape(), Kept()
        with pytest.MonkeyPatch.context() as patched:
            # As on an accelerator, seeds within a graph are those that its generators are given before each replay.
            sow = isolation.sow

            def noted(seed: int, devices: Iterable[str]) -> None:
                tape.entries.append(_rewind)
                sow(seed, devices)

            patched.setattr(isolation, "sow", noted)
            for name in ("get_rng_state", "set_rng_state"):
                patched.setattr(torch, name, _refused)
            try:
                with kept, tape:
                    function()
            finally:
                kept.restore()

        def replay() -> None:
            with torch.no_grad():
                for entry in tape.entries:
                    entry()

        return replay

    return record


def _rewind() -> None:
    torch.default_generator.manual_seed(torch.default_generator.initial_seed())


def _refused(*_: Any) -> None:
    raise WaitError("random state")


class Kept(TorchDispatchMode):
    """Remembers what tensors that are overwritten were before, as a capture executes nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._before: dict[Any, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for argument, value in zip(func._schema.arguments, args, strict=False):
            written = argument.alias_info is not None and argument.alias_info.is_write
            if written or argument.name.startswith("running_"):  # which the schema of batch normalisation keeps quiet
                for tensor in tree_leaves(value):
                    if isinstance(tensor, Tensor):
                        key = tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape
                        self._before.setdefault(key, (tensor, tensor.clone()))
        return func(*args, **(kwargs or {}))

    def restore(self) -> None:
        """Give them back what they were."""
        with torch.no_grad():
            for tensor, value in reversed(list(self._before.values())):
                tensor.copy_(value)
