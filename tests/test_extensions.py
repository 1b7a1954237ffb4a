"""Code of the user's own is found where Python looks, and called with what it takes."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.extensions import called, check_module, imported, modules_of, trusted, typed


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "somebodys.py").write_text(
        "value = 3\ndef sized(a, size=1): return a, size\ndef fails(): raise OSError\n"
    )
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "somebodys", raising=False)
    with pytest.raises(ArgumentError, match=r"code of the module 'somebodys', .* pass --trust-code somebodys"):
        imported("somebodys", "value", "--x somebodys.value", ArgumentError)
    monkeypatch.syspath_prepend(tmp_path)
    with trusted(["somebodys", "broken"]):
        yield "somebodys"


def test_what_a_module_imports_when_it_is_wanted_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        def __getattr__(name):
            if name == "value":
                return print
            if name == "broken":
                raise ImportError("not there")
            raise AttributeError(name)

        def __dir__():
            return ["value", "broken"]
    """
    (tmp_path / "lazily.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    with trusted(["lazily"]):
        for function in (False, True):
            assert imported("lazily", "value", "--x", ArgumentError, function=function) is print
            with pytest.raises(ArgumentError, match=r"--x cannot be imported: lazily raised .*not there"):
                imported("lazily", "broken", "--x", ArgumentError, function=function)
        with pytest.raises(ArgumentError, match=r"has no object 'valu'\. Did you mean value"):
            imported("lazily", "valu", "--x", ArgumentError)


def test_an_object_is_found_by_its_name(module: str) -> None:
    assert imported(module, "value", "--x", ArgumentError) == 3
    with pytest.raises(ArgumentError, match=r"^--x names nothing: .*somebodys.py\) has no object 'valu'. Did you mean"):
        imported(module, "valu", "--x", ArgumentError)
    with pytest.raises(DataError, match=r"^--x names no function: .* has no callable 'value'"):
        imported(module, "value", "--x", DataError, function=True)
    with pytest.raises(DataError, match=r"broken raised ModuleNotFoundError: .*a_module_that_is_not_there.*Mend"):
        imported("broken", "value", "--x", DataError)


@pytest.mark.parametrize(
    ("always", "wanted", "expected"),
    [({"a": 1}, {"size": 2, "seed": 3}, ((1, 2), "sized(a=1, size=2)")), ({"a": 1}, {}, ((1, 1), "sized(a=1)"))],
)
def test_a_function_is_called_with_what_it_takes(
    module: str, always: dict[str, Any], wanted: dict[str, Any], expected: object
) -> None:
    assert called(f"{module}:sized", DataError, always, wanted) == expected


def test_a_function_that_fails_is_told_with_its_call(module: str) -> None:
    said = r"python:somebodys:fails failed: fails\(\) raised OSError. .*with size if it has a parameter of that name"
    with pytest.raises(DataError, match=said):
        called(f"{module}:fails", DataError, {}, {"size": 2})


STRANGE = ("os.system", "subprocess.run", "builtins.eval", "torch.load", "gradsculpt_evil.own", "tests.nowhere.x")


@pytest.mark.parametrize("path", STRANGE)
def test_what_only_a_file_names_is_not_imported(path: str) -> None:
    module, _, name = path.rpartition(".")
    before = set(sys.modules)
    for block in (typed([]), trusted([]), typed(["--out", "runs/os.d", "my_os.system", "x/subprocess.run"])):
        with block:
            with pytest.raises(ArgumentError, match=r"only a file names, .* pass --trust-code"):
                imported(module, name, "penalty", ArgumentError)
            with pytest.raises(DataError, match=r"only a file names, .* pass --trust-code"):
                called(f"{module}:{name}", DataError, {}, {})
            with pytest.raises(DataError, match=r"only a file names, .* pass --trust-code"):
                check_module(f"{module}:{name}", DataError)
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    "path",
    [
        "gradsculpt.models.checkpoint.subprocess",  # what a module of ours has imported is not ours
        "gradsculpt.files.os.system",
        "gradsculpt.files.suppress",
        "gradsculpt.models.networks.partial",
    ],
)
def test_what_a_module_of_ours_has_imported_is_not_ours(path: str) -> None:
    module, _, name = path.rpartition(".")
    with pytest.raises(ArgumentError):
        imported(module, name, "penalty", ArgumentError, function=True)


def test_what_is_ours_needs_no_trust() -> None:
    with trusted([]):
        assert imported("gradsculpt.penalties", "L1", "penalty", ArgumentError).__name__ == "L1"


def test_a_program_may_call_what_it_names_itself() -> None:
    assert called("builtins:dict", DataError, {"a": 1}, {}) == ({"a": 1}, "dict(a=1)")


def test_settings_name_their_code() -> None:
    plain = {"data": "python:mine.own:f", "objective": {"class_path": "a.B", "init_args": {"x": [{"class_path": "c"}]}}}
    assert list(modules_of(plain)) == ["mine", "a", "c"]
    assert list(modules_of({"recipe": "os.system", "data": "folder:os.d", "freeze": ["a.b"]})) == []
