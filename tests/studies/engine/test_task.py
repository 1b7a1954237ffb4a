"""A task's key is a digest of everything that decides its result, and of nothing else."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from gradsculpt.studies.engine.task import Task, in_turn

SETTINGS: dict[str, Any] = {"epochs": 3, "penalty": {"l1": 0.5, "l2": 1}, "sizes": [1, 2], "flip": True}


def key(settings: Mapping[str, Any] = SETTINGS, **rest: Any) -> str:
    return Task("train", settings, **rest).key


def test_how_settings_are_written_makes_no_difference() -> None:
    turned = {name: SETTINGS[name] for name in reversed(SETTINGS)}
    turned["penalty"] = {"l2": 1.0, "l1": 0.5}
    assert key(turned) == key()
    assert key({**SETTINGS, "epochs": 3.0, "sizes": (1.0, 2)}) == key()
    assert key(name="another name", words=("--epochs", "3"), data="cells") == key()


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 4},
        {"epochs": "3"},
        {"epochs": None},
        {"penalty": {"l1": 0.5, "l2": 1.0000001}},
        {"sizes": [2, 1]},
        {"sizes": [1]},
        {"flip": False},
        {"flip": 1},
        {"flip": "true"},
        {"more": None},
    ],
    ids=str,
)
def test_each_setting_makes_a_difference(change: Mapping[str, Any]) -> None:
    assert key({**SETTINGS, **change}) != key()


def test_what_is_done_and_by_which_code_makes_a_difference() -> None:
    codes = [(), ("gradsculpt.penalties.L1",), ("gradsculpt.attacks.TopKAttack",)]
    keys = [Task(kind, SETTINGS, code).key for kind, code in itertools.product(("train", "evaluate"), codes)]
    assert len(set(keys)) == len(keys)
    assert Task("a.b.Robustness", {}).key.startswith("robustness-")


def test_each_network_makes_a_difference_and_what_it_is_given_as() -> None:
    first, second = Task("train", {"seed": 1}), Task("train", {"seed": 2})
    given: list[dict[str, Task]] = [
        {},
        {"a": first},
        {"a": second},
        {"b": first},
        {"a": first, "b": second},
        {"a": second, "b": first},
    ]
    assert len({key(networks=networks) for networks in given}) == len(given)
    assert key(networks={"b": second, "a": first}) == key(networks={"a": Task("train", {"seed": 1.0}), "b": second})


def test_tasks_come_after_what_they_need_and_once() -> None:
    first, again = Task("train", {"seed": 1}), Task("train", {"seed": 1})
    one, two = Task("evaluate", {}, networks={"n": first}), Task("features", {}, networks={"n": again})
    assert list(in_turn([two, one])) == [first.key, two.key, one.key]
