"""One engine: an ordinary backward pass in which some functions propagate by a rule of their own."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

from gradsculpt import checks
from gradsculpt.attributions.gradient import class_output
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Model, input_gradient, local_gradients
from gradsculpt.isolation import undisturbed

RECTIFIERS = frozenset(
    {"relu", "relu6", "hardtanh", "threshold", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu", "gelu", "silu"}
    | {"mish", "softplus", "hardswish"}
)
"""Functions that let what is positive through, sharply or smoothly."""

SATURATING = frozenset({"sigmoid", "tanh", "hardsigmoid", "softsign", "logsigmoid", "log_sigmoid"})
"""The other functions of one entry each that networks use as activations."""

CLAMPS = {"clamp": "min", "clip": "min", "clamp_min": "min"}

IN_PLACE_ALIASES = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div"}

Rule = Callable[[Sequence[Tensor], Tensor], Sequence[Tensor | None]]
"""From inputs and the gradient of the output to what the inputs get."""


@dataclass(frozen=True)
class Call:
    """One call of a PyTorch function by a network.

    Attributes:
        name: The bare name of the function: `relu` for `F.relu`, `torch.relu_` and `Tensor.relu`.
        function: The function, out of place.
        args: What it is called with.
        kwargs: What it is called with by name.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument given by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors among the arguments, in their order."""
        return tuple(value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Tensor))

    @property
    def is_rectifier(self) -> bool:
        """Whether the function lets what is positive through."""
        if self.name in CLAMPS:
            return _is_zero(self.argument(1, CLAMPS[self.name]))
        if self.name == "hardtanh":
            return _is_zero(self.argument(1, "min_val", -1.0))
        return self.name in RECTIFIERS

    @property
    def is_activation(self) -> bool:
        """Whether the function is applied to every entry by itself, and is not linear."""
        return self.name in RECTIFIERS or self.name in SATURATING or self.is_rectifier

    def of(self, *tensors: Tensor) -> Any:
        """Call the function with other tensors."""
        waiting = iter(tensors)
        args = [next(waiting) if isinstance(value, Tensor) else value for value in self.args]
        return self.function(
            *args, **{key: next(waiting) if isinstance(v, Tensor) else v for key, v in self.kwargs.items()}
        )

    def unbiased(self, x: Tensor, weight: Tensor, groups: int | None = None) -> Tensor:
        """Call a layer that has weights with other inputs and weights, and without its bias."""
        args = (x, weight, None, *self.args[3:])[: max(2, len(self.args))]
        kwargs = {key: value for key, value in self.kwargs.items() if key not in ("input", "weight", "bias")}
        if groups is not None:
            args = (*args[:6], groups, *args[7:])[: len(args)]
            kwargs |= {"groups": groups} if "groups" in kwargs else {}
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]


@dataclass
class _Switch:
    """Whether rules are in force, which they are for one backward pass, and whether there will be another."""

    on: bool = True
    again: bool = False


class Propagation(TorchFunctionMode):
    """A forward pass that makes some functions propagate by another rule than their derivative.

    The functions are seen where they are called, so it does not matter whether a module does, how often it is used, or
    what hooks it has. Rules hold for the first backward pass only: a second one, through a graph that was kept, takes
    the derivatives that the functions have, so that a map is differentiated as the function of image and parameters
    that it is. Functions that work in place are called out of place, as rules need what they would overwrite.
    """

    without_gradients: ClassVar[bool] = False
    """Whether calls are of interest in which no gradient is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self._switch = _Switch()
        self._overwritten: dict[int, tuple[Tensor, Tensor]] = {}

    def begin(self, x: Tensor) -> None:
        """Note the images that the pass starts from."""

    def called(self, call: Call) -> Any:
        """Answer a call of the network; a subclass says how, with `ruled` or the function itself."""
        return call.function(*call.args, **call.kwargs)

    def ruled(self, call: Call, rule: Rule, *, with_inputs: bool = True, with_output: bool = False) -> Tensor:
        """Call a function and let its output propagate by a rule, which may leave out gradients of last inputs.

        The rule gets the output after the inputs if it asks for it. One that says that it does without the inputs may
        get them or not, so that they need not be kept.
        """
        tensors = call.tensors
        kind = tensors[0].device.type
        casts = (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        result: Tensor = _Ruled.apply(call.of, rule, self._switch, casts, (with_inputs, with_output), *tensors)
        return result

    def maps(
        self, model: Model, x: Tensor, target: Tensor | None, *, create_graph: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run a batch forward and back.

        Returns:
            What arrives at the images [N, C, H, W], which is NaN for those whose output is; the logits of the classes
            [N]; and the classes [N].
        """
        checks.images("x", x)
        self._switch.again = create_graph
        classes = []

        def output(inputs: Tensor) -> Tensor:
            self.begin(inputs)
            with self:
                logits = self.current(model(inputs))
            _refuse_unseen(logits)
            classes.append(logits.argmax(dim=1) if target is None else target)
            return class_output(logits, classes[0], "logit")

        try:
            with undisturbed(model):
                values, maps = input_gradient(output, x, create_graph=create_graph)
        finally:
            self._switch.on = False
            self._overwritten.clear()
        broken = ~values.isfinite()
        if bool(broken.any()):
            maps = maps.masked_fill(broken.view(-1, 1, 1, 1), torch.nan)
        return maps, values, classes[0]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer a call, if it is one that the images have a part in."""
        kwargs = kwargs or {}
        if self._overwritten:
            args, kwargs = self.current(tuple(args)), self.current(dict(kwargs))
        call, overwritten = _out_of_place(func, tuple(args), dict(kwargs))
        if func is Tensor.view and not any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values())):
            # Maps may be laid out otherwise than the network laid out the images, where a view is a copy.
            func = Tensor.reshape
            call = replace(call, function=func)
        recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors)
        if not (recorded or (self.without_gradients and call.tensors)):
            return func(*args, **kwargs)
        if overwritten is None:
            return self.called(call)
        if not overwritten._is_view():
            result = self.called(call)
            self._overwritten[id(overwritten)] = (overwritten, result)
            return result
        # What is overwritten is a part of something else, which has to change too.
        tensors = [overwritten.clone(), *call.tensors[1:]]
        return overwritten.copy_(self.called(_with(call, tensors)))

    def current(self, value: Any) -> Any:
        """Return a value with what the network believes it has overwritten in the place of what it kept."""
        if isinstance(value, Tensor):
            while id(value) in self._overwritten:
                value = self._overwritten[id(value)][1]
            return value
        if type(value) in (tuple, list):
            return type(value)(map(self.current, value))
        return {key: self.current(entry) for key, entry in value.items()} if type(value) is dict else value


