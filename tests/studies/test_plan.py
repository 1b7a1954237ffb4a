"""From a study to its tasks: what is shared, what makes another task, and what a command is called with."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gradsculpt.cli.performing import command_of
from gradsculpt.cli.tasks import Spelling
from gradsculpt.errors import ArgumentError
from gradsculpt.studies import study as studies
from gradsculpt.studies.engine.job import Job, Machine
from gradsculpt.studies.plan import Plan, plan
from tests.studies.test_study import write


def planned(folder: Path, scale: str = "smoke", **changed: object) -> Plan:
    return plan(studies.read(write(folder, **changed), scale), Spelling({}))


def test_each_training_is_one_task_for_all_its_rows(tmp_path: Path) -> None:
    """Two rows of one network, and no training for a network that no row is of."""
    made = planned(tmp_path)
    assert list(made.trainings) == [("plain", 0)]
    assert list(made.measurements) == [("scores", "plain", 0), ("scores", "smooth", 0)]
    assert len(made.tasks()) == 3
    assert next(iter(made.tasks().values())).kind == "train"


def test_one_training_by_other_words_is_one_task(tmp_path: Path) -> None:
    """A recipe and its settings spelled out are the same training, in whatever order and file they stand."""
    short = planned(tmp_path)
    spelled = {"objective": "crossentropy", "epochs": 1, "data": "cells"}
    other = planned(tmp_path, train={}, networks={"plain": spelled}, scales={})
    assert short.trainings["plain", 0].key == other.trainings["plain", 0].key


@pytest.mark.parametrize(
    "changed",
    [
        {"networks": {"plain": {"recipe": "l1"}}},
        {"train": {"data": "digits", "recipe": None}},
        {"networks": {"plain": {"recipe": "standard", "lr": 0.5}}},
        {"networks": {"plain": {"recipe": "standard", "augment.flip": False}}},
        {"seeds": [1]},
    ],
)
def test_what_decides_the_weights_makes_another_task(tmp_path: Path, changed: dict[str, object]) -> None:
    """Each setting of a training, and the seed; measurements of other networks are others too."""
    first, other = planned(tmp_path), planned(tmp_path, "smoke", **changed)
    assert not {task.key for task in first.trainings.values()} & {task.key for task in other.trainings.values()}
    assert not first.tasks().keys() & other.tasks().keys()


def test_the_code_of_the_methods_that_are_named_counts(tmp_path: Path) -> None:
    """An attribution that a row names is code of its task, and not of the others'."""
    made = planned(tmp_path)
    codes = {row: task.code for (_, row, _), task in made.measurements.items()}
    assert "gradsculpt.attributions.SmoothGrad" in codes["smooth"]
    assert "gradsculpt.attributions.SmoothGrad" not in codes["plain"]
    assert "gradsculpt.objectives.CrossEntropy" in made.trainings["plain", 0].code
    assert "gradsculpt.objectives.HessianNorm" not in made.trainings["plain", 0].code


def test_a_folder_counts_by_what_lies_in_it_not_by_where_it_is(tmp_path: Path) -> None:
    """The same files elsewhere are the same images; one more is not."""
    keys = []
    for place, names in (("here", ["a.png"]), ("there", ["a.png"]), ("more", ["a.png", "b.png"])):
        (tmp_path / place / "train").mkdir(parents=True)
        for name in names:
            (tmp_path / place / "train" / name).write_bytes(b"x")
        study = studies.read(write(tmp_path), "smoke")
        keys.append(plan(study, Spelling({"cells": f"folder:{tmp_path / place}"})).trainings["plain", 0].key)
    assert keys[0] == keys[1] != keys[2]
    assert keys[0] != planned(tmp_path).trainings["plain", 0].key


def test_a_copy_of_a_set_is_taken_as_the_set_is(tmp_path: Path) -> None:
    """A folder of digits is neither mirrored nor cut at 128 pixels, unless that is asked."""
    (tmp_path / "mine").mkdir()
    place = f"folder:{tmp_path / 'mine'}"
    for changed, size in (({}, "32"), ({"image_size": 16}, "16")):
        content = {"data": "digits", "recipe": None, **changed}
        study = studies.read(write(tmp_path, train=content), "smoke")
        task = plan(study, Spelling({"digits": place})).trainings["plain", 0]
        words = command_of(Job.of(task, Machine(str(tmp_path), data={"digits": place})))
        given = dict(pairwise(words))
        assert given["--data"] == place
        assert given["--image-size"] == size
        assert "--augment.flip=false" in words
        assert words.count("--data") == 1


