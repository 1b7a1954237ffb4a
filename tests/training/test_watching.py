"""Looking on while a network is trained: before the first epoch and after each, without a trace."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gradsculpt.attributions import Gradient
from gradsculpt.cli.settings import read_settings
from gradsculpt.models import Classifier, load
from gradsculpt.training import fit
from gradsculpt.training.watching import Watcher

FLAGS = ["--data", "digits", "--image-size", "16", "--batch-size", "64", "--train-count", "128", "--threads", "1"]
FLAGS += ["--recipe", "l1", "--model", "convnet", "--device", "cpu", "--epochs", "2"]


def _ignore(*unused: object) -> None:
    """Neither the network nor the steps are looked at."""


def test_what_is_looked_at_is_the_network_and_it_is_trained_as_if_nobody_looked(tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []
    outputs: list[torch.Tensor] = []
    steps: list[tuple[int, int]] = []
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def look(classifier: Classifier, epochs: int) -> None:
        seen.append((epochs, any(part.training for part in classifier.modules())))
        Gradient()(classifier.network, classifier.space.normalize(x), torch.tensor([0, 1]))
        torch.rand(7)  # whoever looks may draw
        with torch.no_grad():
            outputs.append(classifier(x))

    watcher = Watcher(look, lambda done, total: steps.append((done, total)), tuple(map(str, range(10))), 16)
    fit(read_settings([*FLAGS, "--keep", "last", "--out", str(tmp_path / "watched")]), callbacks=[watcher])
    fit(read_settings([*FLAGS, "--keep", "last", "--out", str(tmp_path / "alone")]))
    assert seen == [(0, False), (1, False), (2, False)]
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4)]
    first, second = (load_file(tmp_path / run / "model.safetensors") for run in ("watched", "alone"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "watched").eval()(x), outputs[-1])
    assert not torch.allclose(outputs[0], outputs[-1])


@pytest.mark.parametrize("when", ["look", "step"])
def test_what_it_raises_stops_the_training(tmp_path: Path, when: str) -> None:
    class EnoughError(BaseException):
        pass

    def enough(*unused: object) -> None:
        raise EnoughError

    look, step = (enough, _ignore) if when == "look" else (_ignore, enough)
    watcher = Watcher(look, step, tuple(map(str, range(10))), 16)
    with pytest.raises(EnoughError):
        fit(read_settings([*FLAGS, "--out", str(tmp_path)]), callbacks=[watcher])
    assert not (tmp_path / "model.safetensors").exists()