class _Ruled(Function):
    """A function whose backward pass is a rule while a switch is on, and its derivative when it is off."""

    @staticmethod
    def forward(
        ctx: Any,
        function: Callable[..., Tensor],
        rule: Rule,
        switch: _Switch,
        casts: tuple[str, bool, torch.dtype],
        kept: tuple[bool, bool],
        *inputs: Tensor,
    ) -> Tensor:
        output = function(*inputs)
        ctx.save_for_backward(*(inputs if kept[0] or switch.again else ()), *([output] if kept[1] else []))
        ctx.is_ruled, ctx.count = True, len(inputs)
        ctx.function, ctx.rule, ctx.switch, ctx.casts = function, rule, switch, casts
        return output

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        rest = (None,) * 5
        kind, enabled, dtype = ctx.casts
        if ctx.switch.on:
            with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
                found = list(ctx.rule(saved, g))
            return *rest, *found, *[None] * (ctx.count - len(found))
        with torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False):
            return *rest, *local_gradients(ctx.function, saved[: ctx.count], g, ctx.needs_input_grad[5:])


def tolerance(values: Tensor, x: Tensor) -> float:
    """Return the relative error that a sum over a map may have, from the precision of logits and images."""
    return float(4 * max(torch.finfo(values.dtype).eps, torch.finfo(x.dtype).eps) ** 0.5)


def depends(t: Tensor, origin: Tensor) -> bool:
    """Return whether a tensor of a pass was computed from the images, and not from parameters alone."""
    waiting, seen = [t.grad_fn], set()
    if t is origin:
        return True
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if hasattr(node, "is_ruled") or node is origin.grad_fn or getattr(node, "variable", None) is origin:
            return True
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return False


def _refuse_unseen(logits: Tensor) -> None:
    """Raise `ModelError` if a network computes with autograd functions of its own, which no rule can be given."""
    waiting, seen = [logits.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        own = issubclass(type(node), _PYTHON_NODE) and not hasattr(node, "is_ruled")
        if own and node.name() != "BackwardHookFunctionBackward":  # which is the identity, of modules with hooks
            raise ModelError(
                f"the network computes with an autograd function of its own ({node.name().removesuffix('Backward')}), "
                "which may be an activation; the map would take its plain derivative. Build the network from "
                "PyTorch's functions (for EfficientNet: set_swish(memory_efficient=False)), or take Gradient."
            )
        waiting += [following for following, _ in node.next_functions]


def _out_of_place(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Call, Tensor | None]:
    """Return a call as one that overwrites nothing, and the tensor that it would have overwritten."""
    given = getattr(func, "__name__", "")
    name = given.strip("_")
    name = IN_PLACE_ALIASES.get(name, name)
    call = Call(name, func, args, kwargs)
    if given.endswith("_") and (not given.startswith("__") or given.strip("_") in IN_PLACE_ALIASES):
        plain = next((found for home in (Tensor, F, torch) if (found := getattr(home, name, None))), None)
        if plain is None or name not in _OVERWRITING or not call.tensors:
            return call, None
        return replace(call, function=plain), call.tensors[0]
    position = _INPLACE_POSITIONS.get(name)
    if position is None or not call.argument(position, "inplace", False):
        return call, None
    args = tuple(False if i == position else value for i, value in enumerate(args))
    kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
    return Call(name, func, args, kwargs), call.tensors[0]


def _with(call: Call, tensors: Sequence[Tensor]) -> Call:
    """Return a call with other tensors."""
    waiting = iter(tensors)
    args = tuple(next(waiting) if isinstance(value, Tensor) else value for value in call.args)
    kwargs = {key: next(waiting) if isinstance(v, Tensor) else v for key, v in call.kwargs.items()}
    return replace(call, args=args, kwargs=kwargs)


def _inplace_positions() -> dict[str, int]:
    """Return where the functions of `torch.nn.functional` take whether they work in place."""
    found = {}
    for name in (*RECTIFIERS, *SATURATING, "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
        function = getattr(F, name, None)
        if inspect.isfunction(function):
            parameters = list(inspect.signature(function).parameters)
            if "inplace" in parameters:
                found[name] = parameters.index("inplace")
    return found


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value == 0


_PYTHON_NODE: type = BackwardCFunction
_INPLACE_POSITIONS = _inplace_positions()
_OVERWRITING = RECTIFIERS | SATURATING | CLAMPS.keys() | {"add", "sub", "mul", "div", "neg"}
