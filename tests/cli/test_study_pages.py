"""When the pages of studies are written, and what they say of how they came about."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from gradsculpt.cli import study, study_pages
from gradsculpt.cli.tasks import Spelling
from gradsculpt.progress import Reporter
from gradsculpt.studies import pages
from gradsculpt.studies import study as studies
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.plan import plan
from gradsculpt.studies.results import StoredResults

TWO = ("duality", "aga-fig1")


def lines_of(words: list[str]) -> list[str]:
    screen = io.StringIO()
    study.run(words, Reporter(Console(file=screen, width=400)))
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["in turn", "by a worker"])
def test_a_page_is_written_when_its_own_tasks_have_ended(workers: list[str], tmp_path: Path) -> None:
    lines = lines_of(["run", *TWO, "--out", str(tmp_path), *workers])
    first = next(i for i, line in enumerate(lines) if line.startswith("Written to") and TWO[0] in line)
    assert sum(line.startswith("Written to") for line in lines) == len(TWO)
    if not workers:
        assert any(line.endswith(": begun") for line in lines[first:])
    for name in TWO:
        assert (tmp_path / name / "smoke" / "README.md").read_text().startswith("# ")
    again = lines_of(["run", *TWO, "--out", str(tmp_path), *workers])  # all of it was done before
    assert sum(line.startswith("Written to") for line in again) == len(TWO)


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["in turn", "by a worker"])
def test_a_page_that_cannot_be_written_is_told(
    workers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages, "_written", full)
    with pytest.raises(Exception, match="No space left on device"):
        study.run(["run", "aga-fig1", "--out", str(tmp_path), *workers], Reporter(Console(file=io.StringIO())))


def test_the_page_of_a_study_names_the_copies_that_it_is_made_of(tmp_path: Path) -> None:
    made = plan(studies.read("advgrad-table4", "cpu"), Spelling({}))
    options = {"only": [], "data": ["cells=folder:somewhere", "cub-gha=folder:elsewhere"]}
    command = study_pages._command("advgrad-table4", StoredResults(made, Store(tmp_path)), options)
    assert command.endswith("--scale cpu --only --data cells=folder:PATH")  # nothing of it is done
