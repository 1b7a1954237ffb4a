"""What is written to a configuration file gives the same object again, or is refused in one line."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from gradsculpt.cli.known import RECIPES
from gradsculpt.cli.settings import read_settings
from gradsculpt.configuration import completed, made, written
from gradsculpt.data import Augment
from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    ExplanationDistillation,
    GradientPenalty,
    MaxEntropy,
    PixelBounds,
    Pixels,
    Ramp,
)
from gradsculpt.penalties import L1, ElasticNet, FunctionPenalty, GroupL21, Penalty, SquaredL2
from gradsculpt.perturbations import Iterative
from gradsculpt.training import Optimization, TrainSettings

pytestmark = pytest.mark.usefixtures("trusts_tests")


class Colour(Enum):
    RED = 1


def squares(g: Tensor) -> Tensor:
    return g.square().flatten(1).sum(dim=1)


@dataclass(frozen=True)
class Theirs(Penalty):
    """A dataclass of a user's, with what dataclasses may have."""

    weights: tuple[float, ...] = (1.0,)
    shape: Literal["flat", "round"] = "flat"
    inner: Penalty = field(default_factory=lambda: ElasticNet(0.1, 0.2))
    scale: float | None = 1.0
    remembered: int = field(default=0, init=False)

    def value(self, g: Tensor) -> Tensor:
        return self.inner.value(g)

    def conjugate(self, delta: Tensor) -> Tensor:
        return self.inner.conjugate(delta)

    def dual(self, g: Tensor) -> Tensor:
        return self.inner.dual(g)

    def prox(self, v: Tensor, step: Any) -> Tensor:
        return self.inner.prox(v, step)


class Plain(Theirs):
    """No dataclass: the arguments of __init__ are attributes of the same names."""

    def __init__(self, strength: float, colour: Colour = Colour.RED) -> None:
        super().__init__((strength,))
        self.__dict__.update(strength=strength, colour=colour)

    def __eq__(self, other: object) -> bool:
        return type(other) is Plain and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class Forgetful(Theirs):
    """Its argument is kept nowhere."""

    def __init__(self, strength: float) -> None:
        super().__init__((strength,))


class Nameless(Theirs):
    """Its argument can only be given by its place, as those of classes that are not written in Python."""

    def __init__(self, strength: float, /) -> None:
        super().__init__((strength,))
        self.__dict__.update(strength=strength)


class Many(Theirs):
    """Its arguments have no names."""

    def __init__(self, *strengths: float) -> None:
        super().__init__(strengths)
        self.__dict__.update(strengths=strengths)


