"""Running a network once to learn something about it, and leaving no trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Within the block: eval mode, no gradients; after it: the modes and the random state are as before."""
    modes = [(module, module.training) for module in network.modules()]
    device = device_of(network)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
            network.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training


def images(size: int, network: nn.Module) -> Tensor:
    """Return two noise images [2, 3, size, size] on the device of `network`.

    Noise, because comparisons that decide between branches are all alike on a constant image.
    """
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device_of(network))


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer; the CPU for a network that has none."""
    return next((tensor.device for tensor in chain(network.parameters(), network.buffers())), torch.device("cpu"))
