"""What the modules of a network give while it runs, in one thread and where the graph of the pass has it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gradsculpt.graph import Vertex


@dataclass(frozen=True)
class Output:
    """What a module gave.

    Attributes:
        tensor: The output, or a copy of it.
        edge: Its place in the graph, which stays its own if the tensor is overwritten later.
        call: Which call of a module it was, counted from 0 over the pass.
        version: How often the tensor had been overwritten by then.
    """

    tensor: Tensor
    edge: GradientEdge
    call: int
    version: int

    @property
    def vertex(self) -> Vertex:
        """Where it stands in the graph."""
        return self.edge.node, self.edge.output_nr

    @property
    def overwritten(self) -> bool:
        """Whether the tensor is another by now."""
        return self.tensor._version != self.version


class LayerOutputs:
    """Collects the outputs of modules, of several ones of a module the first.

    Args:
        images: How many images there are: an output of others is none.
        layer: The one module that is wanted, of which the last output is kept; None for all.
        kept: The number of the only call that is wanted.

    Attributes:
        outputs: Those that gradients reach, in the order of the calls.
        shapes: Of the outputs of all modules, whichever is wanted.
        calls: How often the wanted modules were called.
    """

    def __init__(self, images: int, layer: nn.Module | None = None, kept: int | None = None) -> None:
        self.outputs: list[Output] = []
        self.shapes: set[torch.Size] = set()
        self.calls = 0
        self._images, self._layer, self._kept = images, layer, kept
        # Other threads may run the same network meanwhile, and the same hooks in it.
        self._owner, self._number = threading.get_ident(), -1

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Collect within the block."""
        with ExitStack() as hooks:
            for module in network.modules():
                hooks.enter_context(module.register_forward_hook(partial(_collect, self)))
            yield

    def collect(self, module: nn.Module, output: Any) -> None:
        """Take note of an output."""
        if threading.get_ident() != self._owner:
            return
        self._number += 1
        t = _first(output)
        if t is not None and len(t.shape) > 2 and len(t) == self._images:
            self.shapes.add(t.shape)
        if (self._layer not in (None, module)) or (self._kept not in (None, self._number)):
            return
        self.calls += 1
        if self._layer is not None:
            self.outputs.clear()
        if t is None or not t.requires_grad or self._images not in t.shape[: 2 if t.ndim == 3 else 1]:
            return
        edge, apart = get_gradient_edge(t), self._layer is not None or self._kept is not None
        # What is wanted for certain is copied, as what follows may overwrite it.
        kept = t.clone() if apart else t
        self.outputs.append(Output(kept, edge, self._number, kept._version))


def _collect(outputs: LayerOutputs, module: nn.Module, inputs: Any, output: Any) -> None:
    outputs.collect(module, output)


def _first(output: Any) -> Tensor | None:
    """Return the first tensor of an output."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((t for t in map(_first, values) if t is not None), None)
