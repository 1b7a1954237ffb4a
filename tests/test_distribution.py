"""What is built for those who never see this folder: the source distribution, the wheel, and what runs from it."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
BUILT = ["pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "MANIFEST.in"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, built one after the other as `python -m build` does: the wheel from the source distribution alone."""
    here = tmp_path_factory.mktemp("dist")
    shutil.copytree(SOURCE, here / "tree/src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in BUILT:
        shutil.copy(ROOT / name, here / "tree" / name)
    (here / "tree/tests").mkdir()
    (here / "tree/tests/test_something.py").touch()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(here / "dist"), str(here / "tree")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return here / "dist"


def packaged(names: Iterable[str]) -> set[str]:
    return {name.partition("gradsculpt/")[2] for name in names}


def expected() -> set[str]:
    files = (path for path in (SOURCE / "gradsculpt").rglob("*") if path.is_file())
    return {path.relative_to(SOURCE / "gradsculpt").as_posix() for path in files if path.suffix != ".pyc"}


def test_the_wheel_has_every_file_of_the_package_and_no_other(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert packaged(name for name in names if ".dist-info/" not in name) == expected()
    assert "gradsculpt/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gradsculpt"}


def test_the_source_distribution_has_what_the_wheel_is_made_of(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as inside:
        names = [member.name.partition("/")[2] for member in inside if member.isfile()]
    assert packaged(name for name in names if name.startswith("src/gradsculpt/")) == expected()
    assert set(BUILT) <= set(names)
    assert not [name for name in names if name.startswith("tests/test")]


def test_what_is_installed_from_the_wheel_runs(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "gradsculpt", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    assert "train" in run("--help")
    assert "elastic-net" in run("list")
    assert "advgrad-table2" in run("study", "list")
    small = ["--data", "digits", "--model", "lenet", "--image-size", "32", "--epochs", "1", "--train-count", "64"]
    run("train", *small, "--recipe", "l1", "--out", "run", "--device", "cpu")
    scored = ["--groups", "sparsity", "--count", "4", "--device", "cpu"]
    run("compare", "run", *scored, "--out", "report.html")
    where = [sys.executable, "-c", "import gradsculpt; print(gradsculpt.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, check=True, cwd=tmp_path, env=env).stdout
    assert found.startswith(str(tmp_path))
