"""DeepLIFT: differences from a baseline, passed back through every activation at the slope between the two."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.integrated import IntegratedGradients
from gradsculpt.attributions.propagation.engine import Propagation, tolerance
from gradsculpt.attributions.propagation.rectifiers import LARGER
from gradsculpt.attributions.sampling import arithmetic, source
from gradsculpt.dispatch import Call, Dispatch, Handler, Kind
from gradsculpt.eager import eager
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Model, local_gradients
from gradsculpt.isolation import undisturbed
from gradsculpt.numerics import per_sample
from gradsculpt.outputs import class_logits, logits_at

_Noted = tuple[str, tuple[Tensor, ...], Any]
"""The name of a function that was called, the tensors that went in, and what came out."""

_BY_ENTRIES = ("abs", *LARGER)
"""Names of other functions of single entries, from which activations are written."""


@dataclass(frozen=True)
class DeepLift(Attribution):
    """DeepLIFT by the rescale rule: what each entry adds to the class logit, compared with a baseline.

    Wherever an activation turned z at the baseline into z', the multiplier is the slope (y' - y) / (z' - z) in the
    place of the derivative; max pooling gives the change of each maximum to the entry that caused it. The entries of a
    map add up to the class logit at the image minus that at the baseline, which is checked at every call.

    One forward pass of the baseline, and one forward and one backward pass of the image.

    Args:
        baseline: What is compared with, in the units that the model takes: a number, or a tensor that broadcasts to
            [N, C, H, W]. With normalised input, 0 is the mean of the dataset.

    Raises:
        ModelError: If the maps do not add up, as where activations are multiplied by one another
            (squeeze-and-excitation, attention), in layer normalisation, or under batch statistics, for which the
            rescale rule does not hold; or if the model computes differently at the baseline.
        ArgumentError: If the baseline does not fit the images, x is no floating-point batch, or a target is out of
            range.

    Source: Shrikumar et al., ICML 2017 (the rescale rule).
    Deviation: An activation may be used more than once, and be called as a function. Pooling windows may overlap. The
        class is the one predicted for the image itself.

    Example:
        >>> x = torch.tensor([[[[2.0, -1.0]]]])
        >>> DeepLift(baseline=-2.0)(lambda t: t.relu().flatten(1), x, torch.tensor([0]))
        tensor([[[[2., 0.]]]])
    """

    baseline: float | Tensor = 0.0
    _line: IntegratedGradients = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_line", IntegratedGradients(baseline=self.baseline))

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the contributions, shape [N, C, H, W], in units of the class logit."""
        model = eager(model, "DeepLIFT")
        with arithmetic(create_graph):
            x = source(x, create_graph)
            start = self._line.start(x)
            at_start, noted = _reference(model, start)
            propagation, waiting = Propagation(create_graph), iter(noted)
            handlers = _handlers(*(partial(rule, propagation, waiting) for rule in (_rescale, _rescale_pool)))
            multipliers, values, classes = propagation.maps(model, x, target, handlers, unrecorded=True)
            maps = ((x - start) * multipliers).to(x.dtype)
            before = class_logits(at_start.detach(), classes.to(at_start.device))
            _check_sums(maps.detach(), values.detach(), before)
            return maps

    def completeness(self, model: Model, x: Tensor, target: Tensor | None, maps: Tensor) -> Tensor:
        """Return what the maps add up to minus what they should add up to, [N], as of `IntegratedGradients`."""
        return self._line.completeness(model, x, target, maps)


def _handlers(activation: Handler, pooling: Handler) -> Mapping[str | Kind, Handler]:
    """Return handlers of the functions that are not linear."""

    def answer(call: Call) -> Any:
        if call.operator.kind is Kind.MAXIMUM:
            return call() if call["return_indices"] else pooling(call)
        return call() if call.name in LARGER and len(call.tensors) != 2 else activation(call)

    return dict.fromkeys((Kind.RECTIFIER, Kind.CLAMP, Kind.SATURATING, Kind.MAXIMUM, *_BY_ENTRIES), answer)


def _reference(model: Model, start: Tensor) -> tuple[Tensor, list[_Noted]]:
    """Return the logits at the baseline, and what goes into and comes out of every activation and pooling there."""
    noted: list[_Noted] = []

    def activation(call: Call) -> Any:
        noted.append((call.name, call.tensors, call()))
        return noted[-1][2]

    def pooling(call: Call) -> Any:
        noted.append((call.name, (call["input"],), _with_places(call, call["input"])))
        return noted[-1][2][0]

    mode = Dispatch(_handlers(activation, pooling), Call.__call__, substitute=True)
    with undisturbed(model), mode:
        return logits_at(lambda t: mode.current(model(t)), start.clone()), noted


def _matching(noted: Iterator[_Noted], call: Call, place: int = 0) -> tuple[Tensor, Any]:
    """Return what went into the same call at the baseline, at a place among its tensors, and what came out."""
    name, inputs, y = next(noted, ("", call.tensors, None))
    z = inputs[place] if len(inputs) == len(call.tensors) else inputs[0]
    if name != call.name or len(inputs) != len(call.tensors) or z.shape != call.tensors[place].shape:
        raise ModelError(
            f"the model calls {call.name} on {list(call.tensors[place].shape)} where at the baseline it "
            f"{f'calls {name} on {list(z.shape)}' if name else 'calls nothing'}, so the two cannot be compared; "
            "DeepLIFT needs a model that computes the same steps for every image."
        )
    return z, y


def _rescale(propagation: Propagation, noted: Iterator[_Noted], call: Call) -> Any:
    """Let an activation propagate by its slope between the baseline and the image."""
    places = [place for place, t in enumerate(call.tensors) if t.requires_grad and propagation.depends(t)]
    place = places[0] if places else 0
    start, before = _matching(noted, call, place)
    if len(places) > 1:
        return call()  # a function of two maps is none of single entries

    def rule(saved: Sequence[Tensor], g: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, output = saved
        caused = (g * (output - before)).sum_to_size(start.shape)
        return *[None] * place, _multipliers(call, inputs, g, start, caused, place)

    return propagation.ruled(call, rule, with_output=True)


def _rescale_pool(propagation: Propagation, noted: Iterator[_Noted], call: Call) -> Any:
    """Give the rise of a maximum to the entry that is largest now, and its fall to the one that was at the baseline."""
    start, (before, places_before) = _matching(noted, call)

    def rule(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor]:
        z = inputs[0]
        now, places = _with_places(call, z)
        top, spatial = torch.maximum(now, before), z.ndim - int(call.name[-2])
        caused = torch.zeros_like(z).flatten(spatial)
        for amount, where in ((g * (top - before), places), (g * (now - top), places_before)):
            caused = caused.scatter_add(-1, where.flatten(spatial), amount.to(z.dtype).flatten(spatial))
        return (_multipliers(call, inputs, g, start, caused.view(z.shape)),)

    return propagation.ruled(call, rule)


def _with_places(call: Call, x: Tensor) -> Any:
    """Return the maxima of a pooling and where they are."""
    return replace(call, function=getattr(F, call.name)).given(input=x, return_indices=True)()


def _multipliers(
    call: Call, inputs: Sequence[Tensor], g: Tensor, start: Tensor, caused: Tensor, place: int = 0
) -> Tensor:
    """Divide what changes of entries caused by the changes; what did not change has the derivative."""
    z = inputs[place]
    change = z - start
    # Differences of rounding errors say nothing about a slope.
    same = change.abs() <= 8 * torch.finfo(z.dtype).eps * torch.maximum(z.abs(), start.abs())
    slopes = caused / torch.where(same, 1.0, change)
    if not bool(same.any()):
        return slopes
    plain = local_gradients(call.of_tensors, inputs, g, [each == place for each in range(len(inputs))])[place]
    return slopes if plain is None else torch.where(same, plain, slopes)


def _check_sums(maps: Tensor, values: Tensor, before: Tensor) -> None:
    """Raise `ModelError` unless maps add up to the change of the logit."""
    added, change = per_sample(maps), values - before
    scale = per_sample(maps.abs()) + values.abs() + before.abs()
    wrong = (added - change).abs() > tolerance(values, maps) * scale
    if bool(wrong.any()):
        worst = int(wrong.nonzero()[0])
        raise ModelError(
            f"the contributions for image {worst} add up to {added[worst].item():.4g}, but the logit changes by "
            f"{change[worst].item():.4g}: the rescale rule does not hold for this network, which multiplies "
            "activations (squeeze-and-excitation, attention), or normalises layers or by batch statistics. Call "
            "model.eval() if it is training, or take IntegratedGradients."
        )
