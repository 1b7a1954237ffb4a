"""State dicts: reading the files of strangers without running their code, and saying how weights do not fit."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt.errors import ModelError
from gradsculpt.models import trial

# Where training scripts put the state dict among other things.
_NESTS = ("state_dict", "model_state_dict", "model", "network")

# nn.DataParallel and DistributedDataParallel, torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")

# Heads that only training uses, and that networks are built without here.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a .safetensors file, or in a file of `torch.save`; nothing but tensors is unpickled.

    A state dict that lies inside a dictionary under a usual name is found, and the prefixes of `nn.DataParallel` and
    `torch.compile` are taken off.

    Raises:
        ModelError: If the file is missing, cannot be read, or holds something else.
    """
    if not path.is_file():
        raise ModelError(
            f"there is no file of weights {path}; pass a .safetensors file, or a state dict of torch.save."
        )
    try:
        content = _content(path)
    except Exception as error:
        reason = "it holds code, or is no such file" if isinstance(error, UnpicklingError) else trial.first_line(error)
        raise ModelError(
            f"the weights {path} cannot be read as tensors alone ({reason}). Pass a state dict, written by "
            "torch.save(network.state_dict(), ...) or by save_file(network.state_dict(), ...) of safetensors."
        ) from error
    state = next((content[nest] for nest in _NESTS if isinstance(_entry(content, nest), Mapping)), content)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(
            f"the weights {path} hold {_what(state)}, where a state dict is needed; pass what network.state_dict() "
            "returned, in a .safetensors file or saved by torch.save."
        )
    found = {str(key): value for key, value in state.items()}
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in found):
            found = {key.removeprefix(wrapper): value for key, value in found.items()}
    return found


def fill(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Load weights into a network; return in a few words how they do not fit, or nothing.

    Counters of batch normalisation may be missing, as old files lack them, and auxiliary heads may be left over.
    """
    own = network.state_dict()
    state = {key: value for key, value in state.items() if key in own or not key.startswith(_AUXILIARY)}
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    faults = [
        *_fault("lacks", [key for key in own if key not in state and not key.endswith("num_batches_tracked")]),
        *_fault("has beyond the network", [key for key in state if key not in own]),
        *_fault(
            "has in another shape",
            [f"{key} ({list(state[key].shape)}, the network needs {list(own[key].shape)})" for key in shapes],
        ),
    ]
    if not faults:
        try:
            network.load_state_dict(dict(state), strict=False)
        except Exception as error:
            faults = [f"raised {trial.first_line(error)}"]
    return faults


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _entry(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, Mapping) else None


def _what(state: Any) -> str:
    if not isinstance(state, Mapping):
        return f"a {type(state).__name__}"
    other = next((key for key, value in state.items() if not isinstance(value, Tensor)), None)
    return "an empty dictionary" if other is None else f"a dictionary with the entry {other!r}"


def _fault(words: str, keys: list[str]) -> list[str]:
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return [f"{words} {key}{more}" for key in keys[:1]]
