"""Results of a study that was never run, built by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gradsculpt.evaluation import Curve, Entry, Scorecard
from gradsculpt.metrics import Score
from gradsculpt.studies.figures import Measured

GINI = Score("gini", 0.0, 1.0, "higher")
SPOTS = Score("spots", 0.0, float("inf"), "lower")
SHARE = Score("share", 0.0, 1.0, None)
SCORES = {score.name: score for score in (GINI, SPOTS, SHARE)}


@dataclass
class StandIn:
    """What a figure is drawn from: values of the measure `scores` by row, curves, arrays and notes."""

    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    curves: Mapping[tuple[str | None, str], Sequence[Mapping[str, Curve]]] = field(default_factory=dict)
    kept: Mapping[tuple[str, str | None], Mapping[str, npt.NDArray[Any]]] = field(default_factory=dict)
    noted: Mapping[tuple[str, str | None], Mapping[str, Any]] = field(default_factory=dict)
    not_run: tuple[str, ...] = ()

    @property
    def rows(self) -> list[str]:
        there = [*self.values, *(row for row, _ in self.curves if row), *(row for _, row in self.kept if row)]
        return [row for row in dict.fromkeys(there) if row not in self.not_run]

    def measured(self, row: str, score: str) -> Measured | None:
        value = self.values[row].get(score.removeprefix("scores."))
        return None if value is None else Measured(value, value - 0.02, value + 0.03, 1)

    def heading(self, score: str) -> str:
        return score.removeprefix("scores.").replace("_", " ") + " ↑"

    def cards(self, row: str | None, measure: str) -> list[Scorecard]:
        if measure == "scores":
            shown = self.values.get(row or "", {})
            entries = {name: Entry("", SCORES[name], v, v, v, 1) for name, v in shown.items() if name in SCORES}
            return [Scorecard("", {}, entries)] if entries else []
        return [Scorecard("", {}, {}, curves) for curves in self.curves.get((row, measure), ())]

    def arrays(self, measure: str, row: str | None = None) -> Mapping[str, npt.NDArray[Any]]:
        return self.kept.get((measure, row), {})

    def notes(self, measure: str, row: str | None = None) -> Mapping[str, Any]:
        return self.noted.get((measure, row), {})

    def folder(self, measure: str, row: str | None = None) -> Path:
        raise AssertionError("no figure looks into folders")


def curve(title: str, *mean: float, x: Sequence[float] = (0, 1, 2)) -> Curve:
    """Return a curve over a few settings, with an interval of a tenth each way."""
    low, high = tuple(v - 0.1 for v in mean), tuple(v + 0.1 for v in mean)
    return Curve(title, "setting", "score", tuple(x), mean, low, high)


def maps(
    networks: Sequence[str],
    methods: Sequence[str],
    count: int,
    side: int,
    *,
    attacked: bool = False,
    signed: bool = False,
) -> StandIn:
    """Return the results of the experiment `maps`: images and maps of noise, which no compression makes smaller."""
    random = np.random.default_rng(0)
    size = len(methods), count, side, side
    arrays: dict[str, npt.NDArray[Any]] = {"images": random.integers(0, 256, (*size[1:], 3), dtype=np.uint8)}
    said: dict[str, Any] = {}
    for i, network in enumerate(networks):
        for kind in ("maps", "attacked")[: 1 + attacked]:
            noise = random.standard_normal(size) if signed else np.abs(random.standard_normal(size))
            arrays[f"{kind} {i}"] = (noise / np.abs(noise).max()).astype(np.float16)
        said[network] = {"predicted": ["n02102040", "n01440764"] * count, "probability": [0.97, 0.5] * count}
        if attacked:
            arrays[f"changed {i}"] = np.broadcast_to(arrays["images"], (*size, 3))
            said[network] |= {key: [[0.25] * count] * len(methods) for key in ("ssim", "cosine", "topk")}
    notes = {"networks": said, "methods": list(methods), "signed": signed, "images": [f"i{i}" for i in range(count)]}
    notes |= {"true": ["n02102040"] * count, **({"attack": "targeted:eps=4", "k": 0.4} if attacked else {})}
    return StandIn(kept={("maps", None): arrays}, noted={("maps", None): notes})
