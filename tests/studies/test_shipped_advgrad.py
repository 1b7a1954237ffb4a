"""The studies of AdvGrad (Gong et al., CVPR 2024): published numbers and settings, as its tables have them.

Numbers and settings are written from the paper, not from the files.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from gradsculpt.cli.performing import words_of
from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import ArgumentError
from gradsculpt.extensions import imported
from gradsculpt.objectives import AdversarialTraining, CrossEntropy, GradientPenalty, Objective
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization
from gradsculpt.perturbations import Free, Iterative, Momentum, Noise, OneStep
from gradsculpt.studies import study as studies
from gradsculpt.studies.claims import judged
from gradsculpt.studies.plan import plan
from gradsculpt.studies.schema import SCALES
from gradsculpt.training import TrainSettings

NAMES = [name for name in studies.names() if name.startswith("advgrad-")]

SUMS: dict[str, dict[str, float]] = {
    "advgrad-table2": {
        "five bands, pixel accuracy": 449.52,
        "five bands, recall": 43.53,
        "five bands, precision": 159.27,
        "five bands, false positive rate": 4.94,
        "binary, pixel accuracy": 465.98,
        "binary, recall": 306.01,
        "binary, precision": 136.27,
        "binary, false positive rate": 30.11,
    },
    "advgrad-table3": {"DiffROAR": 28.71, "Gini": 733.78, "accuracy": 1117.08},
    "advgrad-table4": {"top 5% overlap": 200.48, "top 10% overlap": 230.06, "accuracy": 333.28},
    "advgrad-table5": {
        "drop of AOPC, 20 steps": 39.38,
        "drop of AOPC, 50 steps": 76.09,
        "drop of AOPC, 100 steps": 99.90,
    },
    "advgrad-table6": {
        "top 5% overlap": 165.91 + 42.63 + 50.62,
        "top 10% overlap": 205.70 + 47.06 + 52.60,
        "accuracy": 67.58 + 66.65 + 64.99,
    },
}
"""The columns of the paper's tables, added up; in the last, two rows and the accuracy are of Table 4."""

ROWS: dict[tuple[str, str], tuple[float, ...]] = {
    ("advgrad-table2", "standard"): (89.81, 9.86, 32.58, 1.21, 88.66, 44.47, 16.22, 10.22),
    ("advgrad-table2", "harmonization"): (90.14, 11.37, 43.31, 1.14, 93.82, 67.05, 28.15, 5.54),
    ("advgrad-table3", "L1 .10"): (1.97, 65.53, 78.85),
    ("advgrad-table3", "group 1.00"): (0.40, 52.70, 83.80),
    ("advgrad-table3", "elastic net .01 .05"): (3.24, 57.35, 87.67),
    ("advgrad-table3", "elastic net .05 .10"): (2.17, 60.25, 84.54),
    ("advgrad-table4", "eps 1"): (42.63, 47.06, 66.65),
    ("advgrad-table5", "Sparse MoreauGrad"): (11.29, 32.32, 45.61),
    ("advgrad-table6", "eps 1"): (34.22, 42.05),
}

FAST = OneStep()
SEVEN = Iterative(steps=8, step_size=0.3, keep="last")  # B.4: the start is the first of eight


def against(penalty: Any, perturbation: Any = FAST) -> AdversarialTraining:
    return AdversarialTraining(penalty, perturbation)


def plain(weight: float) -> GroupL21:
    """Return the L2 norm: all entries are one group."""
    return GroupL21(weight, patch=None, per_channel=False)


OURS: dict[str, Objective] = {
    "standard": CrossEntropy(),
    "L1": against(L1(0.05)),
    "group": against(GroupL21(0.5, patch=14)),
    "elastic net": against(ElasticNet(0.05, 0.05)),
}
"""What figures are of whose weights the paper does not give."""

CUB: dict[str, Objective] = {"eps 0": CrossEntropy()}

OBJECTIVES: dict[str, dict[str, Objective]] = {
    "advgrad-table2": {**OURS, "harmonization": against(Harmonization(5.0))},
    "advgrad-table3": {
        "standard": CrossEntropy(),
        **{f"L1 .{eps}": against(L1(float(f"0.{eps}"))) for eps in ("01", "05", "10")},
        **{f"group {eps}": against(GroupL21(float(eps), patch=14)) for eps in (".10", ".50", "1.00")},
        **{
            f"elastic net .{a} .{b}": against(ElasticNet(float(f"0.{a}"), float(f"0.{b}")))
            for a in ("01", "05")
            for b in ("01", "05", "10")
        },
    },
    "advgrad-table4": CUB | {f"eps {eps}": against(Harmonization(float(eps))) for eps in (".1", ".5", "1", "5")},
    "advgrad-table6": {
        **CUB,
        **{
            f"eps {eps}": against(GroupL21(float(eps), patch=None, per_channel=False)) for eps in (".1", ".5", "1", "5")
        },
        **{f"harmonization {eps}": against(Harmonization(float(eps))) for eps in ("1", "5")},
    },
    "advgrad-table5": {"simple gradient" if name == "standard" else name: each for name, each in OURS.items()},
    "advgrad-fig3": OURS,
    "advgrad-fig4": {
        "standard": CrossEntropy(),
        "noise": against(L1(0.0), Noise(0.25)),
        "FGSM .01": against(L1(0.01)),
        "MI-FGSM .01": against(L1(0.01), Momentum(10, 1.0)),
        "MI-FGSM .05": against(L1(0.05), Momentum(10, 1.0)),
        **{
            f"{name}, {protocol}": against(OURS[name].penalty, how)  # type: ignore[attr-defined]
            for name in ("L1", "group", "elastic net")
            for protocol, how in (("fast", FAST), ("iterative", SEVEN), ("free", Free(4)))
        },
        **{f"{n}, penalty": GradientPenalty(OURS[n].penalty) for n in ("L1", "group", "elastic net")},  # type: ignore[attr-defined]
    },
    "advgrad-fig5": OURS,
    "advgrad-fig9": {
        "true labels": against(ElasticNet(0.01, 0.05)),
        "permuted labels": against(ElasticNet(0.01, 0.05)),
    },
    "advgrad-fig11": OURS,
    "advgrad-fig12": {
        "standard": CrossEntropy(),
        **{f"L2 {eps}": against(plain(float(eps))) for eps in (".5", "5")},
        **{f"harmonization {eps}": against(Harmonization(float(eps))) for eps in (".5", "5")},
    },
    "advgrad-fig14": {name: OURS[name] for name in ("standard", "elastic net")},
    "advgrad-fig16": OURS,
}
"""What every network minimises at the scale of the paper."""

