"""DiffROAR of trained networks: what others learn from the pixels that their maps mark, and from the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradsculpt import checks
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.evaluation import Curve, Retraining, diff_roar
from gradsculpt.evaluation.diff_roar import LEVELS
from gradsculpt.metrics import Score
from gradsculpt.objectives import CrossEntropy
from gradsculpt.studies.experiments.base import Experiment, Given, Takes

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.training import TrainSettings

TABLE = "accuracies.csv"
"""The accuracy of every retraining, written after each, so that those that are done are not done again."""

_OF_A_TRAINING = ("model", "softplus", "epochs", "batch_size", "accumulate", "clip", "precision")

DIFF_ROAR = Score(
    "diff_roar",
    -1.0,
    1.0,
    "higher",
    "fraction",
    "How much more a fresh network learns from the pixels that the map marks most than from those it marks least.",
)
_KEPT = "How often a fresh network is right that saw only the pixels which the map marks {}."
TOP = Score("top_accuracy", 0.0, 1.0, "higher", "fraction", _KEPT.format("most"))
BOTTOM = Score("bottom_accuracy", 0.0, 1.0, "lower", "fraction", _KEPT.format("least"))


@dataclass(frozen=True)
class DiffRoar(Experiment):
    """DiffROAR on a network's own training and test images, by `evaluation.diff_roar`.

    It keeps `diff_roar`, `top_accuracy` and `bottom_accuracy`, a value a level and seed, and a curve of each over the
    levels, whose band reaches from the lowest to the highest seed. Retrainings that are done are not done again.

    Args:
        levels: Shares of the pixels to keep, each above 0 and below 1.
        seeds: Seeds of the retrainings; there are two for each level and seed.
        method: The attribution, as a text.
        target: The class whose maps are read: true or predicted.
        retraining: How networks are retrained, where that is not as the network was: model (None for its own),
            softplus, epochs, batch_size, accumulate, clip, precision, and the settings of `Optimization`. Whatever the
            network was trained with, they start from random weights and minimise cross entropy.

    Raises: ArgumentError, when made, if a level is out of range, a list is empty or repeats itself, or a setting of the
        retraining is not known.
    Source: Gong et al., CVPR 2024, section 5.2, B.5: a ResNet-34 for 150 epochs, nine levels, three seeds.
    """

    takes: ClassVar[Takes] = "network"

    levels: tuple[float, ...] = LEVELS
    seeds: tuple[int, ...] = (0, 1, 2)
    method: str = "gradient"
    target: Literal["true", "predicted"] = "true"
    retraining: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.declared(self)
        for name, values in (("levels", self.levels), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise ArgumentError(
                    f"{name}={list(values)} {'repeat themselves' if values else 'are none'}, so there is nothing to "
                    "average; pass each that is wanted once."
                )
        for seed in self.seeds:
            checks.whole("seeds", seed, 0)
        if wrong := [level for level in self.levels if not 0 < level < 1]:
            raise ArgumentError(
                f"levels={list(self.levels)} are shares of the pixels to keep, and {wrong[0]:g} keeps all or none; "
                "pass shares above 0 and below 1."
            )
        from gradsculpt.training import Optimization, TrainSettings

        known = (*_OF_A_TRAINING, *(each.name for each in fields(Optimization)))
        if strange := [name for name in self.retraining if name not in known]:
            raise ArgumentError(
                f"retraining has no setting {strange[0]}; its settings are {', '.join(known)}."
                f"{did_you_mean(strange[0], known)}"
            )
        self.settings(TrainSettings(Path()), "cpu")  # refused now rather than after the network was trained

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the method."""
        return {"Attribution": (self.method,)}

    def run(self, given: Given) -> None:
        """Retrain, and keep the differences."""
        classifier, data = given.classifier(), given.data()
        settings = self.settings(given.settings(given.runs["network"]), given.device)
        with given.reporter.work("DiffROAR", 2 * len(self.levels) * len(self.seeds), "retrainings") as tell:
            result = diff_roar(
                classifier,
                data.train,
                data.test,
                given.attribution(self.method, classifier),
                Retraining(settings),
                levels=self.levels,
                seeds=self.seeds,
                target=self.target,
                out=given.folder / TABLE,
                progress=tell,
            )
        tables = {DIFF_ROAR: result.values, TOP: result.top, BOTTOM: result.bottom}
        given.keep(
            {score: self._items(table) for score, table in tables.items()},
            {score.name: self._curve(score, table) for score, table in tables.items()},
            model=settings.model,
            epochs=settings.epochs,
            train=len(data.train),
            test=len(data.test),
        )

    def settings(self, trained: "TrainSettings", device: str) -> "TrainSettings":
        """Return the settings of a retraining, from those that the network was trained with."""
        own = {name: value for name, value in self.retraining.items() if name in _OF_A_TRAINING}
        if own.get("model") is None:
            own["model"] = trained.model
        elif own["model"] != trained.model:
            own.setdefault("softplus", None)
        paces = {name: _plain(value) for name, value in self.retraining.items() if name not in own}
        fresh: dict[str, Any] = {"objective": CrossEntropy(), "weights": None, "freeze": (), "shuffle_labels": False}
        fresh |= {"optimization": replace(trained.optimization, **paces), "device": device.partition(":")[0]}
        return replace(trained, **fresh, **own)

    def _items(self, table: "Tensor") -> dict[str, float]:
        rows = zip(self.levels, table.tolist(), strict=True)
        return {f"k={k:g}, seed {s}": v for k, row in rows for s, v in zip(self.seeds, row, strict=True)}

    def _curve(self, score: Score, table: "Tensor") -> Curve:
        ends = (table.mean(dim=1), table.amin(dim=1), table.amax(dim=1))
        mean, low, high = (tuple(100 * value for value in values.tolist()) for values in ends)
        titles = {DIFF_ROAR: "DiffROAR", TOP: "Accuracy on the strongest pixels", BOTTOM: "Accuracy on the weakest"}
        axes = ("share of the pixels kept (%)", "difference (points)" if score is DIFF_ROAR else "accuracy (%)")
        return Curve(titles[score], *axes, tuple(100 * level for level in self.levels), mean, low, high)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