def again(settings: TrainSettings, folder: Path) -> TrainSettings:
    """Write settings to a file as a run does, and read them as the command does."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings.config(), sort_keys=False))
    return read_settings(["--config", str(file), "--out", str(settings.out)])


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_is_written_and_read_again(name: str, tmp_path: Path) -> None:
    settings = read_settings(["--recipe", name, "--out", str(tmp_path)])
    assert settings.recipe == name
    assert again(settings, tmp_path) == settings


SETTINGS: dict[str, dict[str, Any]] = {
    "numbers": {"epochs": 3, "clip": 1e-5, "softplus": 1e20, "threads": 2, "shuffle_labels": True, "model": "timm:x"},
    "optimization": {"optimization": Optimization("sgd", lr=1e-8, betas=(0.5, 0.9), milestones=(1, 2, 3))},
    "augmentation": {"augment": Augment(flip=False, zoom=(0.5, 1.5))},
    "a path": {"data": "folder:photos"},
    "composition": {
        "objective": 0.5 * AdversarialTraining(GroupL21(0.1, patch=4), Iterative(steps=3), bounds=PixelBounds())
        + Ramp(0.0, 1.0, 1, 5) * MaxEntropy(0.1)
    },
    "teacher": {"objective": ExplanationDistillation(1.0, Pixels(8), teacher=CrossEntropy() + MaxEntropy(0.2))},
    "squares": {"objective": GradientPenalty(SquaredL2(0.1))},
    "a function": {"objective": AdversarialTraining(FunctionPenalty(squares))},
    "a dataclass": {"objective": GradientPenalty(Theirs((1.0, 2.0), "round", Theirs(inner=L1(0.2)), scale=None))},
    "a class": {"objective": GradientPenalty(Plain(0.3, Colour.RED))},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_settings_are_written_and_read_again(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = TrainSettings(out=tmp_path, **changes)
    assert again(settings, tmp_path) == settings


def test_the_place_of_a_run_is_not_written(tmp_path: Path) -> None:
    settings = TrainSettings(out=tmp_path, resume=True)
    assert settings.config() == replace(settings, out=Path("x"), resume=False).config()
    assert str(tmp_path) not in str(settings.config())
    assert "data_dir" not in settings.config()
    assert settings.config()["betas"] == [0.9, 0.999]


def test_class_paths_are_short_and_arguments_are_those_of_init() -> None:
    assert written(AdversarialTraining(L1(0.5))) == {
        "class_path": "gradsculpt.objectives.AdversarialTraining",
        "init_args": {
            "penalty": {"class_path": "gradsculpt.penalties.L1", "init_args": {"weight": 0.5}},
            "perturbation": {"class_path": "gradsculpt.perturbations.OneStep", "init_args": {}},
            "bounds": None,
        },
    }
    theirs = written(Theirs())
    assert theirs["class_path"] == f"{__name__}.Theirs"
    assert list(theirs["init_args"]) == ["weights", "shape", "inner", "scale"]
    assert written(squares) == f"{__name__}.squares"
    assert written({"a": np.float32(0.5), "b": np.int64(3), "c": (Path("x"), None, True)}) == {
        "a": 0.5,
        "b": 3,
        "c": ["x", None, True],
    }
    assert [type(value) for value in written([np.float32(0.5), np.int64(3)])] == [float, int]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.ones(2), "holds numbers of its own. Pass plain numbers"),
        (nn.Linear(1, 1), "holds numbers of its own"),
        (lambda g: g, "no module has it under its name. Define it with def or class at the top of a module"),
        (type("Local", (), {})(), "no module has it under its name"),
        (Forgetful(1.0), "does not keep what it was given as strength. Make its class a dataclass"),
        (Many(1.0), "does not keep what it was given as strengths"),
        (Nameless(1.0), "is not known"),
        (functools.partial(squares), "is not known"),
        ({1, 2}, "is not known"),
        (np.zeros(2), "holds numbers of its own"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_could_not_be_made_again_is_refused(value: Any, said: str) -> None:
    nested: Callable[[], Any] = lambda: written({"parts": [value]}, "objective")  # noqa: E731
    with pytest.raises(ArgumentError) as raised:
        nested()
    message = str(raised.value)
    assert message.startswith("objective.parts[0] (")
    assert "cannot be written to a configuration file" in message
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "part", [GroupL21(0.1, patch=4), L1(0.5) * 2.0, AdversarialTraining(ElasticNet(0.1, 0.2)), None, "l1", 3]
)
def test_what_is_written_is_made_again(part: Any) -> None:
    assert repr(made(written({"part": [part]}))) == repr({"part": [part]})


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"class_path": "gradsculpt.penalties.L3"}, "no callable 'L3'"),
        ({"class_path": "nowhere.L1"}, "nowhere"),
        ({"class_path": "gradsculpt.penalties.L1", "init_args": {"wait": 1}}, "cannot be made of"),
        ({"class_path": "gradsculpt.penalties.L1", "init_args": {"weight": -1}}, "weight"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_line(plain: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said) as raised:
        made({"objective": plain}, "it")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", [7, "text", [1], True])
def test_what_is_no_description_stays_as_it_is(given: object) -> None:
    odd = {"class_path": "gradsculpt.perturbations.OneStep", "init_args": given}
    assert completed(odd) == odd
