"""What an experiment is: work on trained networks, or on none, whose scores and arrays a study shows."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from gradsculpt.evaluation import Curve, Entry, Scorecard
from gradsculpt.evaluation.per_image_values import VALUES
from gradsculpt.evaluation.results import entry
from gradsculpt.evaluation.scorecard import FILE
from gradsculpt.files import whole
from gradsculpt.metrics import Score
from gradsculpt.progress import Reporter
from gradsculpt.seals import OPEN, SEAL, seal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gradsculpt.attacks import Attack
    from gradsculpt.attributions import Attribution
    from gradsculpt.data import Splits
    from gradsculpt.models import Classifier
    from gradsculpt.training import TrainSettings

ARRAYS = "arrays.npz"
"""The file of an experiment's arrays, for figures."""

Takes = Literal["nothing", "network", "seeds", "networks"]


@dataclass(frozen=True)
class Given:
    """What an experiment is given: networks, a folder to leave its results in, and what a machine has.

    Args:
        folder: Where results go, and nowhere else; what an earlier, interrupted call left there may be gone on with.
        runs: Run directories of finished trainings: one under "network"; or, as the experiment `takes` them, those of
            one network by seed ("0", "1"), or of all networks by name.
        seed: Seed of all that is drawn at random.
        device: Where to compute: a name such as cpu or cuda:0.
        reporter: Where progress is told.
        settings: Returns the settings that a run was trained with, ready for this machine.
        attribution: Returns the attribution that a text such as smoothgrad:samples=64 names, for a network.
        attack: Returns the attack that a text such as topk:eps=4,k=0.2 names, for a network: its eps, of 8-bit levels
            as in `gradsculpt attack`, in the units that the network takes.
    """

    folder: Path
    runs: Mapping[str, Path]
    seed: int
    device: str
    reporter: Reporter
    settings: Callable[[Path], "TrainSettings"]
    attribution: Callable[[str, "Classifier"], "Attribution"]
    attack: Callable[[str, "Classifier"], "Attack"]

    def classifier(self, name: str = "network") -> "Classifier":
        """Return a network by name, in eval mode on the device."""
        from gradsculpt.models import load

        return load(self.runs[name]).to(torch.device(self.device)).eval()

    def data(self, name: str = "network") -> "Splits":
        """Return the images that a network was trained, validated and is tested on."""
        from gradsculpt.training import open_data

        return open_data(self.settings(self.runs[name]), self.reporter)

    def keep(
        self,
        columns: Mapping[Score, Mapping[str, float]],
        /,
        curves: Mapping[str, Curve] | None = None,
        arrays: "Mapping[str, npt.NDArray[np.generic]] | None" = None,
        **notes: Any,
    ) -> None:
        """Write results: scores with a value an item, such as an image, by the item's name; curves; arrays by name.

        A score's mean and 95% bootstrap interval are over its items; of a single one they are the value itself. Notes
        are plain data for those who draw a figure.
        """
        entries: dict[str, Entry] = {}
        for score, values in columns.items():
            entries[score.name] = entry("experiment", score, torch.tensor(list(values.values())), self.seed)
        if arrays is not None:
            import numpy as np

            with whole(self.folder / ARRAYS) as draft:
                np.savez_compressed(draft, **arrays)  # type: ignore[arg-type]
        items = list(dict.fromkeys(item for values in columns.values() for item in values))
        with whole(self.folder / VALUES) as draft:
            with draft.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["image", *(score.name for score in columns), f"{SEAL} {OPEN}"])
                writer.writerows([item, *(values.get(item, "") for values in columns.values()), ""] for item in items)
            seal(draft)
        Scorecard("experiment", {"notes": notes}, entries, dict(curves or {})).save(self.folder / FILE)


@dataclass(frozen=True)
class Experiment(ABC):
    """Work that no command does, with its settings: a frozen dataclass with a field a setting.

    A study names it by its class in small letters, or one of your own as module.Class, with its settings. `takes` says
    which networks it is given: nothing; one network, for each of them; the seeds of one network together, for each; or
    all networks of the study together. `images`, `needs_minutes` and the like are no fields unless it has such a
    setting. Settings out of range raise `ArgumentError` when it is made.
    """

    takes: ClassVar[Takes] = "network"

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the texts among the settings that name parts, by family: Attribution, Attack.

        Whoever plans a study looks at them before anything is trained.
        """
        return {}

    @abstractmethod
    def run(self, given: Given) -> None:
        """Do the work and call `given.keep` in the end, once."""
