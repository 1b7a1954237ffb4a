"""Every setting of every public class: refused in one line when it is made, or it works; and settings are values."""

import copy
import dataclasses
import importlib
import inspect
import math
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradsculpt import attacks, attributions, data, evaluation, metrics, objectives, penalties, perturbations
from gradsculpt import training as trainings
from gradsculpt.attacks import ATTACKS, Attack
from gradsculpt.attributions import ATTRIBUTIONS, SOLVERS, Attribution, MoreauGrad, Solver
from gradsculpt.data import Augment
from gradsculpt.errors import GradsculptError
from gradsculpt.evaluation import MapAttack, Protocol, ScoreGroup
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import Masking, Neighbourhood, insertion, max_sensitivity
from gradsculpt.objectives import (
    OBJECTIVES,
    AdversarialTraining,
    CrossEntropy,
    ExplanationDistillation,
    HessianNorm,
    InputGradientAlignment,
    LocalGradientAlignment,
    MaxEntropy,
    Moment,
    Objective,
    PixelBounds,
    Pixels,
    Ramp,
    Scaled,
    Sum,
    TeacherSpecification,
)
from gradsculpt.objectives import GradientPenalty as Penalised
from gradsculpt.penalties import (
    L1,
    PENALTIES,
    ElasticNet,
    FunctionPenalty,
    GroupL21,
    Harmonization,
    Penalty,
    ScaledPenalty,
    SquaredL2,
)
from gradsculpt.perturbations import PERTURBATIONS, Iterative, Momentum, Noise, Perturbation
from gradsculpt.training import Optimization, TrainSettings
from gradsculpt.visualize import Ascent, class_features
from tests.evaluation.cases import GROUPS, measurable
from tests.objectives.cases import maps

SIDE = 8
SPACE = InputSpace((0.5,) * 3, (0.25,) * 3)


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


def squares(g: Tensor) -> Tensor:
    return g.square().flatten(1).sum(dim=1)


MODEL = network()
X = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 0.5
Y = torch.tensor([0, 2])

FEW: dict[str, int] = {"samples": 2, "steps": 2, "tries": 2}
MADE: dict[type, Callable[[], Any]] = {
    ElasticNet: lambda: ElasticNet(0.1, 0.2),
    L1: lambda: L1(0.1),
    SquaredL2: lambda: SquaredL2(0.2),
    GroupL21: lambda: GroupL21(0.1, patch=3),
    Harmonization: lambda: Harmonization(0.5, positive=True),
    FunctionPenalty: lambda: FunctionPenalty(squares),
    ScaledPenalty: lambda: ScaledPenalty(L1(0.1), 0.5),
    Iterative: lambda: Iterative(2),
    Momentum: lambda: Momentum(2),
    Noise: lambda: Noise(0.1),
    AdversarialTraining: lambda: AdversarialTraining(L1(0.1)),
    Penalised: lambda: Penalised(L1(0.1)),
    LocalGradientAlignment: lambda: LocalGradientAlignment(0.1, 0.2, 0.3),
    HessianNorm: lambda: HessianNorm(0.1),
    InputGradientAlignment: lambda: InputGradientAlignment(0.1, 0.1, steps=1),
    ExplanationDistillation: lambda: ExplanationDistillation(0.1, 0.2),
    MaxEntropy: lambda: MaxEntropy(0.1),
    Sum: lambda: Sum((CrossEntropy(), MaxEntropy(0.1))),
    Scaled: lambda: Scaled(MaxEntropy(0.1), 0.5),
    TeacherSpecification: lambda: TeacherSpecification(CrossEntropy(), 1, 2, 0.1),
    Ramp: lambda: Ramp(0.0, 1.0, 0.0, 5.0),
    Pixels: lambda: Pixels(4.0),
    TrainSettings: lambda: TrainSettings(Path("run")),
    InputSpace: lambda: SPACE,
    MapAttack: lambda: MapAttack(attacks.TopKAttack, 2.0, 2, 2),
    Ascent: lambda: Ascent(steps=2),
    **{type(group): partial(copy.copy, group) for group in GROUPS},
}
"""How an instance is made of classes that want arguments, or that would take long."""

SETTINGS: tuple[type, ...] = (
    *(*PENALTIES, *PERTURBATIONS, *OBJECTIVES, *ATTRIBUTIONS, *SOLVERS, *ATTACKS, *map(type, GROUPS)),
    *(Moment, Ramp, Pixels, PixelBounds, TeacherSpecification, Protocol, Masking, Neighbourhood, MapAttack),
    *(Optimization, TrainSettings, Augment, InputSpace, Ascent),
)

