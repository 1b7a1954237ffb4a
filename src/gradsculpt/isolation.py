"""Passes that leave no trace: buffers and random state are afterwards what they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def random_state() -> dict[str, Tensor]:
    """Return the state of PyTorch's random generators, of the CPU and of every CUDA device in use."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{i}": torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())}
    return states


@contextmanager
def undisturbed(model: object, *, random: dict[str, Tensor] | None = None) -> Iterator[None]:
    """Let forward passes inside the block leave no trace in the model or in the random state.

    Every buffer (running statistics of BatchNorm, vectors of spectral normalisation, counters) is replaced by a
    copy for the time of the block, and the random state is forked: a dropout mask drawn inside is drawn again by
    the next pass outside. The mode of the model is not touched, so that batch statistics are used as in training.

    Args:
        model: A module; any other callable only has the random state forked.
        random: The random state to start the block with, from `random_state`; by default the one there is.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    originals = [(module, name, buffer) for module in modules for name, buffer in module.named_buffers(recurse=False)]
    devices = {tensor.device for _, _, tensor in originals if tensor.device.type == "cuda"}
    devices |= {p.device for module in modules[:1] for p in module.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        try:
            with torch.inference_mode(False):  # or no backward pass could go through the copies
                for module, name, buffer in originals:
                    setattr(module, name, buffer.clone())
            for device, state in (random or {}).items():
                torch.set_rng_state(state) if device == "cpu" else torch.cuda.set_rng_state(state, device)
            yield
        finally:
            for module, name, buffer in originals:
                setattr(module, name, buffer)
