"""How many images go through a network at once: as many as the memory of a pass has room for."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt.gradients import Model
from gradsculpt.graph import history
from gradsculpt.isolation import undisturbed
from gradsculpt.outputs import logits_at

IMAGES = 32
"""How many images a pass has at most: more would be no faster on a CPU."""

BUDGET = 3 * 2**28
"""Bytes that the activations of a pass may take; with the gradients of a few layers, a process needs 1 GiB for it."""

_MOST = 6144
"""Bytes that no network keeps for an entry of an image: deep ones keep about one thousand."""

_SHARE_OF_FREE = 0.5  # of the memory of an accelerator: the gradients come on top


def images_per_pass(model: Model, x: Tensor) -> int:
    """Return how many images like those of x, [N, C, H, W], a pass there and back may have, at least 1.

    It takes a forward pass of one image, unless images are small. Where that fails, as in networks for batches of one
    size, it is `IMAGES`.
    """
    budget = _budget(x.device)
    if IMAGES * x[:1].numel() * _MOST <= budget:
        return IMAGES
    try:
        each = activation_bytes(model, x[:1])
    except Exception:  # whatever a stranger's network raises for a single image: the maps may do without
        return IMAGES
    return max(1, min(IMAGES, budget // max(1, each)))


def activation_bytes(model: Model, x: Tensor) -> int:
    """Return the bytes that a forward pass of x keeps for the backward pass, without the network's own tensors."""
    with undisturbed(model), torch.inference_mode(False), torch.enable_grad():
        point = x.detach().clone().requires_grad_()
        nodes = list(history(logits_at(model, point).grad_fn))
    own = list(model.parameters()) + list(model.buffers()) if isinstance(model, nn.Module) else []
    own += [leaf for node in nodes if (leaf := getattr(node, "variable", None)) is not None]
    counted = {_place(tensor): 0 for tensor in own}
    for node in nodes:
        for tensor in _kept(node):
            counted.setdefault(_place(tensor), tensor.untyped_storage().nbytes())
    return sum(counted.values())


def _kept(node: Any) -> Iterator[Tensor]:
    """Yield what a node of the graph keeps of its forward pass, without the weights that are no parameters."""
    python = hasattr(node, "saved_tensors")
    for name in ["saved_tensors"] if python else [name for name in dir(node) if name.startswith("_saved_")]:
        try:
            saved = getattr(node, name)
        except RuntimeError:  # overwritten since: a backward pass could not read it either
            continue
        for tensor in saved if isinstance(saved, tuple | list) else [saved]:
            # What does not depend on the images, and is neither mask nor index, is a constant of the network; what a
            # function of Python's keeps may have been cut off from the graph.
            if isinstance(tensor, Tensor) and (python or tensor.requires_grad or not tensor.is_floating_point()):
                yield tensor


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _budget(device: torch.device) -> int:
    return int(_SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else BUDGET
