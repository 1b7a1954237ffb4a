"""Texts become parts: what is understood, and one line for what is not."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import Tensor

from gradsculpt.attacks import Attack, TopKAttack
from gradsculpt.attributions import Attribution, DualAveraging, GradCAM, Gradient, MoreauGrad, Smoothed
from gradsculpt.cli.grammar import canonical
from gradsculpt.cli.parts import FAMILIES, attack_of, attribution, names, part, resolved, spelled_out
from gradsculpt.cli.settings import read_settings
from gradsculpt.cli.sources import real
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics.base import Metric
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    HessianNorm,
    LocalGradientAlignment,
    MaxEntropy,
    Objective,
    Pixels,
    Ramp,
    Sum,
)
from gradsculpt.penalties import L1, ElasticNet, FunctionPenalty, Penalty
from gradsculpt.perturbations import Iterative, OneStep, Perturbation
from tests.extensions import mine

pytestmark = pytest.mark.usefixtures("trusts_tests")

HERE = "tests.cli.test_parts"
MINE = "tests.extensions.mine"


@dataclass(frozen=True)
class Settings(Penalty):
    """A class with settings of every type."""

    count: int = 1
    levels: tuple[float, ...] = ()
    mode: Literal["a", "b", 3] = "a"
    name: str | None = None
    folder: Path | None = None
    inner: list[Penalty] | None = None
    metric: Metric[..., Tensor] | None = None

    value = conjugate = dual = prox = None  # type: ignore[assignment]


Settings.__abstractmethods__ = frozenset()


class Bare(Penalty):
    def __init__(self, k=2, *more, **options):  # type: ignore[no-untyped-def]
        self.k = k

    value = conjugate = dual = prox = None  # type: ignore[assignment]


Bare.__abstractmethods__ = frozenset()


class Broken(Bare):
    def __init__(self) -> None:
        raise OSError("no licence\nfor you")


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("elastic-net:l1=.01,l2=.05", Penalty, ElasticNet(0.01, 0.05)),
        ("ElasticNet( 0.01 , l2 = 0.05 )", Penalty, ElasticNet(0.01, 0.05)),
        ("one-step", Perturbation, OneStep()),
        ("one_step()", Perturbation, OneStep()),
        ("cross-entropy", Objective, CrossEntropy()),
        (
            "adversarialtraining:penalty=elasticnet(l1=0.01,l2=0.05),perturbation=iterative(steps=3)",
            Objective,
            AdversarialTraining(ElasticNet(0.01, 0.05), Iterative(steps=3)),
        ),
        (
            "sum:objectives=[adversarialtraining(l1(0.1)), max-entropy:weight=ramp(0,0.5,1,5)]",
            Objective,
            Sum((AdversarialTraining(L1(0.1)), MaxEntropy(Ramp(0.0, 0.5, 1.0, 5.0)))),
        ),
        ("hessiannorm(ramp(start=0,stop=1,begin=0,end=2))", Objective, HessianNorm(Ramp(0.0, 1.0, 0.0, 2.0))),
        ("localgradientalignment(0.1,1,eps=pixels(4))", Objective, LocalGradientAlignment(0.1, 1.0, eps=Pixels(4.0))),
        (f"functionpenalty:{MINE}.half_squares", Penalty, FunctionPenalty(mine.half_squares)),
        (f"adversarialtraining({MINE}.Huber(0.5))", Objective, AdversarialTraining(mine.Huber(0.5))),
        (f"{MINE}.Mirrored:base={MINE}.mirrored", Attribution, mine.Mirrored(mine.mirrored)),
        (f"{MINE}.mirrored", Attribution, mine.mirrored),
        (
            "moreaugrad:penalty=l1(0.005),solver=dual-averaging",
            Attribution,
            MoreauGrad(L1(0.005), solver=DualAveraging()),
        ),
        ("gradcam:layer=layer4.conv2", Attribution, GradCAM("layer4.conv2")),
        ("gradsculpt.penalties.L1:weight=2", Penalty, L1(2.0)),
        (
            f"{HERE}.Settings:count=3,levels=[1,0.5],mode=3,name=none,folder=a/b,inner=[l1(1),{HERE}.Settings(4)]",
            Penalty,
            Settings(3, (1.0, 0.5), 3, None, Path("a/b"), [L1(1.0), Settings(4)]),
        ),
        (f"{HERE}.Settings:name=x.y", Penalty, Settings(name="x.y")),
        (f"{HERE}.Settings:metric={MINE}.roughness", Penalty, Settings(metric=mine.roughness)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_text_is_an_object(text: str, base: type, expected: object) -> None:
    assert repr(part(text, base, "--option")) == repr(expected)


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("0.5", 0.5), ("true", True), ("none", None), ("word", "word")])
def test_a_setting_without_a_type_is_what_it_looks_like(text: str, value: object) -> None:
    made = part(f"{HERE}.Bare:{text}", Penalty, "--option").k
    assert (made, type(made)) == (value, type(value))


def test_what_jsonargparse_is_handed() -> None:
    assert resolved("adversarial-training(l1(0.5))", Objective, "--objective") == {
        "class_path": "gradsculpt.objectives.AdversarialTraining",
        "init_args": {"penalty": {"class_path": "gradsculpt.penalties.L1", "init_args": {"weight": 0.5}}},
    }
    assert resolved(f"{MINE}.Huber", Penalty, "--penalty") == {"class_path": f"{MINE}.Huber", "init_args": {}}


@pytest.mark.parametrize(
    ("text", "base", "said"),
    [
        ("smothgrad", Attribution, "--option smothgrad is not known; choose from gradient, .*Did you mean smoothgrad?"),
        ("l1:0.1,2", Penalty, "--option l1 has no setting '2'; its settings are weight."),
        ("l1", Penalty, "--option l1 needs weight; write l1(weight=...)."),
        ("elasticnet:l1=a", Penalty, "--option elasticnet: l1=a cannot be used; it takes a number."),
        ("adversarialtraining:l1", Objective, "--option adversarialtraining: penalty l1 needs weight; write l1(weight"),
        ("smoothed:base=magic", Attribution, "--option smoothed: base magic is not known; choose from gradient"),
        ("smoothed(samples=3", Attribution, "smoothed(samples=3 has a bracket that is not closed"),
        ("smoothed:samples=0", Attribution, "--option smoothed: samples=0 is out of range"),
        ("functionpenalty:square", Penalty, "fn=square cannot be used; it takes a function, as module.function."),
        (
            "tests.nowhere.Found",
            Penalty,
            "there is no module 'tests.nowhere' among the installed packages, in PYTHONPATH or, for a module that",
        ),
        (f"{MINE}.Hubert:1", Penalty, "mine.py) has no object 'Hubert'. Did you mean Huber?"),
        (f"{MINE}.Huber", Penalty, f"--option {MINE}.Huber needs weight; write {MINE}.Huber(weight=...)."),
        (f"{MINE}.Huber:1", Objective, "is no Objective; derive a class from gradsculpt.objectives.Objective."),
        (f"{MINE}.mirrored:k=2", Attribution, "is an object with its settings already"),
        (f"{HERE}.Broken", Penalty, f"--option {HERE}.Broken: OSError: no licence"),
        (f"{HERE}.Settings:mode=c", Penalty, "mode=c cannot be used; it takes one of a, b, 3."),
        (f"{HERE}.Settings:levels=[a]", Penalty, "levels=[a] cannot be used; it takes a number."),
        ("gradsculpt.penalties.Penalty", Penalty, "TypeError: Can't instantiate abstract class Penalty"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mistake_is_told_in_one_line(text: str, base: type, said: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        part(text, base, "--option")
    message = str(raised.value)
    assert "\n" not in message
    assert all(piece in message for piece in said.split(".*")), message


def settings_of(*words: str) -> Objective:
    return read_settings([*words, "--out", "x"]).objective


def test_a_training_takes_texts_and_overrides_them_by_parts() -> None:
    typed = "adversarialtraining:penalty=elasticnet(l1=0.01,l2=0.05)"
    changed = AdversarialTraining(ElasticNet(0.03, 0.05))
    assert repr(settings_of("--objective", typed, "--objective.penalty.l1", "0.03")) == repr(changed)
    assert repr(settings_of("--recipe", "elastic-net", "--objective.penalty.l1", "0.03")) == repr(changed)
    assert repr(settings_of("--recipe", "elastic-net", "--objective.penalty", "l1:0.5")) == repr(
        AdversarialTraining(L1(0.5))
    )
    assert repr(settings_of(f"--objective=hessian-norm:weight={0.5}")) == repr(HessianNorm(0.5))
    assert repr(settings_of("--objective", "HessianNorm", "--objective.weight", "ramp(0,1,0,2)")) == repr(
        HessianNorm(Ramp(0.0, 1.0, 0.0, 2.0))
    )


def test_several_are_taken_in_brackets_or_as_a_list() -> None:
    words = ["--objective", "sum([max-entropy(1)])", "--objective.objectives", "[max-entropy(2), hessian-norm(3)]"]
    assert repr(settings_of(*words)) == repr(Sum((MaxEntropy(2.0), HessianNorm(3.0))))
    spelled = [resolved(text, Penalty, "") for text in ("l1(1)", "elastic-net(1,2)")]
    for hint in (Penalty, Sequence[Penalty], list[Penalty] | None):
        assert spelled_out(["l1(1)", "elastic-net(1,2)"], hint, "penalties") == spelled
    assert spelled_out("[l1(1), elastic-net(1,2)]", Sequence[Penalty], "penalties") == spelled
    assert spelled_out(["l1(1)"], Sequence[str], "words") == ["l1(1)"]


def test_a_file_takes_texts_at_any_depth(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    text = """
objective:
  class_path: Sum
  init_args:
    objectives:
      - class_path: AdversarialTraining
        init_args:
          penalty: elastic-net:l1=0.01,l2=0.05
          perturbation: iterative(steps=3)
      - max-entropy:weight=0.1
