"""Weights of networks as files hold them: read without running their code, and put into a network that they fit."""

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt.errors import ModelError, RunError, first_line
from gradsculpt.machine import free_memory
from gradsculpt.reading import check_unpacked, read_bytes
from gradsculpt.seals import check

# Where training scripts put the state dict among other things.
_NESTS = ("state_dict", "model_state_dict", "model", "network")
# nn.DataParallel and DistributedDataParallel, torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")
LARGEST_WEIGHTS = 64 << 30  # bytes of a file of weights, where nobody knows how much memory there is
# Heads that only training uses, and that networks are built without here.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a .safetensors file, or in a file of `torch.save`; nothing but tensors is unpickled.

    A state dict that lies inside a dictionary under a usual name is looked up there, and the prefixes of
    `nn.DataParallel` and `torch.compile` are taken off. Raises `ModelError` if the file is missing, cannot be read, or
    holds something else.
    """
    from safetensors.torch import load as from_bytes

    if not os.path.isfile(path):
        raise ModelError(
            f"there is no file of weights {path}; pass a .safetensors file, or a state dict of torch.save."
        )
    try:
        most = free_memory() or LARGEST_WEIGHTS
        check_unpacked(path, most)
        check(path)
        content: Any = (
            from_bytes(read_bytes(path, most))  # by its path, only one in UTF-8 could be read
            if path.suffix == ".safetensors"
            else torch.load(path, "cpu", weights_only=True)
        )
    except RunError as error:
        raise ModelError(str(error)) from error
    except Exception as error:
        reason = "it holds code, or is no such file" if isinstance(error, UnpicklingError) else first_line(error)
        raise ModelError(
            f"the weights {path} cannot be read as tensors alone ({reason}). Pass a state dict, written by "
            "torch.save(network.state_dict(), ...) or by save_file(network.state_dict(), ...) of safetensors."
        ) from error
    if isinstance(content, Mapping):
        content = next((content[nest] for nest in _NESTS if isinstance(content.get(nest), Mapping)), content)
    if other := _other_than_state(content):
        raise ModelError(
            f"the weights {path} hold {other}, where a state dict is needed; pass what network.state_dict() "
            "returned, in a .safetensors file or saved by torch.save."
        )
    state = {str(key): value for key, value in content.items()}
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state


def fill(network: nn.Module, state: Mapping[str, Tensor], *, what: str, remedy: str) -> None:
    """Load weights into a network; raise `ModelError` if they do not fit, as `what` says, with a `remedy`.

    Counters of batch normalisation may be missing, as old files lack them, and auxiliary heads may be left over.
    """
    needed = network.state_dict()
    state = {key: value for key, value in state.items() if key in needed or not key.startswith(_AUXILIARY)}
    misfits = {
        "lacks": [key for key in needed if key not in state and not key.endswith("num_batches_tracked")],
        "has beyond the network": [key for key in state if key not in needed],
        "has in another shape": [
            f"{key} ({list(state[key].shape)}, the network needs {list(value.shape)})"
            for key, value in needed.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    faults = [
        f"{words} {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
        for words, keys in misfits.items()
        if keys
    ]
    if not faults:
        try:
            network.load_state_dict(dict(state), strict=False)
        except Exception as error:
            faults = [f"raised {first_line(error)}"]
    if faults:
        raise ModelError(f"{what}: the file {'; '.join(faults)}. {remedy}")


def _other_than_state(content: Any) -> str | None:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if not content:
        return "an empty dictionary"
    strange = (key for key, value in content.items() if not isinstance(value, Tensor))
    return next((f"a dictionary with the entry {key!r}" for key in strange), None)
