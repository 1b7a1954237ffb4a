"""A run that is made in a moment, for what is shared of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.fingerprint import fingerprint
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import gini
from gradsculpt.models import Classifier, build, load, save
from gradsculpt.runs import Reached

DIGITS = tuple("0123456789")
ENDED = Reached(2, 2, "best", 0.5, finished=True)


def make_run(
    folder: Path,
    *,
    classes: Sequence[str] = DIGITS,
    data: str = "digits",
    reached: Reached | None = ENDED,
    extra: Any = None,
    **settings: Any,
) -> Path:
    """Return a run directory with a network of random weights."""
    torch.manual_seed(1)
    how = {"model": "lenet", "num_classes": len(classes), "image_size": 16, "softplus": None}
    network = build("lenet", num_classes=len(classes), image_size=16)
    space = InputSpace((0.5,) * 3, (0.25,) * 3)
    save(
        folder,
        Classifier(network, space, classes, 16),
        build=how,
        extra=extra or {"objective": "CrossEntropy()"},
        reached=reached,
    )
    config = {"data": data, "model": "lenet", "image_size": 16, "train_count": 40, "epochs": 2, "seed": 3, **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def score(run: Path, settings: Any = None, entries: Any = None) -> Scorecard:
    """Leave a scorecard of the weights of a run in it."""
    prints = {"network": fingerprint(load(run)), "images": "1", "protocol": "2"}
    told = {"images": 32, "data": "digits", "split": "test", "notes": [], "fingerprints": prints, **(settings or {})}
    sparsity = Entry("sparsity", gini.scores[0], 0.5, 0.45, 0.55, 32, random_map=0.3)
    card = Scorecard(run.name, told, {"gini": sparsity, **(entries or {})})
    card.save(run / "scorecard.json")
    return card
