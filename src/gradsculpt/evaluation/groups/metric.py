"""A metric as a group of its own: the door for everybody's own metrics."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.groups.base import Column, ScoreGroup
from gradsculpt.evaluation.groups.robustness import check_levels
from gradsculpt.metrics import Metric, Neighbourhood

_SUPPLIED: Mapping[str, Callable[[EvaluationBatch, float], Any]] = {
    "maps": lambda batch, eps: batch.maps,
    "heat": lambda batch, eps: batch.heat,
    "a": lambda batch, eps: batch.maps,
    "b": lambda batch, eps: batch.noisy_maps(eps),
    "truth": lambda batch, eps: batch.ground_truth,
    "gaze": lambda batch, eps: batch.ground_truth,
    "model": lambda batch, eps: batch.network,
    "attribution": lambda batch, eps: batch.attribution,
    "x": lambda batch, eps: batch.x,
    "y": lambda batch, eps: batch.target,
    "labels": lambda batch, eps: batch.labels,
    "logits": lambda batch, eps: batch.logits,
    "eps": lambda batch, eps: batch.pixels(eps),
    "neighbourhood": lambda batch, eps: Neighbourhood(bounds=batch.bounds, seed=batch.seed),
    "bounds": lambda batch, eps: batch.bounds,
    "seed": lambda batch, eps: batch.seed,
}


@dataclass(frozen=True)
class MetricGroup(ScoreGroup):
    """Scores of one metric, shipped or your own, whose arguments are supplied by their names.

    Supplied are maps (as the attribution gives them), heat (the same with one value a pixel), a and b (clean maps, and
    those after noise), truth or gaze (images of batches without any are left out), model, attribution, x, y (classes of
    the maps; the true ones for a metric of logits), labels (the true classes), logits, eps and bounds (in the network's
    units, a number a channel; an eps that is annotated as a float is another length, and not supplied), and seed.

    Args:
        metric: What `gradsculpt.metrics.metric` makes of a function.
        options: More arguments of it, by name.
        eps: Half-width of the uniform noise, in 8-bit pixel levels.

    Raises:
        ArgumentError: If the metric is none, needs an argument that is not supplied, or does not take an option.

    Source: that of the metric.

    Example:
        >>> from gradsculpt.metrics import Score, metric
        >>> @metric(Score("peak", 0.0, float("inf"), None))
        ... def peak(maps):
        ...     return maps.abs().flatten(1).amax(dim=1)
        >>> MetricGroup(peak).name
        'peak'
    """

    metric: Metric[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    eps: float = 8.0

    def __post_init__(self) -> None:
        if not isinstance(self.metric, Metric):
            raise ArgumentError(
                f"{checks.told(self.metric)} is no Metric, so its scores have no range and no direction; decorate the "
                "function with gradsculpt.metrics.metric(Score(...))."
            )
        checks.declared(self)
        if missing := [name for name in self.metric.needs if name not in (*self._supplied(), *self.options)]:
            raise ArgumentError(
                f"{self.metric.name} needs {', '.join(missing)}, which an evaluation cannot supply; pass it in "
                f"options, or take some of {', '.join(_SUPPLIED)}."
            )
        if unknown := [name for name in self.options if name not in signature(self.metric.function).parameters]:
            raise ArgumentError(f"{self.metric.name} has no argument {unknown[0]!r}; leave it out of options.")
        check_levels(eps=(self.eps,))

    @property
    def name(self) -> str:
        """The name of the metric."""
        return self.metric.name

    @property
    def needs_labels(self) -> bool:
        """Whether the metric takes labels, or classes of logits."""
        names = {*self._supplied()} - {*self.options}
        return "labels" in names or {"logits", "y"} <= names

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield the scores of the metric; of several, each begins with the name of the metric."""
        names = self._supplied()
        if batch.ground_truth is None and {"truth", "gaze"} & {*names}:
            return
        supplied = {name: _SUPPLIED[name](batch, self.eps) for name in names if name not in self.options}
        if "logits" in supplied and "y" in supplied:
            supplied["y"] = batch.labels
        values = self.metric(**{**supplied, **self.options})
        if isinstance(values, Tensor):
            yield Column(self.metric.scores[0], values)
        else:
            for score in self.metric.scores:
                yield Column(replace(score, name=f"{self.name}_{score.name}"), values[score.name])

    def _supplied(self) -> list[str]:
        parameters = signature(self.metric.function).parameters
        length = "eps" in parameters and parameters["eps"].annotation in (float, "float")
        return [name for name in parameters if name in _SUPPLIED and not (length and name == "eps")]
