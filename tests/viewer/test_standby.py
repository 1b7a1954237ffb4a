"""Without a run there is something to look at too."""

from pathlib import Path
from typing import Any

import pytest

from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import GradsculptError
from gradsculpt.models import PRETRAINED
from gradsculpt.models.published import is_installed
from gradsculpt.progress import Reporter
from gradsculpt.viewer import standby as module
from gradsculpt.viewer.standby import standby, user_cache
from gradsculpt.viewer.work import Cancelled, Ticket

QUICK = "--recipe standard --data digits --model lenet --epochs 1 --batch-size 512 --lr 0.01"


def test_networks_that_are_installed_are_on_offer(options: dict[str, Any]) -> None:
    there = [name for name, _ in PRETRAINED if is_installed(name)]
    subjects = standby(options)
    assert [subject.title for subject in subjects] == there or not there
    for subject in subjects if there else ():
        assert subject.run is None
        assert len(subject.network.classifier.classes) == 1000


def test_what_is_not_installed_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not any(is_installed(name) for name, _ in PRETRAINED)
    assert not is_installed("resnet18")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no network be installed, and the small one be trained quickly."""
    monkeypatch.setattr("gradsculpt.models.published.is_installed", lambda name: False)
    monkeypatch.setattr(module, "_SMALL", QUICK)


@pytest.mark.usefixtures("without")
def test_else_a_small_network_is_trained_once(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (subject,) = standby(options)
    assert not list(options["kept"].iterdir())
    ticket = Ticket()
    opening = subject.opening(ticket)
    next(opening)
    ticket.cancel()
    with pytest.raises(Cancelled):
        list(opening)
    texts = [step.text for step in subject.opening(Ticket())]
    assert any("training a small network" in text for text in texts)
    assert any("epoch 1" in text for text in texts)
    assert subject.network.classifier.classes == tuple(map(str, range(10)))
    assert len(subject.images) > 9
    monkeypatch.setattr("gradsculpt.training.fit", None)
    (again,) = standby(options)
    assert [step.text for step in again.opening(Ticket())] == [f"opening {again.title}"]
    assert [path.name for path in options["kept"].iterdir() if "small" in path.name] == ["small-network"]


def test_the_settings_of_the_small_network_are_some(tmp_path: Path) -> None:
    settings = read_settings([*module._SMALL.split(), "--resume", "--out", str(tmp_path / "run")])
    assert (settings.data, settings.model, settings.epochs) == ("cells", "convnet", 6)


@pytest.mark.parametrize(("told", "expected"), [("/caches", "/caches/gradsculpt"), ("", None), ("relative", None)])
def test_the_cache_of_a_user_is_where_the_system_has_it(
    told: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", told)
    assert user_cache() == (Path(expected) if expected else Path.home() / ".cache" / "gradsculpt")


def test_a_folder_that_cannot_be_written_to_is_told(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GradsculptError):
        module._train(tmp_path / "file" / "below", Reporter())