RESULTS = {
    *("Attacked", "MoreauInfo", "ImageSet", "Skipped", "Source", "Splits", "Column", "EvaluationBatch", "Curve"),
    *("Entry", "Scorecard", "Randomization", "DiffRoar", "Losses", "Requirements", "Metric", "Score", "InnerLoss"),
    *("Outline", "Retraining"),
}
"""The public dataclasses that are no settings, but what comes of them or what is handed on."""


def make(cls: Any) -> Any:
    if cls in MADE:
        return MADE[cls]()
    few = {name: value for name, value in FEW.items() if name in inspect.signature(cls).parameters}
    return cls(*([0.1] if cls in ATTACKS else []), **few)


classes = pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)


def test_no_public_dataclass_is_forgotten() -> None:
    homes = [attacks, attributions, data, evaluation, metrics, objectives, penalties, perturbations, trainings]
    homes.append(importlib.import_module("gradsculpt.visualize"))
    public = [getattr(home, name) for home in homes for name in home.__all__]
    found = {cls for cls in public if inspect.isclass(cls) and dataclasses.is_dataclass(cls)}
    forgotten = {cls.__name__ for cls in found - set(SETTINGS) if not inspect.isabstract(cls)}
    assert forgotten == RESULTS


def use(settings: Any) -> None:
    """Do with settings what they are for, once."""
    with torch.random.fork_rng(devices=[]):
        _use(settings)


def _use(settings: Any) -> None:
    match settings:
        case Penalty():
            penalty = settings.given(torch.rand(2, 1, SIDE, SIDE))
            assert penalty.value(X).shape == penalty.conjugate(0.01 * penalty.dual(X)).shape == (2,)
            assert penalty.prox(X, 0.5).shape == X.shape
        case Perturbation():
            settings.step(settings.initial_state(), lambda x: (x.flatten(1).sum(dim=1), torch.ones_like(x)), X, L1(0.1))
        case Objective():
            objective: Any = settings.at(Moment(space=SPACE))
            _ = objective.requirements
            objective = objective.with_teacher(MODEL)
            assert bool(objective(MODEL, X, Y, maps(X), state=objective.initial_state() or None).loss.isfinite())
        case Attribution():
            assert len(settings(MODEL, X, Y)) == 2
        case Solver():
            _use(MoreauGrad(sigma=0.0, steps=2, solver=settings))
        case Attack():
            assert settings(MODEL, attributions.Gradient(), X, Y).shape == X.shape
        case ScoreGroup():
            assert list(settings.measure(measurable()))
        case Protocol():
            card = evaluation.evaluate(MODEL, [(X + 0.5, Y)], dataclasses.replace(settings, groups=settings.groups[:2]))
            assert card.settings
        case Masking():
            insertion(MODEL, X, Y, X, steps=2, masking=settings)
        case Neighbourhood():
            max_sensitivity(MODEL, attributions.Gradient(), X, Y, 0.1, settings)
        case Optimization():
            _, schedule = settings.build(MODEL.parameters(), 3)
            schedule.step()
        case Augment():
            settings(X + 0.5, None, torch.Generator().manual_seed(0))
        case Ascent():
            classifier = importlib.import_module("gradsculpt.models").Classifier(MODEL, SPACE, ("a", "b", "c"), SIDE)
            class_features(classifier.network, [0], SPACE, SIDE, settings)
        case InputSpace():
            settings.normalize(X[:, : len(settings.mean)])
        case TrainSettings():
            settings.config()
        case Ramp() | Pixels() | PixelBounds():
            settings.at(Moment(space=SPACE))
        case Moment():
            warm = objectives.warmup(3).at(settings)
            assert isinstance(warm, float)
            assert 0 <= warm <= 1
        case _:
            repr(settings)


BAD: tuple[Any, ...] = (
    2.5,
    0,
    -1,
    math.nan,
    math.inf,
    2**70,
    "3",
    "",
    None,
    True,
    [],
    (1, 2),
    object(),
    torch.ones(2, 7),
)
"""What a setting of one type or another must not be."""


def fault(made: Any, name: str, value: Any) -> str:
    """Return what is wrong with how a setting takes a value: nothing if it is refused in one line, or works."""
    passed = False
    try:
        changed = dataclasses.replace(made, **{name: value})
        passed = True
        use(changed)
    except Exception as error:
        late = "passes the door and fails late" if passed else "is refused"
        one_line = isinstance(error, GradsculptError) and "\n" not in str(error)
        # What has to fit images, or a network, is seen when these are.
        if not one_line or (passed and not isinstance(value, Tensor) and name not in ("layer", "bounds")):
            return f"{type(made).__name__}.{name}={value!r} {late}: {error!r}"
    return ""


