"""Grad-CAM: where the last maps of a network speak for a class."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import class_output
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.gradients import Model, differentiable, gradient_at
from gradsculpt.isolation import undisturbed
from gradsculpt.outputs import logits_at


@dataclass(frozen=True)
class GradCAM(Attribution):
    """Grad-CAM: the channels of a layer, added up by how much the class logit rises with each, cut off below 0.

    The map relu(sum_c alpha_c A_c), with alpha_c the mean gradient of the logit over channel A_c, is stretched
    bilinearly to the size of the image. One forward pass, and a backward pass down to the layer.

    Args:
        layer: A module of the network, or its dotted name, whose output is [N, K, h, w]; its last call counts. None
            takes the last module whose output has more than one place, which is found while the network runs.

    Raises:
        ModelError: If the model is no module, or the layer is not a part of it, is not used or gives no such output.
        ArgumentError: If x is no floating-point batch, a target is out of range, or the layer is neither.

    Source: Selvaraju et al., ICCV 2017.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> GradCAM()(model, torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    layer: nn.Module | str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.layer, nn.Module | str | None):
            raise ArgumentError(
                f"layer={checks.told(self.layer)} is neither a module nor a name; pass one of the two, or None."
            )

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return one map an image, shape [N, 1, H, W]; not negative."""
        checks.images("x", x)
        watched = self._watched(model)
        with torch.inference_mode(False), torch.enable_grad():
            x = differentiable(x)
            point = x if create_graph and x.requires_grad else x.detach().requires_grad_()
            outputs: list[Tensor] = []
            # A layer that was asked for keeps its output from being overwritten by what follows.
            collect = partial(_collect, outputs, self.layer is not None)
            with undisturbed(model), ExitStack() as hooks:
                for module in watched:
                    hooks.enter_context(module.register_forward_hook(collect))
                values = class_output(logits_at(model, point), target, "logit")
            maps = self._last(outputs, len(x))
            gradient = gradient_at(values, maps, create_graph=create_graph)
            with torch.set_grad_enabled(create_graph):
                # In single precision at least, as autocast does not know that this is a sum over all channels.
                maps, gradient = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (maps, gradient))
                cam = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
                return F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False).to(x.dtype)

    def _watched(self, model: Model) -> list[nn.Module]:
        """Return the modules whose output may be wanted."""
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"the model is a {type(model).__name__}, in which no layer can be found; Grad-CAM needs the network "
                "itself, a torch.nn.Module."
            )
        if self.layer is None:
            return list(model.modules())
        named = [module for name, module in model.named_modules() if self.layer in (name, module)]
        if named:
            return named[:1]
        children = ", ".join(name for name, _ in model.named_children())
        what = repr(self.layer) if isinstance(self.layer, str) else f"given ({type(self.layer).__name__})"
        raise ModelError(f"the layer {what} is not a part of the network; take one of {children}, or one in them.")

    def _last(self, outputs: list[Tensor], images: int) -> Tensor:
        """Return the maps that count."""
        if self.layer is None:
            outputs = [t for t in outputs if _is_map(t, images) and t.shape[2] * t.shape[3] > 1]
        if not outputs:
            raise ModelError(
                "the network has no layer with maps [N, K, h, w] of more than one place, which Grad-CAM weighs; take "
                "another attribution."
                if self.layer is None
                else "the layer is not used when the network runs, or returns no tensor; name another."
            )
        if not _is_map(outputs[-1], images):
            raise ModelError(
                f"the output of the layer has shape {list(outputs[-1].shape)}; Grad-CAM needs maps [{images}, K, h, w] "
                "that gradients reach. Name a convolution, or a block of them."
            )
        return outputs[-1]


def _collect(outputs: list[Tensor], apart: bool, module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
    if not isinstance(output, Tensor):
        return None
    outputs.append(output)
    return output.clone() if apart else None


def _is_map(t: Tensor, images: int) -> bool:
    return t.ndim == 4 and len(t) == images and t.requires_grad
