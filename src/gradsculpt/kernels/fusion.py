"""A private copy of a network, with its normalisations merged into its convolutions, for passes that are many."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from gradsculpt.dispatch import Call, Dispatch
from gradsculpt.isolation import undisturbed


@contextmanager
def fused(model: Callable[[Tensor], Tensor], x: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield a network that gives what `model` gives, and its input gradients, in less time where that can be had.

    It is a copy in which every batch normalisation by fixed statistics is merged into the convolution before it among
    its parent's children, and ReLU-like activations work in place. The order of children need not be that of calls, so
    the copy has to prove itself on the first image: wherever its logits differ by more than rounding, or it fails, and
    for a model that is in training, has hooks or is no module at all, `model` itself is yielded. A network is taken to
    make the same calls for every image. The copy lives no longer than the block; its parameters take no gradients.

    Args:
        model: The network.
        x: What it takes, [N, C, H, W].

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> with fused(model, torch.rand(2, 3, 8, 8)) as faster:
        ...     faster
        Fused(
          (network): Sequential(
            (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
            (1): Identity()
            (2): ReLU(inplace=True)
          )
        )
    """
    faster = _copy(model, x) if isinstance(model, nn.Module) and len(x) else None
    yield model if faster is None else faster


class Fused(nn.Module):
    """A network that takes its images in the memory format that convolutions are fastest in."""

    def __init__(self, network: nn.Module, layout: torch.memory_format) -> None:
        super().__init__()
        self.network = network.to(memory_format=layout)
        self._layout = layout

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        # Maps in that format have no view of another shape: a call is made by reshape. The caller's images are copied
        # even if they have it already, as an activation may come first.
        with Dispatch({"view": Call.__call__}):
            logits: Tensor = self.network(x.clone(memory_format=self._layout))
        return logits


def _copy(model: nn.Module, x: Tensor) -> Fused | None:
    """Return the copy if there is anything to gain and it gives the same logits."""
    compiled = any(hasattr(module, "_orig_mod") for module in model.modules())  # by torch.compile: a copy takes minutes
    if compiled or torch.is_autocast_enabled(x.device.type) or _hooked(model) or not any(_pairs(model)):
        return None
    try:
        # A tensor of inference mode, as a parameter or as a map, could not be differentiated.
        with torch.inference_mode(False), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            first = x[:1].detach().clone()
            merged = copy.deepcopy(model)
            for parent, conv, norm in list(_pairs(merged)):
                setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
                setattr(parent, norm, nn.Identity())
            layout = torch.channels_last if x.device.type == "cpu" else torch.contiguous_format
            fast = Fused(merged, layout).requires_grad_(False)
            for module in fast.modules():
                if isinstance(module, nn.ReLU | nn.ReLU6 | nn.Hardtanh):
                    module.inplace = True
            with undisturbed(model), torch.no_grad():
                expected = model(first)
            with torch.enable_grad():
                # Something that its gradient needs may have been overwritten, which only a backward pass shows.
                logits = fast(first.requires_grad_())
                logits.sum().backward()
    except Exception:  # whatever a stranger's network raises when it is copied: it still works by itself
        return None
    return fast if _same(logits.detach(), expected) else None


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Yield every convolution that a batch normalisation by fixed statistics follows among the children of a module."""
    for parent in model.modules():
        for (conv, first), (norm, second) in pairwise(parent.named_children()):
            fits = isinstance(first, nn.Conv1d | nn.Conv2d | nn.Conv3d) and not is_parametrized(first)
            fixed = isinstance(second, nn.modules.batchnorm._BatchNorm) and second.track_running_stats
            if fits and fixed and not first.training and not second.training:
                yield parent, conv, norm


def _same(logits: Tensor, expected: Tensor) -> bool:
    if logits.shape != expected.shape or not bool(logits.isfinite().all()):
        return False
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * float(expected.abs().amax())
    return bool((logits - expected).abs().amax() <= tolerance)


def _hooked(model: nn.Module) -> bool:
    """Return whether hooks look at what modules take or make: what they are given has to be what the layer computes."""
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    everywhere = any(getattr(module_hooks, f"_global_{kind}") for kind in kinds)
    return everywhere or any(getattr(module, f"_{kind}") for module in model.modules() for kind in kinds)
