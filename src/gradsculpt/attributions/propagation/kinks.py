"""Kinks that no rule saw: a map through them would take the plain derivative, and nobody would know."""

import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction

from gradsculpt.dispatch import RECOMPUTES, Call
from gradsculpt.errors import ModelError, UnknownFunctionError
from gradsculpt.graph import Between

_KINKED = re.compile(
    r"(Relu|Threshold|LeakyRelu|Prelu\w*|Rrelu\w*|Elu|Gelu|Silu|Mish|Softplus|Hardtanh|Hardswish|Hardshrink|Softshrink"
    r"|Clamp(Min|Max)?|Maximum|Minimum|Fmax|Fmin|Abs|Sgn|Sign|Heaviside|Floor|Ceil|Round|Trunc|Frac|Remainder|Fmod|Copysign"
    r"|DifferentiableGraph)Backward\w*"
)
"""Nodes of functions with a corner, and of smooth forms of rectifiers; not of the largest of entries (max pooling)."""

_HARMLESS = frozenset(
    {
        *("normalize", "cosine_similarity", "pairwise_distance", "softsign", "layer_norm", "rms_norm"),
        *("local_response_norm", "multi_head_attention_forward", "scaled_dot_product_attention", "grid_sample"),
        *("lp_pool1d", "lp_pool2d", "lp_pool3d", "interpolate"),
    }
)
"""Functions that are written with corners which guard a quotient, or are otherwise none of an activation."""

_CREATING = frozenset({"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"})
_STEPS = frozenset(
    {
        *("sign", "sgn", "heaviside", "floor", "ceil", "round", "trunc", "frac", "relu", "clamp", "clip", "clamp_min"),
        *("threshold", "maximum", "abs"),
    }
)
_OF_THE_LARGEST = frozenset({"max", "min", "topk", "sort", "argsort", "argmax", "argmin", "median", "mode", "kthvalue"})


class Kinks:
    """Takes note of the calls of a pass by which networks write activations.

    A corner is found in the graph, by what its node is called, unless the node belongs to a rule or to a call that is
    known for another thing. Where a network chooses among entries by what they are, as `t * (t > 0)` and `torch.where`
    do, no node tells; so what is computed from the images without a gradient is followed until it is used.

    Args:
        depends: Tells whether a tensor was computed from the images.
    """

    def __init__(self, depends: Callable[[Tensor], bool]) -> None:
        self._depends = depends
        self._meant: set[Any] = set()
        self._found: dict[Any, str] = {}
        self._choices: set[Any] = set()
        self._free: dict[int, tuple[Tensor, bool]] = {}

    def is_free(self, t: Tensor) -> bool:
        """Return whether a tensor was computed from the images in a way that leaves no trace in the graph."""
        return id(t) in self._free

    def meant(self, call: Call, answer: Any) -> Any:
        """Return the answer to a call, which is known to need no rule."""
        within = {t.grad_fn for t in _tensors((call.args, call.kwargs))}
        waiting = [t.grad_fn for t in _tensors(answer)]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in within and node not in self._meant:
                self._meant.add(node)
                waiting += [following for following, _ in node.next_functions]
        return answer

    def note(self, call: Call, answer: Any) -> None:
        """Take note of a call that was answered."""
        inputs = list(_tensors((call.args, call.kwargs)))
        if not inputs:
            return
        results = inputs[:1] if answer is None else list(_tensors(answer))  # statements, as t[t < 0] = 0, give nothing
        chosen = any(self._free.get(id(t), (t, False))[1] for t in inputs)
        for t in results:
            node = t.grad_fn
            if t.requires_grad and node is not None:
                if call.name in _HARMLESS:
                    self.meant(call, answer)
                elif chosen and not hasattr(node, "is_ruled"):
                    self._choices.add(node)
                    self._found.setdefault(node, call.name + _line())
                elif _KINKED.fullmatch(node.name()):
                    self._found.setdefault(node, call.name + _line())
            elif call.name not in _CREATING and not call.name.startswith("new_"):
                self._follow(call, t, inputs, chosen)

    def _follow(self, call: Call, t: Tensor, inputs: list[Tensor], chosen: bool) -> None:
        if any(self.is_free(each) or (each.requires_grad and self._depends(each)) for each in inputs):
            stepped = call.name in _STEPS or not (t.is_floating_point() or call.name in _OF_THE_LARGEST)
            self._free[id(t)] = (t, chosen or stepped)

    def refuse(self, between: Between) -> None:
        """Raise `ModelError` if there is a kink between the logits and the images."""
        # What hides its insides comes first, as what happens there is taken for something else outside.
        for node in between.nodes:
            # The hooks of modules have a function that is the identity.
            hides = issubclass(type(node), BackwardCFunction) and not hasattr(node, "is_ruled")
            name = node.name().removesuffix("Backward")
            if hides and name.startswith("Checkpoint"):
                raise ModelError(RECOMPUTES)
            if hides and name != "BackwardHookFunction":
                raise UnknownFunctionError(
                    f"the network computes with an autograd function of its own ({name}), which may be an activation; "
                    "the map would take its plain derivative. Build the network from PyTorch's functions, uncompiled "
                    "(for EfficientNet: set_swish(memory_efficient=False)), or take Gradient."
                )
        for node in between.nodes:
            name = node.name()
            if "DifferentiableGraph" in name:
                raise ModelError(
                    "a part of the network is TorchScript, which hides what it computes; pass the Python module that "
                    "it was made from, or take Gradient."
                )
            if (
                node in self._choices
                or _is_written_out(node, between)
                or (_KINKED.fullmatch(name) and node not in self._meant)
            ):
                raise ModelError(
                    f"the network computes {self._found.get(node, 'something')} ({name}), a kink for which there is no "
                    "rule; the map would take its plain derivative. Write the activation as nn.ReLU or another module "
                    "of PyTorch, or take Gradient."
                )


def _is_written_out(node: Any, between: Between) -> bool:
    """Return whether a node ends a corner that is made of smooth functions or of the largest of entries.

    That is the root of a square, and the largest of entries that were put side by side with constants.
    """
    name, below = node.name(), next((following for following, _ in node.next_functions), None)
    if below is None:
        return False
    before, edges = below.name(), [edge for edge in below.next_functions if edge[0] is not None]
    if name == "SqrtBackward0" or (name == "PowBackward0" and node._saved_exponent == 0.5):
        squared = before == "PowBackward0" and below._saved_exponent == 2
        return squared or (before == "MulBackward0" and len(edges) == 2 and edges[0] == edges[1])
    largest = re.fullmatch(r"(Amax|Max|Topk|Sort|Cummax|MaxPool\dD\w*)Backward\w*", name)
    beside = before in ("StackBackward0", "CatBackward0")
    return bool(largest) and beside and any(following not in between for following, _ in below.next_functions)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        entries: Iterable[Any] = value.values() if isinstance(value, dict) else value
        for entry in entries:
            yield from _tensors(entry)


def _line() -> str:
    """Return the line of the network's code that is being run; nothing if that is all PyTorch's."""
    package = __name__.rpartition(".")[0]
    for frame, line in traceback.walk_stack(None):
        module = frame.f_globals.get("__name__", "")
        if module.startswith(package) and frame.f_code.co_name == "output":
            break
        if not module.startswith(("torch.", "gradsculpt.dispatch.", f"{package}.")) and module != "torch":
            return f" in line {line} of {module or frame.f_code.co_filename}"
    return ""
