"""Grad-CAM: where the last maps of a network speak for a class."""

import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import class_output
from gradsculpt.attributions.layer_outputs import LayerOutputs, Output
from gradsculpt.attributions.layouts import Layout, Reader, Reading
from gradsculpt.diagnosis import refuse_severed
from gradsculpt.eager import eager, plain_name
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.gradients import Model, differentiable, gradient_at
from gradsculpt.graph import Between, history
from gradsculpt.isolation import undisturbed
from gradsculpt.kernels import primitive
from gradsculpt.outputs import logits_at


@dataclass(frozen=True)
class GradCAM(Attribution):
    """Grad-CAM: the channels of a layer, added up by how much the class logit rises with each, cut off below 0.

    The map relu(sum_c alpha_c A_c), with alpha_c the mean gradient of the logit over channel A_c, is stretched
    bilinearly to the size of the image. One forward pass, and a backward pass down to the layer.

    Without a name, the layer is the last one that the head reads: the last module output with more than one place
    through which all that the logit owes to the image passes, and at whose places it has a gradient. In a transformer
    whose head reads the class token it is what the attention of the last block is given, as nothing after that reads
    the tokens of the image.

    Args:
        layer: A module of the network, or its dotted name; its last call counts, and of several outputs the first.
            None takes the last one that the head reads, which is found while the network runs.
        layout: What its output is: maps "nchw" or "nhwc", or "tokens" [N, T, C], row by row. None reads it off the
            operations that computed the output, and the shape of the image. Tokens of the class and registers, which
            are those in excess of the grid, are left out. Tokens in another order, as those of Hiera before its last
            stage, have to be put row by row by the network.

    Raises:
        ModelError: If the model is no module or is TorchScript; if the layer is not a part of it, is not used, or gives
            nothing with places that the logit depends on; or if its places could be read in two ways.
        ArgumentError: If x is no floating-point batch, a target is out of range, or layer or layout is unknown.

    Source: Selvaraju et al., ICCV 2017.
    Deviation: The paper takes the last convolution; here it is the last map before the head, after activations.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> GradCAM()(model, torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    layer: nn.Module | str | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.layer, nn.Module | str | None):
            raise ArgumentError(
                f"layer={checks.told(self.layer)} is neither a module nor a name; pass one of the two, or None."
            )
        checks.declared(self)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return one map an image, shape [N, 1, H, W]; not negative."""
        checks.images("x", x)
        network, layer = self._inside(model)
        with torch.inference_mode(False), torch.enable_grad():
            x = differentiable(x)
            point = x if create_graph and x.requires_grad else x.detach().requires_grad_()

            def run(kept: int | None = None) -> tuple[Tensor, LayerOutputs]:
                collected = LayerOutputs(len(x), layer, kept)
                # What has no derivative of a second order is computed by what has.
                mode = primitive() if create_graph else nullcontext()
                with undisturbed(network), collected.watching(network), mode:
                    return class_output(logits_at(network, point), target, "logit"), collected

            values, collected = run()
            if not (graph := Between(values, point)).nodes:
                refuse_severed(lambda t: class_output(logits_at(network, t), target, "logit"), point)
            chosen = _Search(values, x.shape[2:], graph, collected, _others(network), self.layout, create_graph)
            output, reading, gradient = chosen.last_read() if layer is None else chosen.named()
            # What the network has overwritten since is computed again.
            tensor = run(output.call)[1].outputs[-1].tensor if output.overwritten else output.tensor
            with torch.set_grad_enabled(create_graph):
                # In single precision at least, as autocast does not know that this is a sum over all channels.
                pair = (reading.maps(t) for t in (tensor, gradient))
                maps, gradient = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in pair)
                cam = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
                cam = cam.masked_fill(~values.detach().isfinite().view(-1, 1, 1, 1), torch.nan)
                return F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False).to(x.dtype)

    def _inside(self, model: Model) -> tuple[nn.Module, nn.Module | None]:
        """Return the network in which layers can be found, and the one that was asked for."""
        network = eager(model, "Grad-CAM")
        if not isinstance(network, nn.Module):
            raise ModelError(
                f"the model is a {type(model).__name__}, in which no layer can be found; Grad-CAM needs the network "
                "itself, a torch.nn.Module."
            )
        if self.layer is None:
            return network, None
        given = model if isinstance(model, nn.Module) else network
        names = [name for name, module in given.named_modules() if self.layer in (name, plain_name(name), module)]
        if names:
            return network, network.get_submodule(plain_name(names[0]))
        children = ", ".join(name for name, _ in network.named_children())
        what = repr(self.layer) if isinstance(self.layer, str) else f"given ({type(self.layer).__name__})"
        raise ModelError(f"the layer {what} is not a part of the network; take one of {children}, or one in them.")