@classes
def test_a_wrong_value_is_refused_in_one_line_or_works(cls: type) -> None:
    made, names = make(cls), [field.name for field in dataclasses.fields(cls) if field.init]
    values = (*BAD, np.float64(math.nan), np.int64(-1))
    assert not list(filter(None, (fault(made, name, value) for name in names for value in values)))


def test_the_law_of_values_bites() -> None:
    class Unchecked(L1):
        def __post_init__(self) -> None:
            """Leave the door open."""

    class Raw(L1):
        def __post_init__(self) -> None:
            float(self.weight)

    assert "passes the door and fails late" in fault(Unchecked(0.1), "weight", "3")
    assert "is refused: TypeError" in fault(Raw(0.1), "weight", None)
    assert not fault(L1(0.1), "weight", "3")
    assert not fault(L1(0.1), "weight", 2.5)


def fields_of(kind: type) -> Iterator[tuple[type, str]]:
    """Yield the settings that are declared as this plain type, or as this or None."""
    for cls in SETTINGS:
        hints = get_type_hints(cls)
        for field in dataclasses.fields(cls):
            choices = [hints[field.name], *get_args(hints[field.name])]
            if (
                field.init
                and kind in choices
                and get_origin(hints[field.name]) is not tuple
                and get_origin(hints[field.name]) is not Literal
            ):
                yield cls, field.name


COUNTS, SIZES, SWITCHES = (sorted(fields_of(kind), key=repr) for kind in (int, float, bool))


@pytest.mark.parametrize(("cls", "name"), COUNTS, ids=lambda part: getattr(part, "__name__", part))
def test_counts_are_whole(cls: type, name: str) -> None:
    for wrong in (2.5, 2.0, -1, math.nan, math.inf, "3", True, np.float64(2.0), torch.tensor(2), 2**70):
        with pytest.raises(GradsculptError, match=f"^{name}"):
            dataclasses.replace(make(cls), **{name: wrong})
    number = max(2, getattr(make(cls), name) or 0)
    changed = dataclasses.replace(make(cls), **{name: np.int64(number)})
    assert type(getattr(changed, name)) is int
    use(changed)


@pytest.mark.parametrize(("cls", "name"), SIZES, ids=lambda part: getattr(part, "__name__", part))
def test_sizes_are_finite_numbers_that_are_not_negative(cls: type, name: str) -> None:
    signed = name in ("baseline", "positions", "bounds", "noise_range")
    several = name in ("mean", "std", "betas", "zoom", "positions", "levels", "rps_levels", "statistics", "bounds")
    for wrong in (math.nan, math.inf, -math.inf, "0.5", True, *(() if signed else (-0.1,))):
        with pytest.raises(GradsculptError):
            dataclasses.replace(make(cls), **{name: (wrong, wrong) if several else wrong})


@pytest.mark.parametrize(("cls", "name"), SWITCHES, ids=lambda part: getattr(part, "__name__", part))
def test_switches_are_true_or_false(cls: type, name: str) -> None:
    for wrong in (1, 0, "true", None, 2.5):
        with pytest.raises(GradsculptError, match=rf"^{name}=.*True or False"):
            dataclasses.replace(make(cls), **{name: wrong})


def namespace() -> dict[str, Any]:
    names = {cls.__name__: cls for cls in SETTINGS}
    return {**names, "GradientPenalty": Penalised, "PosixPath": Path, **{m.name: m for m in metrics.METRICS}}


@classes
def test_settings_are_values(cls: type) -> None:
    made = make(cls)
    for other in (dataclasses.replace(made), copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert type(other) is cls
        assert other == made
        assert hash(other) == hash(made)
        assert repr(other) == repr(made)
    if cls not in (FunctionPenalty, MapAttack):  # a function, or a class, has no repr of its own
        assert eval(repr(made), namespace()) == made


@classes
def test_a_part_can_be_changed_alone(cls: type) -> None:
    made = make(cls)
    for field in dataclasses.fields(cls):
        if field.init:
            assert dataclasses.replace(made, **{field.name: getattr(made, field.name)}) == made
    numbers = [f.name for f in dataclasses.fields(cls) if f.init and type(getattr(made, f.name)) is float]
    for name in numbers:
        changed = dataclasses.replace(made, **{name: 0.99 * getattr(made, name)})
        assert getattr(changed, name) == 0.99 * getattr(made, name)
        assert changed != made or not getattr(made, name)