def test_a_job_survives_being_text(tmp_path: Path) -> None:
    """As it goes to another process or machine."""
    for task in planned(tmp_path).tasks().values():
        job = Job.of(task, Machine(str(tmp_path), data={"cells": "folder:x"}, minutes=2.0))
        assert dataclasses.asdict(Job.read(job.text())) == dataclasses.asdict(job)


def test_rows_and_parts_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """A row by its likely name; a measure that no command or experiment is."""
    study = studies.read(write(tmp_path), "smoke")
    with pytest.raises(ArgumentError, match="Did you mean smooth"):
        plan(study, Spelling({}), ["smoth"])
    with pytest.raises(ArgumentError, match="Did you mean evaluate"):
        planned(tmp_path, measure={"scores": {"evalute": {}}}, scales={})
    with pytest.raises(ArgumentError, match="is no Experiment"):
        planned(tmp_path, measure={"scores": {"gradsculpt.errors.DataError": {}}}, scales={})
    with pytest.raises(ArgumentError, match="Did you mean --lr"):
        planned(tmp_path, networks={"plain": {"lrr": 1}}, scales={})


def test_a_row_that_is_not_run_at_a_scale_has_no_task(tmp_path: Path) -> None:
    """It stays in the table, blank."""
    made = planned(tmp_path, only=["smooth"])
    assert [row for _, row, _ in made.measurements] == ["smooth"]
    assert list(made.study.rows) == ["plain", "smooth"]


def test_an_experiment_without_networks_is_one_task_or_one_for_each_row_that_sets_something(tmp_path: Path) -> None:
    measure = {"plane": {"toy": {"steps": 9}}}
    alone: dict[str, Any] = {"networks": {}, "measure": measure, "table": {}, "scales": {}}
    made = planned(tmp_path, **alone, rows={})
    assert list(made.measurements) == [("plane", None, None)]
    rows = {"a": {"plane": {"softplus": None}}, "b": {"plane": {"l2": 0.1}}, "c": {}}
    made = planned(tmp_path, **alone, rows=rows, only=["a", "c"])
    assert list(made.measurements) == [("plane", "a", None)]
    assert next(iter(made.measurements.values())).settings == {"steps": 9, "softplus": None}
    assert not made.trainings


def test_a_training_that_starts_from_another_needs_it(tmp_path: Path) -> None:
    """It is trained once for all that start from it, counts in the keys of those, and gives them their weights."""
    start = {"recipe": "l1", "epochs": 3, "train_count": None}
    networks = {"plain": {"recipe": "standard"}, "sparse": {"recipe": "l1"}, "own": {"recipe": "l1", "start": None}}
    rows = {name: {"network": name} for name in networks}

    def by(**train: object) -> Plan:
        rest = {"networks": networks, "rows": rows, "scales": {}, "table": {}}
        return planned(tmp_path, "smoke", train={"data": "cells", **train}, **rest)

    made = by(train_count=60, start=start)
    trained = {name: task for (name, _), task in made.trainings.items()}
    before = trained["plain"].networks["start"]
    assert before.settings["epochs"] == 3
    assert "train_count" not in before.settings
    assert before.key == trained["sparse"].networks["start"].key
    assert not trained["own"].networks
    order = list(made.tasks())
    assert order.index(before.key) < min(order.index(trained[name].key) for name in ("plain", "sparse"))
    job = Job.of(trained["plain"], Machine(str(tmp_path)))
    words = command_of(job)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--weights"] == [
        str(tmp_path / "tasks" / before.key / "run")
    ]
    other = by(start={**start, "epochs": 4})
    assert other.trainings["plain", 0].key != trained["plain"].key
    assert other.trainings["own", 0].key != trained["own"].key  # it has other settings here, and the same below
    same = by(train_count=60, start=None)
    assert same.trainings["own", 0].key == trained["own"].key
    assert same.trainings["plain", 0].key != trained["plain"].key


def test_a_training_starts_from_one_thing(tmp_path: Path) -> None:
    """Weights and a start at once, and a mistake inside a start, are told with their place."""
    with pytest.raises(ArgumentError, match=r"networks.plain: it has both weights and start"):
        planned(tmp_path, networks={"plain": {"weights": "default", "start": {"epochs": 1}}})
    with pytest.raises(ArgumentError, match=r"networks.plain: start: .*epoch"):
        planned(tmp_path, networks={"plain": {"start": {"epoch": 1}}})
    with pytest.raises(ArgumentError, match=r"networks.plain.start is 3"):
        planned(tmp_path, networks={"plain": {"start": 3}})