class _Search:
    """Finds the output that counts, how it is read, and its gradient."""

    def __init__(
        self,
        values: Tensor,
        size: torch.Size,
        graph: Between,
        collected: LayerOutputs,
        others: set[int],
        layout: Layout | None,
        create_graph: bool,
    ) -> None:
        self._values, self._collected, self._create_graph, self._layout = values, collected, create_graph, layout
        self._graph = graph
        self._reader = Reader(len(values), (size[0], size[1]), collected.shapes, others, self._graph)

    def last_read(self) -> tuple[Output, Reading, Tensor]:
        """Return the last output that the head reads, with what it has of a gradient."""
        outputs = {output.vertex: output for output in self._collected.outputs}
        unread: tuple[Output, Reading, Tensor] | None = None
        for node, number in self._graph.bottlenecks():
            output = outputs.get((node, number))
            if output is None or not any(map(_is_learnt, history(node))):
                continue
            reading = self._reader.read(output.tensor, node, self._layout)
            if reading is None or reading.grid == (1, 1):
                continue
            found = output, reading, self._gradient(output)
            if bool(reading.maps(found[2]).any()):
                return self._later(*found) if unread else found
            unread = unread or found
        # Where no place of any has a gradient, the logit is flat, and the map is 0.
        if unread is not None:
            return unread
        raise ModelError(
            "the network has no layer with maps [N, K, h, w], [N, h, w, K] or tokens [N, T, K] of more than one place "
            "that the whole logit passes through, so none is the obvious one to weigh; name one (layer='features'), or "
            "take another attribution."
        )

    def _later(self, output: Output, reading: Reading, gradient: Tensor) -> tuple[Output, Reading, Tensor]:
        """Return what stands for the places of an output further on, where only other tokens go around it.

        That is what the last attention of a transformer reads, if after it only the token of the class counts.
        """
        whole = reading.maps(gradient)
        for later in reversed(self._collected.outputs):
            same = later.call > output.call and later.tensor.shape == output.tensor.shape
            if not same or later.edge.node not in self._graph:
                continue
            weights = self._gradient(later)
            if not bool(reading.maps(weights).any()) or output.edge.node not in history(later.edge.node):
                continue
            through = gradient_at(later.tensor, output.edge, weights, create_graph=self._create_graph, keep=True)
            if torch.allclose(reading.maps(through), whole, rtol=1e-3, atol=1e-4 * float(whole.abs().max())):
                return later, reading, weights
        return output, reading, gradient

    def named(self) -> tuple[Output, Reading, Tensor]:
        """Return the output of the layer that was asked for."""
        if not self._collected.calls:
            raise ModelError("the layer is not used when the network runs; name another.")
        output = next(iter(self._collected.outputs), None)
        if output is None or output.edge.node not in self._graph:
            raise ModelError(
                "the layer returns no tensor with one entry an image that the class logit has a gradient by, so its "
                "map would be 0; name one that lies between the images and the logits."
            )
        reading, shape = self._reader.read(output.tensor, output.edge.node, self._layout), list(output.tensor.shape)
        if reading is None:
            raise ModelError(
                f"the output of the layer has shape {shape}, in which no places of the image are to be found; "
                f"Grad-CAM needs maps [N, K, h, w] or [N, h, w, K], or tokens "
                "[N, T, K] row by row. Name a convolution or a block, or say which it is by layout='nchw', 'nhwc' or "
                "'tokens'."
            )
        gradient = self._gradient(output)
        if bool(gradient.any()) and not bool(reading.maps(gradient).any()):
            raise ModelError(
                f"the class logit reads nothing of the {reading.grid[0]} x {reading.grid[1]} places of the layer, only "
                "the token of the class, so its map would be 0; name an earlier layer, such as the last block but one."
            )
        return output, reading, gradient

    def _gradient(self, output: Output) -> Tensor:
        return gradient_at(self._values, output.edge, create_graph=self._create_graph, keep=True)


def _others(network: nn.Module) -> set[int]:
    """Return how many tokens are none of a place, where the network says so, as those of timm do."""
    counts = {getattr(module, "num_prefix_tokens", None) for module in network.modules()}
    return {count for count in counts if isinstance(count, int)}


def _is_learnt(node: Any) -> bool:
    """Return whether a node computes with weights: what comes before any is an image rather than a layer."""
    return bool(re.search(r"Convolution|[Mm]m|Embedding|ScaledDot|Norm", node.name())) or isinstance(
        node, BackwardCFunction
    )
