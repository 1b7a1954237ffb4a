"""Nothing public is forgotten: every concrete subclass is in its package's tuple, sourced, and under the laws."""

import inspect
import json
import re
import subprocess
import sys
import types

import pytest

from gradsculpt.attacks import ATTACKS
from gradsculpt.attributions import ATTRIBUTIONS
from gradsculpt.evaluation import SANITY_SCORES, SCORE_GROUPS, MetricGroup
from gradsculpt.metrics import METRICS
from gradsculpt.objectives import OBJECTIVES
from gradsculpt.penalties import PENALTIES
from gradsculpt.perturbations import PERTURBATIONS
from tests.evaluation.cases import GROUPS, measurable
from tests.objectives.cases import untried
from tests.penalties.cases import LAWFUL, missing
from tests.perturbations.test_perturbations import SOLVERS

TUPLES: dict[str, tuple[type, ...]] = {
    "penalties": PENALTIES,
    "perturbations": PERTURBATIONS,
    "objectives": OBJECTIVES,
    "attributions": ATTRIBUTIONS,
    "attacks": ATTACKS,
    "evaluation": SCORE_GROUPS,
}

# Runs in a fresh process, where no test has defined a subclass: imports every module, then looks at the classes.
SURVEY = """
import importlib, inspect, json, pkgutil, sys, gradsculpt

failed = {}
where = gradsculpt.__path__ if sys.argv[2] == "everything" else []
for module in pkgutil.walk_packages(where, "gradsculpt.", onerror=lambda name: None):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        # An optional extra may be missing on this machine; a module of our own may not.
        if error.name is None or error.name.split(".")[0] == "gradsculpt":
            failed[module.name] = str(error)

def concrete(cls):
    for child in cls.__subclasses__():
        if not inspect.isabstract(child):
            yield child
        yield from concrete(child)

forgotten = []
for package, (base, listed) in json.loads(sys.argv[1]).items():
    home = importlib.import_module(f"gradsculpt.{package}")
    for cls in set(concrete(getattr(home, base))) - set(getattr(home, listed)):
        if cls.__module__.startswith("gradsculpt") and not cls.__name__.startswith("_"):
            forgotten.append(cls.__name__)
json.dump({"failed": failed, "forgotten": sorted(forgotten)}, sys.stdout)
"""

FAMILIES = {
    "penalties": ("Penalty", "PENALTIES"),
    "perturbations": ("Perturbation", "PERTURBATIONS"),
    "objectives": ("Objective", "OBJECTIVES"),
    "attributions": ("Attribution", "ATTRIBUTIONS"),
    "attacks": ("Attack", "ATTACKS"),
    "evaluation": ("ScoreGroup", "SCORE_GROUPS"),
    "studies.experiments": ("Experiment", "EXPERIMENTS"),
    "studies.figures": ("Figure", "FIGURES"),
}
"""The base class of each package, and the name of the tuple that lists its members."""


def survey(before: str = "", modules: str = "everything") -> dict[str, object]:
    """Return what is missing, after running some code first."""
    command = [sys.executable, "-c", before + SURVEY, json.dumps(FAMILIES), modules]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_every_module_imports_and_every_concrete_subclass_is_listed() -> None:
    assert survey() == {"failed": {}, "forgotten": []}


def test_the_survey_sees_a_class_that_nobody_listed() -> None:
    stray = """
from gradsculpt.penalties import L1, Penalty
class Forgotten(L1): __module__ = "gradsculpt.penalties.norms"
class Abstract(Penalty): __module__ = "gradsculpt.penalties.norms"
class _Private(L1): __module__ = "gradsculpt.penalties.norms"
class Users(L1): __module__ = "theirs"
"""
    assert survey(stray, modules="packages only")["forgotten"] == ["Forgotten"]


@pytest.mark.parametrize("package", TUPLES)
def test_members_are_distinct_concrete_and_exported(package: str) -> None:
    members = TUPLES[package]
    assert len(set(members)) == len(members) > 0
    home = sys.modules[f"gradsculpt.{package}"]
    for member in members:
        assert not inspect.isabstract(member)
        assert member.__name__ in home.__all__
        assert getattr(home, member.__name__) is member


@pytest.mark.parametrize("member", [member for members in TUPLES.values() for member in members])
def test_members_say_what_they_are_and_name_their_source(member: type) -> None:
    lines = inspect.cleandoc(member.__doc__ or "").splitlines()
    assert lines
    assert lines[0].endswith((".", ":"))
    assert any(re.match(r"Source: \S", line) for line in lines), f"{member.__name__} names no source"
    public = [value for name, value in vars(member).items() if isinstance(value, types.FunctionType) and name[0] != "_"]
    assert all(method.__doc__ for method in public)


def test_every_penalty_is_under_the_laws() -> None:
    assert missing() == set()
    assert set(PENALTIES) == LAWFUL


def test_every_perturbation_is_under_the_laws() -> None:
    assert {type(solver) for solver in SOLVERS} == set(PERTURBATIONS)


def test_every_objective_is_under_the_laws_and_is_trained_with() -> None:
    assert untried() == set()


def test_every_group_of_scores_is_under_the_laws() -> None:
    assert {type(group) for group in GROUPS} == set(SCORE_GROUPS)


def test_every_score_says_what_it_means_in_a_sentence() -> None:
    measured = [column.score for group in GROUPS for column in group.measure(measurable()) if column.point is None]
    scores = [*(score for metric in METRICS for score in metric.scores), *SANITY_SCORES.values(), *measured]
    for score in scores:
        assert re.fullmatch(r"[A-Z][^.]*(\.\d[^.]*)*\.", score.meaning), (score.name, score.meaning)
        assert 20 < len(score.meaning) < 160, score.name
    jargon = r"logit|softmax|gradient|saliency|attribution|perturb|conjugate|tensor|norm\b|bootstrap|metric"
    assert not [score.name for score in scores if re.search(jargon, score.meaning, re.IGNORECASE)]


def test_every_group_of_scores_is_told_in_plain_words() -> None:
    for group in GROUPS:
        if not isinstance(group, MetricGroup):  # which goes by its metric
            assert group.label, group
            assert group.question.endswith("?"), group
