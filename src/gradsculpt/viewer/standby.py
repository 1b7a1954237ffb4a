"""What is on offer where no network is named: those that packages carry, or a small one, trained at first use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradsculpt.cli.networks import open_classifier
from gradsculpt.cli.opened import NamedNetwork, open_run
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter
from gradsculpt.runs import is_finished
from gradsculpt.viewer.pictures import Picture, photographs, pictures_of
from gradsculpt.viewer.subjects import Subject, Subjects

# Chosen by experiment: about 70% of the cells are right after less than a minute of computing.
_SMALL = "--recipe standard --data cells --train-count 2800 --model convnet --epochs 6 --batch-size 64 --lr 0.005"
_TITLE = "small network (cells)"


def standby(options: Mapping[str, Any]) -> Subjects:
    """Return the networks with the weights of ImageNet that are installed, or else a small one, yet to be trained.

    Options are those of `named_subjects`, and `kept`: where the small network is kept, or None for the folder of the
    user's caches.
    """
    from gradsculpt.models import PRETRAINED
    from gradsculpt.models.published import is_installed

    names = [name for name, _ in PRETRAINED if is_installed(name)]
    if not names:
        return Subjects([_small(options)], options)

    def pictures(network: NamedNetwork, reporter: Reporter) -> Sequence[Picture]:
        return photographs() if options["data"] is None else pictures_of(network, options, reporter)

    def opened(name: str) -> Subject:
        device = options["device"]
        return Subject(name, name, lambda reporter: open_classifier(f"pretrained:{name}", device=device), pictures)

    return Subjects(map(opened, names), options)


def user_cache() -> Path:
    """Return the folder for what the package keeps for a user: in $XDG_CACHE_HOME, or in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    above = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return above / "gradsculpt"


def _small(options: Mapping[str, Any]) -> Subject:
    path = (options.get("kept") or user_cache()) / "small-network"

    def opened(reporter: Reporter) -> NamedNetwork:
        if not is_finished(path):
            _train(path, reporter)
        return open_run(path, options["device"])

    data = {**options, "cache_dir": None}
    return Subject("small", _TITLE, opened, lambda network, reporter: pictures_of(network, data, reporter), path)


def _train(path: Path, reporter: Reporter) -> None:
    """Train the small network, unless another process has done so meanwhile."""
    from gradsculpt.cli.settings import read_settings
    from gradsculpt.training import fit

    reporter.say("training a small network, once; this takes less than a minute")
    with locked(path.with_name(f"{path.name}-making"), "view", reporter.say):
        if not is_finished(path):
            fit(read_settings([*_SMALL.split(), "--resume", "--out", str(path)]), reporter)
