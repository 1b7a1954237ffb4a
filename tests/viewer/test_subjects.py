"""Networks on offer are those that the commands open, once, and when they are wanted."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import shufflenet_v2_x0_5

from gradsculpt.cli.networks import open_classifier
from gradsculpt.errors import ArgumentError, ModelError, RunError
from gradsculpt.viewer.subjects import Subjects, named_subjects
from gradsculpt.viewer.work import Cancelled, Step, Ticket, at_work

NETWORK = "torchvision:shufflenet_v2_x0_5"


def test_a_network_is_opened_once_and_as_the_commands_do(runs: Path, subjects: Subjects) -> None:
    first, second = subjects
    assert [each.is_open for each in subjects] == [False, False]
    steps = list(first.opening(Ticket()))
    assert steps[0] == Step("opening one")
    assert [first.is_open, second.is_open] == [True, False]
    assert list(first.opening(Ticket())) == []
    assert first.network is first.network
    images = torch.rand(2, 3, 32, 32)
    expected = open_classifier(str(runs / "one")).probabilities(images)
    assert torch.equal(first.network.probabilities(images), expected)
    assert not first.network.classifier.training


def test_titles_and_keys_are_unlike_each_other(runs: Path, options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    shutil.copytree(runs / "one", tmp_path / "other" / "one")
    subjects = named_subjects([str(runs / "one"), str(tmp_path / "other" / "one")], options)
    added = subjects.add_run(runs / "one")
    assert [title for title, _ in subjects.choices] == ["one", "one-2", "one-3"]
    assert len({key for _, key in subjects.choices}) == len(subjects) == 3
    assert subjects[added.key] is added
    assert subjects.runs == list(subjects)
    assert added.network.classifier.classes == subjects["0"].network.classifier.classes


def test_networks_by_name_take_weights_in_their_order(runs: Path, options: dict[str, Any], tmp_path: Path) -> None:
    torch.save(shufflenet_v2_x0_5(num_classes=3).state_dict(), tmp_path / "w.pth")
    options |= {"weights": [str(tmp_path / "w.pth")], "image_size": 48}
    run, named = named_subjects([str(runs / "one"), NETWORK], options)
    assert (run.run, named.run) == (runs / "one", None)
    assert named.title == "shufflenet_v2_x0_5"
    assert named.network.classifier.image_size == 48
    assert run.network.classifier.image_size == 32
    with pytest.raises(ArgumentError, match="--weights"):
        named_subjects([str(runs / "one")], options)


def test_what_is_not_there_is_told(runs: Path, options: dict[str, Any], subjects: Subjects) -> None:
    with pytest.raises(RunError, match="no run directory"):
        named_subjects([str(runs / "three")], options)
    with pytest.raises(ModelError):
        _ = next(iter(named_subjects(["pretrained:nothing"], options))).network
    with pytest.raises(ArgumentError, match="no such network"):
        _ = subjects["7"]
    with pytest.raises(ArgumentError, match="choose one"):
        subjects.chosen([])
    assert [each.key for each in subjects.chosen(["1", "0", "1"])] == ["1", "0"]


def test_what_fails_is_tried_again(runs: Path, options: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(runs / "one", tmp_path / "run")
    (subject,) = named_subjects([str(tmp_path / "run")], options)
    (tmp_path / "run" / "model.safetensors").rename(tmp_path / "away")
    with pytest.raises(RunError):
        list(subject.opening(Ticket()))
    (tmp_path / "away").rename(tmp_path / "run" / "model.safetensors")
    list(subject.opening(Ticket()))
    assert subject.is_open


def test_every_pass_stops_for_a_visitor_who_has_cancelled(subjects: Subjects) -> None:
    network, ticket = next(iter(subjects)).network, Ticket()
    images = torch.rand(1, 3, 32, 32)
    with at_work(ticket):
        network.probabilities(images)
        ticket.cancel()
        with pytest.raises(Cancelled):
            network.probabilities(images)
    network.probabilities(images)  # of others


def test_pictures_are_looked_for_once(subjects: Subjects) -> None:
    subject = next(iter(subjects))
    assert any("pictures" in step.text for step in list(subject.showing(Ticket())))
    assert list(subject.showing(Ticket())) == []
    assert subject.images is subject.images


def test_nothing_is_written_into_a_run_that_keeps_no_images(runs: Path, subjects: Subjects) -> None:
    before = sorted(path.name for path in (runs / "one").rglob("*"))
    assert next(iter(subjects)).images
    assert sorted(path.name for path in (runs / "one").rglob("*")) == before
