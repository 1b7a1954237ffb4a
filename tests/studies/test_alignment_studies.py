"""The studies of local gradient alignment: numbers as the paper prints them, and what is trained at every scale."""

from pathlib import Path
from typing import Any

import pytest

from gradsculpt.cli.tasks import Spelling
from gradsculpt.studies import pages
from gradsculpt.studies import study as studies
from gradsculpt.studies.claims import judged
from gradsculpt.studies.engine.task import Task
from gradsculpt.studies.plan import plan
from gradsculpt.studies.schema import SCALES
from tests.studies.test_claims import Given

TABLES = ("aga-table1", "aga-table1-resnet18", "aga-table1-imagenet100")
OTHERS = ("aga-fig2", "aga-fig3a", "aga-fig3b", "aga-large-lambda", "aga-selection", "aga-hessian")

# Two rows of each part of Table 1, copied again from the paper: accuracy, then RPS, insertion and adversarial insertion
# of the gradient, of it times the image, of guided backpropagation and of LRP.
PRINTED = {
    ("aga-table1", "IGA"): "86.3 0.837 37.9 34.0 0.822 47.2 44.6 0.937 57.7 54.7 0.994 59.1 55.1",
    ("aga-table1", "l2 + cosine"): "86.1 0.895 43.3 35.8 0.887 50.5 44.8 0.966 61.4 57.4 0.992 60.3 57.1",
    ("aga-table1-resnet18", "CE only"): "94.0 0.724 40.8 31.7 0.708 47.7 39.6 0.902 60.1 53.8 0.972 64.5 59.8",
    ("aga-table1-resnet18", "l2 + cosine"): "93.0 0.931 53.4 48.9 0.924 58.7 55.3 0.974 66.1 65.1 0.989 70.8 69.7",
    ("aga-table1-imagenet100", "Hessian"): "78.9 0.830 42.4 33.6 0.816 46.5 37.5 0.886 48.7 36.4 0.947 49.3 38.9",
    ("aga-table1-imagenet100", "l2"): "78.0 0.913 44.2 35.4 0.903 48.0 39.4 0.956 48.9 40.9 0.970 49.8 40.8",
}


def trained(name: str, scale: str, folder: Path) -> dict[str, Task]:
    """Return the trainings of a study by network, of its first seed."""
    made = plan(studies.read(name, scale), Spelling({"folder:imagenet100": f"folder:{folder}"}))
    return {network: task for (network, seed), task in made.trainings.items() if seed == 0}


@pytest.mark.parametrize("part", PRINTED, ids=" ".join)
def test_published_numbers_are_the_papers(part: tuple[str, str]) -> None:
    name, row = part
    columns = studies.read(name).columns.values()
    assert [column.published[row] for column in columns] == [float(number) for number in PRINTED[part].split()]


def test_the_table_has_the_papers_fourteen_rows_and_marks_its_own() -> None:
    published = [row for name in TABLES for row in studies.read(name).columns["Grad RPS"].published]
    assert len(published) == 14
    assert "cosine" in studies.read("aga-table1").rows
    assert "cosine" not in studies.read("aga-table1").columns["Grad RPS"].published


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", [*TABLES, *OTHERS])
def test_every_scale_can_be_trained_and_drawn(name: str, scale: str, tmp_path: Path) -> None:
    """Settings are those of commands, claims can be tested, and figures can be made."""
    study = studies.read(name, scale)
    assert bool(trained(name, scale, tmp_path)) == bool(study.run_rows)
    for figure, content in study.figures.items():
        pages.figure_of(figure, content)
    for claim in study.claims:
        assert judged(claim, Given("higher", dict.fromkeys(study.rows, 0.1)), list(study.rows)).says
    assert study.departures


OPTIMISED: dict[str, dict[str, Any]] = {
    "aga-table1": {"optimizer": "adam", "weight_decay": 4e-5, "epochs": 300, "milestones": [100, 150]},
    "aga-table1-resnet18": {"optimizer": "adamw", "weight_decay": 1e-2, "epochs": 200, "milestones": [100, 150]},
    "aga-table1-imagenet100": {"optimizer": "adamw", "weight_decay": 1e-2, "epochs": 90, "milestones": [40, 60, 80]},
}
"""The scripts of the released code, as far as they differ."""

WEIGHTS: dict[str, dict[str, dict[str, float]]] = {
    "aga-table1": {"l2 + cosine": {"l2": 0.01, "cosine": 1.0}, "Hessian": {"weight": 1e-3}},
    "aga-table1-resnet18": {"l2 + cosine": {"l2": 0.01, "cosine": 0.1}, "Hessian": {"weight": 1e-4}},
    "aga-table1-imagenet100": {"l2 + cosine": {"l2": 1.0, "cosine": 0.01}, "Hessian": {"weight": 1e-3}},
}


@pytest.mark.parametrize("name", TABLES)
def test_every_network_of_a_table_is_trained_by_the_scripts(name: str, tmp_path: Path) -> None:
    tasks = trained(name, "paper", tmp_path)
    for network, task in tasks.items():
        settings = dict(task.settings)
        settings["milestones"] = list(settings["milestones"])
        assert {key: settings[key] for key in OPTIMISED[name]} == OPTIMISED[name], network
        assert (settings["lr"], settings["softplus"], settings["clip"]) == (1e-3, 3, 0.5)
        assert settings["batch_size"] == (64 if (name, network) == ("aga-table1-imagenet100", "Hessian") else 128)
    for network, weights in WEIGHTS[name].items():
        arguments = tasks[network].settings["objective"]["init_args"]
        assert {key: arguments[key] for key in weights} == weights
    assert tasks["l2"].settings["objective"]["init_args"]["cosine"] == 0
    assert tasks["CE only"].settings["objective"]["class_path"].endswith("CrossEntropy")


def test_one_training_serves_all_studies_of_a_network(tmp_path: Path) -> None:
    """At scale cpu and at the paper's, LeNet on CIFAR-10 is trained once for a table and the figures."""
    for scale in ("cpu", "paper"):
        table = trained("aga-table1", scale, tmp_path)
        for name, network, same in (
            ("aga-fig3b", "l2", "l2"),
            ("aga-hessian", "Hessian", "Hessian"),
            ("aga-large-lambda", "cosine 1", "cosine"),
            ("aga-selection", "l2 .01 cosine 1", "l2 + cosine"),
        ):
            if same in table:  # at scale cpu, some rows of the table are too dear
                assert trained(name, scale, tmp_path)[network].key == table[same].key, (name, scale)
    at_cpu = trained("aga-table1", "cpu", tmp_path)
    for name in ("aga-fig2", "aga-fig3a"):
        assert {task.key for task in trained(name, "cpu", tmp_path).values()} <= {task.key for task in at_cpu.values()}


def test_attacks_are_as_wide_as_the_paper_says() -> None:
    """4 levels for LeNet and 2 for ResNet-18, in 100 steps."""
    for name, eps in zip(TABLES, (4, 2, 2), strict=True):
        for method in ("grad", "xgrad", "gbp", "lrp"):
            groups = studies.read(name, "paper").measures[method].settings["groups"]
            assert any(f"robustness-attack:eps={eps},steps=100," in group for group in groups)
            assert "robustness-random:rps_levels=[16],draws=10" in groups
