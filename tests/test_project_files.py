"""What a project has beside its code says what is so."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert citation["keywords"] == PROJECT["keywords"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for paper in citation["references"]:
        assert paper["title"] in readme
        assert paper["authors"][0]["family-names"] in readme


def test_versions_with_malware_are_not_installed() -> None:
    (lightning,) = (each for each in PROJECT["dependencies"] if each.startswith("lightning"))
    assert "!=2.6.2" in lightning
    assert "!=2.6.3" in lightning


def test_each_package_and_extra_of_an_installation_is_explained() -> None:
    page = (ROOT / "docs/how-to/install.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip().strip("`") for line in page.splitlines() if line.startswith("| ")}
    names = {re.split(r"[<>=!\[;]", each)[0] for each in PROJECT["dependencies"]}
    assert names - {"torch", "torchvision"} <= rows
    assert set(PROJECT["optional-dependencies"]) - {"mutants"} <= rows


def test_the_changelog_goes_by_kinds() -> None:
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for version in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        heads = [line.removeprefix("### ") for line in version.splitlines() if line.startswith("### ")]
        assert set(heads) <= kinds
        assert len(set(heads)) == len(heads)


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_files_of_the_forge_are_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_forge_runs_what_the_makefile_has() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["make"]["strategy"]["matrix"]
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    made = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if line[:1].isalpha()}
    called = {step.removeprefix("make ") for step in steps if step.startswith("make ")} - {"${{ matrix.target }}"}
    called |= set(matrix["target"])
    assert called <= made
    assert {"test", "docs", "test-browser", "audit", "package"} <= called
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert matrix["python"][0] == PROJECT["requires-python"].removeprefix(">=")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"])
def test_what_a_page_links_to_is_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [part.partition(")")[0] for part in text.split("](")[1:]]
    for target in targets:
        if not target.startswith(("http", "#")):
            assert (ROOT / target.partition("#")[0]).exists(), target
