"""One engine: an ordinary backward pass in which some functions propagate by a rule of their own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import BackwardCFunction

from gradsculpt import checks
from gradsculpt.attributions.gradient import class_output
from gradsculpt.attributions.sampling import source
from gradsculpt.dispatch import Call, Dispatch, Handler, Key
from gradsculpt.errors import UnknownFunctionError
from gradsculpt.gradients import Model, input_gradient, local_gradients
from gradsculpt.isolation import undisturbed
from gradsculpt.outputs import logits_of, predicted, two_sided

Rule = Callable[[Sequence[Tensor], Tensor], Sequence[Tensor | None]]
"""From inputs and the gradient of the output to what the inputs get."""

_PYTHON_NODE: type = BackwardCFunction


class Propagation:
    """One pass forward and back, in which handlers make some functions propagate by another rule than their derivative.

    The functions are seen where they are called, so it does not matter whether a module does, how often it is used, or
    what hooks it has. Rules hold for the first backward pass only: a second one, through a graph that was kept, takes
    the derivatives that the functions have, so that a map is differentiated as the function of image and parameters
    that it is. Functions that work in place are called out of place, as rules need what they would overwrite.

    Args:
        create_graph: Whether the maps shall have a graph, so that there will be a second backward pass.

    Attributes:
        origin: The images that the pass starts from.
    """

    origin: Tensor

    def __init__(self, create_graph: bool) -> None:
        self._in_force, self._again = True, create_graph

    def ruled(self, call: Call, rule: Rule, *, with_inputs: bool = True, with_output: bool = False) -> Any:
        """Compute a call and let its output propagate by a rule, which may leave out gradients of last inputs.

        The rule gets the output after the inputs if it asks for it. One that says that it does without the inputs may
        get them or not, so that they need not be kept.
        """
        return _Ruled.apply(call, rule, self, with_inputs, with_output, *call.tensors)

    def depends(self, t: Tensor) -> bool:
        """Return whether a tensor of the pass was computed from the images, and not from parameters alone."""
        return t is self.origin or any(
            hasattr(node, "is_ruled") or node is self.origin.grad_fn or getattr(node, "variable", None) is self.origin
            for node in _history(t)
        )

    def maps(
        self,
        model: Model,
        x: Tensor,
        target: Tensor | None,
        handlers: Mapping[Key, Handler],
        otherwise: Handler = Call.__call__,
        *,
        unrecorded: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run a batch [N, C, H, W] forward and back, from the logits of classes [N] or of those that are predicted.

        Handlers, by the name or the kind of an operator, answer a call by `ruled`, or by the function itself, and
        `otherwise` answers the other calls; `unrecorded` ones shall see the calls too through which no gradient goes.

        Returns:
            What arrives at the images [N, C, H, W], which is NaN for those whose output is; the logits of the classes
            [N]; and the classes [N].
        """
        checks.images("x", x)
        if not unrecorded:
            handlers = {key: partial(_if_recorded, handler) for key, handler in handlers.items()}
            otherwise = partial(_if_recorded, otherwise)
        mode = Dispatch(handlers, otherwise, substitute=True)
        classes = []

        def output(inputs: Tensor) -> Tensor:
            self.origin = inputs
            with mode:
                logits = logits_of(mode.current(model(inputs)), len(inputs))
            _refuse_unseen(logits)
            classes.append(predicted(logits) if target is None else checks.labels(target, *two_sided(logits).shape))
            return class_output(logits, classes[0], "logit")

        try:
            with undisturbed(model):
                values, maps = input_gradient(output, x, create_graph=self._again)
        finally:
            self._in_force = False
        if bool((broken := ~values.isfinite()).any()):
            maps = maps.masked_fill(broken.view(-1, 1, 1, 1), torch.nan)
        return maps, values, classes[0]


class _Ruled(Function):
    """A function whose backward pass is a rule while rules are in force, and its derivative afterwards."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        call, rule, propagation, with_inputs, with_output, *inputs = given
        output = call.of_tensors(*inputs)
        again, kind = propagation._again, inputs[0].device.type
        ctx.save_for_backward(*(inputs if with_inputs or again else ()), *([output] if with_output else []))
        ctx.rule, ctx.propagation, ctx.is_ruled, ctx.count = rule, propagation, True, len(inputs)
        ctx.call = call if again else None  # it holds on to what it was called with
        ctx.casts = kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        return output

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        kind, enabled, dtype = ctx.casts
        if ctx.propagation._in_force:
            with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
                passed = list(ctx.rule(saved, g))
            return *[None] * 5, *passed, *[None] * (ctx.count - len(passed))
        with torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False):
            return *[None] * 5, *local_gradients(ctx.call.of_tensors, saved[: ctx.count], g, ctx.needs_input_grad[5:])


def by_channels(x: Tensor, create_graph: bool) -> Tensor:
    """Return images in the layout that pooling, and what is bound by memory, is faster in on CPUs."""
    return x if create_graph else source(x, create_graph).contiguous(memory_format=torch.channels_last)


def tolerance(values: Tensor, x: Tensor) -> float:
    """Return the relative error that a sum over a map may have, from the precision of logits and images."""
    return float(4 * max(torch.finfo(values.dtype).eps, torch.finfo(x.dtype).eps) ** 0.5)


def _if_recorded(handler: Handler, call: Call) -> Any:
    """Ask a handler about a call that gradients go through."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors):
        return handler(call)
    return NotImplemented if call.overwritten is not None else call()


def _refuse_unseen(logits: Tensor) -> None:
    """Raise `ModelError` if a network computes with autograd functions of its own, which no rule can be given."""
    for node in _history(logits):
        stranger = issubclass(type(node), _PYTHON_NODE) and not hasattr(node, "is_ruled")
        if stranger and node.name() != "BackwardHookFunctionBackward":  # which is the identity, of modules with hooks
            raise UnknownFunctionError(
                f"the network computes with an autograd function of its own ({node.name().removesuffix('Backward')}), "
                "which may be an activation; the map would take its plain derivative. Build the network from "
                "PyTorch's functions (for EfficientNet: set_swish(memory_efficient=False)), or take Gradient."
            )


def _history(t: Tensor) -> Iterator[Any]:
    """Yield every node of the graph that a tensor was computed by, each once."""
    waiting, seen = [t.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            yield node
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
