"""DeepLIFT: differences from a baseline, passed back through every activation at the slope between the two."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.integrated import IntegratedGradients
from gradsculpt.attributions.propagation import Call, Propagation, tolerance
from gradsculpt.attributions.sampling import arithmetic, source
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Model, local_gradients
from gradsculpt.isolation import undisturbed

POOLING = frozenset(f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))


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
        with arithmetic(create_graph):
            x = source(x, create_graph)
            start = self._line.start(x)
            reference = _Reference()
            with undisturbed(model), reference:
                at_start = reference.current(model(start))
            multipliers, values, classes = _Rescale(reference.calls).maps(model, x, target, create_graph=create_graph)
            maps = ((x - start) * multipliers).to(x.dtype)
            before = at_start.detach().gather(1, classes.to(at_start.device)[:, None])[:, 0]
            _check_sums(maps.detach(), values.detach(), before)
            return maps

    def completeness(self, model: Model, x: Tensor, target: Tensor | None, maps: Tensor) -> Tensor:
        """Return what the maps add up to minus what they should add up to, [N], as of `IntegratedGradients`."""
        return self._line.completeness(model, x, target, maps)


class _Reference(Propagation):
    """Notes what goes into and comes out of every activation and pooling at the baseline."""

    without_gradients = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Tensor, Any]] = []

    def called(self, call: Call) -> Any:
        result = super().called(call)
        if call.is_activation:
            self.calls.append((call.name, call.tensors[0], result))
        elif call.name in POOLING:
            self.calls.append((call.name, call.tensors[0], _pooled(call)(call.tensors[0])))
        return result


class _Rescale(Propagation):
    """Activations and max pooling propagate by the slope between the baseline and the image."""

    without_gradients = True  # or calls would not match those at the baseline

    def __init__(self, calls: list[tuple[str, Tensor, Any]]) -> None:
        super().__init__()
        self._calls = iter(calls)

    def called(self, call: Call) -> Any:
        if call.is_activation:
            z, y = self._matching(call)
            return self.ruled(call, lambda saved, g: (_rescaled(call, saved, g, z, y),), with_output=True)
        if call.name in POOLING and not call.kwargs.get("return_indices", False):
            z, picked = self._matching(call)
            pool = _pooled(call)
            return self.ruled(call, lambda inputs, g: (_pool_rescaled(call, pool, inputs, g, z, picked),))
        return super().called(call)

    def _matching(self, call: Call) -> tuple[Tensor, Any]:
        name, z, y = next(self._calls, ("", call.tensors[0], None))
        if name != call.name or z.shape != call.tensors[0].shape:
            raise ModelError(
                f"the model calls {call.name} on {list(call.tensors[0].shape)} where at the baseline it "
                f"{f'calls {name} on {list(z.shape)}' if name else 'calls nothing'}, so the two cannot be compared; "
                "DeepLIFT needs a model that computes the same steps for every image."
            )
        return z, y


def _rescaled(call: Call, saved: Sequence[Tensor], g: Tensor, start: Tensor, before: Tensor) -> Tensor:
    *inputs, output = saved
    z = inputs[0]
    change = z - start
    # Differences of rounding errors say nothing about a slope.
    same = change.abs() <= 8 * torch.finfo(z.dtype).eps * torch.maximum(z.abs(), start.abs())
    slope = (output - before) / torch.where(same, 1.0, change)
    if not bool(same.any()):
        return g * slope
    (plain, *_) = local_gradients(call.of, inputs, g, [True] + [False] * (len(inputs) - 1))
    return torch.where(same, g if plain is None else plain, g * slope)


def _pooled(call: Call) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return the pooling of a call as a function that returns maxima and where they are."""
    function = getattr(F, call.name)
    kwargs = {key: value for key, value in call.kwargs.items() if key not in ("input", "return_indices")}
    return lambda t: function(t, *call.args[1:], **kwargs, return_indices=True)


def _pool_rescaled(
    call: Call,
    pool: Callable[[Tensor], tuple[Tensor, Tensor]],
    inputs: Sequence[Tensor],
    g: Tensor,
    start: Tensor,
    picked: tuple[Tensor, Tensor],
) -> Tensor:
    """Give the rise of a maximum to the entry that is largest now, and its fall to the one that was at the baseline."""
    z, (before, places_before) = inputs[0], picked
    now, places = pool(z)
    top = torch.maximum(now, before)
    spatial = z.ndim - int(call.name[-2])
    contributions = torch.zeros_like(z).flatten(spatial)
    for amount, where in ((g * (top - before), places), (g * (now - top), places_before)):
        contributions = contributions.scatter_add(-1, where.flatten(spatial), amount.to(z.dtype).flatten(spatial))
    change = z - start
    same = change.abs() <= 8 * torch.finfo(z.dtype).eps * torch.maximum(z.abs(), start.abs())
    (plain,) = local_gradients(call.of, inputs, g, [True])
    rescaled = contributions.view(z.shape) / torch.where(same, 1.0, change)
    return rescaled if plain is None else torch.where(same, plain, rescaled)


def _check_sums(maps: Tensor, values: Tensor, before: Tensor) -> None:
    """Raise `ModelError` unless maps add up to the change of the logit."""
    added = maps.flatten(1).sum(dim=1)
    scale = maps.abs().flatten(1).sum(dim=1) + values.abs() + before.abs()
    wrong = (added - (values - before)).abs() > tolerance(values, maps) * scale
    if bool(wrong.any()):
        worst = int(wrong.nonzero()[0])
        raise ModelError(
            f"the contributions for image {worst} add up to {added[worst].item():.4g}, but the logit changes by "
            f"{(values - before)[worst].item():.4g}: the rescale rule does not hold for this network, which multiplies "
            "activations (squeeze-and-excitation, attention), or normalises layers or by batch statistics. Call "
            "model.eval() if it is training, or take IntegratedGradients."
        )
