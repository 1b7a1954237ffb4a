"""The notebooks run, make pictures, use public names alone, and are stored without what a run leaves in them."""

import ast
import base64
import io
import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError
from PIL import Image

import gradsculpt as gs
from tests.docs import notebooks
from tests.docs.notebooks import BOOKS, FOLDER, SMALL, errors, pictures, ran, read, tagged

LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s#]+)[^)]*\)")


def code(name: str) -> str:
    return "\n\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")


def test_there_are_three() -> None:
    assert set(BOOKS) == {"train", "audit", "compare"} == set(SMALL)


@pytest.mark.parametrize("name", BOOKS)
def test_it_runs_and_makes_pictures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = ran(name, tmp_path, small=True)
    assert errors(notebook) == []
    drawn = list(pictures(notebook))
    assert len(drawn) >= 2
    for picture in drawn:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"))
        assert min(pixels.shape[:2]) > 100
        assert pixels.std() > 5  # something is on it


@pytest.mark.parametrize("name", BOOKS)
def test_it_is_stored_as_it_was_written(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert BOOKS[name].stat().st_size < 20_000
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    (parameters,) = tagged(notebook)
    assert names_set(parameters.source) == names_set(SMALL[name])


def names_set(source: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("name", BOOKS)
def test_it_is_small_enough_to_read_and_says_what_it_is_for(name: str) -> None:
    cells = read(name).cells
    assert cells[0].cell_type == "markdown"
    assert re.match(r"# \w[^\n]*\n\nAfter this notebook you can ", cells[0].source)
    assert len([cell for cell in cells if cell.cell_type == "code"]) <= 9
    assert all(len(cell.source.splitlines()) <= 42 for cell in cells)
    for cell in cells:
        for found in LINK.finditer(cell.source if cell.cell_type == "markdown" else ""):
            assert (FOLDER / found["target"]).resolve().is_file(), found["target"]


def chains(tree: ast.AST) -> set[str]:
    """Return the dotted names in a piece of code that begin with gs."""
    return {
        text
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.fullmatch(r"gs(\.\w+)+", text := ast.unparse(node))
    }


@pytest.mark.parametrize("name", BOOKS)
def test_it_uses_public_names_alone(name: str) -> None:
    tree = ast.parse(code(name))
    used = chains(tree)
    assert len(used) > 8
    for chain in used:
        home: Any = gs
        for part in chain.split(".")[1:]:
            assert not part.startswith("_"), chain
            listed = getattr(home, "__all__", None)
            assert listed is None or part in listed, chain
            home = getattr(home, part)
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    assert imported <= {"gradsculpt", "torch", "numpy", "matplotlib", "pathlib"}


def test_a_cell_that_fails_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    bad = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0", metadata={"tags": ["parameters"]})])  # type: ignore[no-untyped-call]
    nbformat.write(bad, tmp_path / "bad.ipynb")  # type: ignore[no-untyped-call]
    monkeypatch.setitem(notebooks.BOOKS, "bad", tmp_path / "bad.ipynb")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        ran("bad", tmp_path, small=False)
