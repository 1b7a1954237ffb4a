"""One engine: an ordinary backward pass in which some functions propagate by a rule of their own."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt import checks
from gradsculpt.attributions.gradient import class_output
from gradsculpt.attributions.propagation.kinks import Kinks
from gradsculpt.attributions.propagation.rectifiers import Rectifier, rectifier
from gradsculpt.attributions.sampling import source
from gradsculpt.diagnosis import refuse_severed
from gradsculpt.dispatch import Call, Dispatch, Handler, Key
from gradsculpt.eager import eager
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Model, input_gradient, local_gradients
from gradsculpt.graph import Between, history
from gradsculpt.isolation import undisturbed
from gradsculpt.outputs import logits_at, predicted, two_sided

Result = TypeVar("Result")

_VIEWING = frozenset(["view", "reshape", "flatten", "contiguous", "ravel", "unflatten"])
"""Names of functions that give a view where a map is laid out for it, and a copy elsewhere."""

Rule = Callable[[Sequence[Tensor], Tensor], Sequence[Tensor | None]]
"""From inputs and the gradient of the output to what the inputs get."""


class Propagation:
    """One pass forward and back, in which handlers make some functions propagate by another rule than their derivative.

    The functions are seen where they are called, so it does not matter whether a module does, how often it is used, or
    what hooks it has. Rules hold for the first backward pass only: a second one, through a graph that was kept, takes
    the derivatives that the functions have, so that a map is differentiated as the function of image and parameters
    that it is. Functions that work in place are called out of place, as rules need what they would overwrite. A
    function with a kink that no handler answered by a rule, and none said to need none, is an error.

    Args:
        create_graph: Whether the maps shall have a graph, so that there will be a second backward pass.

    Attributes:
        origin: The images that the pass starts from.
    """

    origin: Tensor

    def __init__(self, create_graph: bool) -> None:
        self._in_force, self._again = True, create_graph
        self._kinks = Kinks(self.depends)
        self._copied: dict[int, Tensor] = {}

    def ruled(self, call: Call, rule: Rule, *, with_inputs: bool = True, with_output: bool = False) -> Any:
        """Compute a call and let its output propagate by a rule, which may leave out gradients of last inputs.

        The rule gets the output after the inputs if it asks for it. One that says that it does without the inputs may
        get them or not, so that they need not be kept.
        """
        return _Ruled.apply(call, rule, self, with_inputs, with_output, *call.tensors)

    def plain(self, call: Call) -> Any:
        """Compute a call that keeps its derivative, whatever kinks it has."""
        return self._kinks.meant(call, call())

    def rectifier(self, call: Call) -> Rectifier | None:
        """Return how a call is read as a rectifier of something that the images have a part in, if it can be."""
        return rectifier(call, lambda t: self._kinks.is_free(t) or (t.requires_grad and self.depends(t)))

    def depends(self, t: Tensor) -> bool:
        """Return whether a tensor of the pass was computed from the images, and not from parameters alone."""
        return t is self.origin or any(
            hasattr(node, "is_ruled") or node is self.origin.grad_fn or getattr(node, "variable", None) is self.origin
            for node in history(t.grad_fn)
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
        handlers = {key: partial(self._noting, handler) for key, handler in handlers.items()}
        otherwise, model = partial(self._noting, otherwise), eager(model, "a map by propagation rules")
        mode = Dispatch(handlers, otherwise, substitute=True)
        classes = []

        def output(inputs: Tensor) -> Tensor:
            self.origin = inputs
            with mode:
                logits = logits_at(lambda t: mode.current(model(t)), inputs)
            between = Between(logits, inputs)
            if not between.nodes:
                refuse_severed(partial(logits_at, model), inputs)
            self._kinks.refuse(between)
            classes.append(predicted(logits) if target is None else checks.labels(target, *two_sided(logits).shape))
            return class_output(logits, classes[0], "logit")

        try:
            with undisturbed(model):
                values, maps = input_gradient(output, x, create_graph=self._again)
        except RuntimeError as error:
            if "modified by an inplace operation" not in str(error):
                raise
            raise ModelError(
                "the network overwrites a part of a map that a rule of propagation needs as it was, so no map by rules "
                "can be given; have it write elsewhere, or take Gradient."
            ) from error
        finally:
            self._in_force = False
            del self._kinks, self._copied
        if bool((broken := ~values.isfinite()).any()):
            maps = maps.masked_fill(broken.view(-1, 1, 1, 1), torch.nan)
        return maps, values, classes[0]

    def _noting(self, handler: Handler, call: Call) -> Any:
        """Let a handler answer, and take note of what it left without a rule."""
        target = call.tensors[:1] if call.name == "setitem" else (call.overwritten,)
        if any(t is not None and (id(t) in self._copied or id(t._base) in self._copied) for t in target):
            raise _OverwrittenCopyError(
                "the network overwrites a view of a map whose layout has no such view; pass images in the layout that "
                "it is written for (x.contiguous())."
            )
        answer = handler(call)
        if answer is not NotImplemented:
            self._kinks.note(call, answer)
            if call.name in _VIEWING and answer is not call.tensors[0] and answer._base is None:
                self._copied[id(answer)] = answer
        return answer


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


class _OverwrittenCopyError(ModelError):
    """A network overwrites what it takes for a view of a map, and which is a copy, as the map is laid out otherwise."""


def by_channels(compute: Callable[[Tensor], Result], x: Tensor, create_graph: bool) -> Result:
    """Compute from images in the layout that pooling, and what is bound by memory, is faster in on CPUs.

    Networks that cannot tell the difference only: one that overwrites views gets the images as they are.
    """
    if create_graph:
        return compute(x)
    try:
        return compute(source(x, create_graph).contiguous(memory_format=torch.channels_last))
    except _OverwrittenCopyError:
        x = x.contiguous()
    return compute(x)


def tolerance(values: Tensor, x: Tensor) -> float:
    """Return the relative error that a sum over a map may have, from the precision of logits and images."""
    return float(4 * max(torch.finfo(values.dtype).eps, torch.finfo(x.dtype).eps) ** 0.5)


def _if_recorded(handler: Handler, call: Call) -> Any:
    """Ask a handler about a call that gradients go through."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors):
        return handler(call)
    return NotImplemented if call.overwritten is not None else call()
