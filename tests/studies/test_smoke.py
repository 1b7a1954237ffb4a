"""Every study runs at smoke scale, by its command, and leaves what its file promises."""

import csv
from pathlib import Path

import pytest

from gradsculpt.cli.main import main
from gradsculpt.studies import study as studies

pytestmark = pytest.mark.xdist_group("studies")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all results, so that no training is run twice for two studies."""
    return tmp_path_factory.mktemp("studies")


@pytest.mark.parametrize("name", studies.names())
def test_a_study_runs_and_leaves_its_table_and_figures(name: str, store: Path) -> None:
    """A number for every row that is run and column that is its, every figure, no claim that cannot be judged."""
    assert main(["study", "run", name, "--scale", "smoke", "--out", str(store)]) == 0
    study, folder = studies.read(name, "smoke"), store / name / "smoke"
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert study.title in page
    for sentence in study.departures:
        assert sentence in page
    for figure in study.figures:
        path = folder / f"{figure}.png"
        assert path.is_file(), f"{figure} was not drawn"
        assert path.stat().st_size <= 300_000
    if study.columns:
        with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
            cells = {(row["row"], row["column"]): row["mean"] for row in csv.DictReader(file)}
        for heading, column in study.columns.items():
            of = study.measures[column.measure].networks
            rows = [row for row in study.run_rows if of is None or study.rows[row].network in of]
            assert any(cells[row, heading] for row in rows), f"{heading} has no number"