"""
    file.write_text(text)
    expected = Sum((AdversarialTraining(ElasticNet(0.01, 0.05), Iterative(steps=3)), MaxEntropy(0.1)))
    assert repr(settings_of("--config", str(file))) == repr(expected)
    file.write_text("objective: max-entropy:weight=0.1\n")
    assert repr(settings_of("--config", str(file))) == repr(MaxEntropy(0.1))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--objective", "maxentropi:1"], "objective maxentropi is not known; .* Did you mean maxentropy?"),
        (["--recipe", "l1", "--objective.perturbation", "itertive"], "perturbation itertive is not known; choose from"),
        (["--objective", "adversarialtraining:penalty=l1(high)"], "penalty l1: weight=high cannot be used; it takes a"),
        (["--objective", "max-entropy"], "weight"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_a_mistake_in_a_training_is_one_line(words: list[str], said: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        settings_of(*words)
    assert all(piece in str(raised.value) for piece in said.split(" .* "))
    assert "\n" not in str(raised.value)


def bound(value: float) -> Tensor:
    return Tensor([value])


def test_an_attack_gets_its_bounds_and_steps() -> None:
    bounds = (bound(-1), bound(1))
    made = attack_of("topk:k=0.2", steps=3, bounds=bounds)
    assert isinstance(made, TopKAttack)
    assert (made.k, made.steps, made.eps, made.bounds) == (0.2, 3, 1.0, bounds)
    assert attack_of("TopKAttack:steps=5", steps=3, bounds=bounds).steps == 5  # type: ignore[attr-defined]
    own = attack_of(f"{MINE}.Brighter:share=0.5", steps=None, bounds=bounds)
    assert own == mine.Brighter(1.0, bounds, 0.5)
    for text, steps, said in (
        ("random", 3, "--attack random takes no steps; leave --steps away"),
        (f"{MINE}.Brighter", 3, "takes no steps"),
        ("topk(eps=3)", None, "pass --eps, in 8-bit levels"),
        (f"{HERE}.Sizeless", None, f"--attack {HERE}.Sizeless has no eps that --eps could set"),
    ):
        with pytest.raises(ArgumentError, match=said):
            attack_of(text, steps=steps, bounds=bounds)


class Sizeless(Attack):
    def __call__(self, *arguments: Any) -> Tensor:
        return arguments[2]


def test_an_output_reaches_maps_of_ones_own() -> None:
    assert attribution(f"{MINE}.Mirrored", "probability") == mine.Mirrored(Gradient("probability"))
    assert attribution(f"smoothed:base={MINE}.Mirrored", "probability") == Smoothed(
        mine.Mirrored(Gradient("probability"))
    )


def test_a_name_has_one_spelling_and_a_path_its_own() -> None:
    assert canonical("Smooth-Grad( samples=4 )") == canonical("smooth_grad:samples=4") == "smoothgrad:samples=4"
    assert canonical(f"{MINE}.Mirrored( base=gradient )") == f"{MINE}.Mirrored:base=gradient"


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "ScoreGroup"])
def test_every_family_is_listed_where_it_is_said_to_be(family: str) -> None:
    package = importlib.import_module(FAMILIES[family].rpartition(".")[0])
    known = names(getattr(package, family))
    assert known
    for name, cls in known.items():
        assert real(cls) is getattr(package, cls.__name__)
        assert cls.__name__.lower().startswith(name)