OTHERS: dict[tuple[str, str, str], Objective] = {
    ("advgrad-table2", "cpu", "harmonization"): against(Harmonization(200.0, positive=True, sigma=0.1, saturation=0.4)),
}
"""What is another one at a smaller scale, as the study says where it departs."""


_said: dict[str, Any] = {}
_resolved: dict[tuple[str, ...], TrainSettings] = {}


def words(command: str, settings: Mapping[str, Any]) -> Any:
    """Return what `words_of` does, once for all studies that say the same."""
    key = f"{command} {sorted(settings.items())}"
    if key not in _said:
        _said[key] = words_of(command, settings)
    return _said[key]


def settings(name: str, scale: str) -> dict[str, TrainSettings]:
    """Return what the networks of a study are trained with."""
    networks = studies.read(name, scale).networks.items()
    typed = {network: tuple(words("train", own)[0]) for network, own in networks}
    for each in typed.values():
        if each not in _resolved:
            _resolved[each] = read_settings([*each, "--out", "run"])
    return {network: _resolved[each] for network, each in typed.items()}


def test_every_study_is_looked_at() -> None:
    assert sorted(OBJECTIVES) == NAMES


@pytest.mark.parametrize("name", sorted(SUMS))
def test_published_numbers_add_up_to_the_columns_of_the_paper(name: str) -> None:
    columns = studies.read(name).columns
    added = {heading: sum(map(float, each.published.values())) for heading, each in columns.items() if each.published}
    assert added == pytest.approx(SUMS[name], abs=1e-6)


@pytest.mark.parametrize(("name", "row"), list(ROWS))
def test_published_numbers_stand_in_their_rows(name: str, row: str) -> None:
    columns = studies.read(name).columns.values()
    assert tuple(each.published[row] for each in columns if row in each.published) == ROWS[name, row]


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_trained_as_published(name: str) -> None:
    for network, each in settings(name, "paper").items():
        told, pace = f"{name}, {network}", each.optimization
        assert each.objective == OBJECTIVES[name][network], told
        assert (pace.optimizer, pace.schedule, each.batch_size) == ("adam", "constant", 16), told
        if each.data == "cells":  # B.1
            numbers = (pace.lr, pace.betas, pace.weight_decay, each.epochs)
            assert numbers == (1e-3, (0.5, 0.999), 1e-5, 10), told
            assert (each.model, each.weights, each.image_size) == ("resnet34", "default", 512), told
            assert each.train_count == 4096, told
        else:  # B.2 and B.8
            numbers = (pace.lr, pace.betas, pace.weight_decay, each.epochs)
            assert numbers == (3e-4, (0.999, 0.999), 1e-4, 200), told
            assert (each.model, each.weights) == ("efficientnet_b0", None), told
            assert each.image_size == {"imagenette": 224, "cub-gha": 448}[each.data], told
        assert each.shuffle_labels == (network == "permuted labels"), told
        assert each.swap == (500 if name == "advgrad-fig5" else 0), told
    assert set(OBJECTIVES[name]) == set(studies.read(name).networks)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
@pytest.mark.parametrize("name", NAMES)
def test_a_scale_changes_how_long_and_how_large_and_not_what(name: str, scale: str) -> None:
    for network, each in settings(name, scale).items():
        told, published = f"{name}, {network}", OTHERS.get((name, scale, network), OBJECTIVES[name][network])
        penalty = getattr(published, "penalty", None)
        if isinstance(penalty, GroupL21) and penalty.patch is not None:
            patch = each.objective.penalty.patch  # type: ignore[attr-defined]
            assert patch == round(14 * (each.image_size or 0) / 224) or each.data == "cells", told
            assert patch != 14 or each.image_size == 512, told
        else:
            assert each.objective == published, told


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_named_is_there_at_every_scale(name: str, scale: str) -> None:
    study = studies.read(name, scale)
    made = plan(study, words)
    assert set(study.run_rows) <= set(study.rows)
    assert made.trainings
    assert len(study.run_rows) >= 2
    for task in made.measurements.values():
        if "." in task.kind:  # refused now, if at all, and not after networks were trained
            module, _, last = task.kind.rpartition(".")
            imported(module, last, task.kind, ArgumentError)(**task.settings)
    for claim in study.claims:
        assert judged(claim, _Nothing(), list(study.rows)).verdict == "not run"
    assert set(study.content.get("only", ())) == set(study.run_rows) or "only" not in study.content
    if scale == "paper":
        assert study.run_rows == tuple(study.rows)


class _Nothing:
    rows = ()

    def entries(self, row: str, score: str) -> list[Any]:
        raise AssertionError

    def values(self, row: str, score: str) -> list[Any]:
        raise AssertionError
