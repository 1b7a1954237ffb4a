"""The version of code changes with each line that a result depends on, and with no other."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradsculpt.studies.engine import versions

FILES = {
    "__init__.py": "",
    "fit.py": '"""Fits."""\nfrom tiny.shapes import Square\nimport tiny.numbers\n\ndef fit():\n    return Square\n',
    "numbers.py": "ONE = 1\n",
    "unused.py": "TWO = 2\n",
    "named.py": "THREE = 3\n",
    "lazy.py": 'HOME = "tiny.named.THREE"\n\ndef late():\n    from .numbers import ONE\n    return ONE\n',
    "shapes/__init__.py": '"""Shapes."""\nfrom tiny.shapes.square import Square\nfrom .circle import Circle\n',
    "shapes/square.py": "from tiny.shapes.base import Shape\n\nclass Square(Shape):\n    sides = 4\n",
    "shapes/circle.py": "from .base import Shape\n\nclass Circle(Shape):\n    sides = 0\n",
    "shapes/base.py": "class Shape:\n    pass\n",
}

Version = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def version(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Version]:
    """Yield the function that returns the version of names in the package as it is on disk now."""
    import re

    monkeypatch.setattr(versions, "_ROOT", package)
    monkeypatch.setattr(versions, "_PACKAGE", "tiny")
    monkeypatch.setattr(versions, "_DOTTED", re.compile(r"tiny(\.\w+)+"))
    caches = [each for each in vars(versions).values() if hasattr(each, "cache_clear")]

    def read(*names: str) -> str:
        for cache in caches:
            cache.cache_clear()
        return versions.version(names)

    yield read
    for cache in caches:
        cache.cache_clear()


def change(package: Path, name: str, old: str, new: str) -> None:
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))


def test_what_is_said_about_code_changes_nothing(package: Path, version: Version) -> None:
    before = version("tiny.fit")
    change(package, "fit.py", "def fit():\n", 'def fit():\n    """Fit."""  # at once\n\n\n')
    change(package, "fit.py", "Fits.", "Fits it all.")
    change(package, "shapes/base.py", "pass", '"""A shape."""\n    pass')
    change(package, "numbers.py", "ONE = 1", "# one\nONE  =  1\n\n")
    assert version("tiny.fit") == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("fit.py", "return Square", "return Square()"),
        ("numbers.py", "1", "2"),
        ("shapes/square.py", "4", "5"),
        ("shapes/base.py", "pass", "sides = 1"),
    ],
)
def test_a_line_that_is_used_changes_it(package: Path, version: Version, name: str, old: str, new: str) -> None:
    before = version("tiny.fit")
    change(package, name, old, new)
    assert version("tiny.fit") != before


def test_a_line_that_is_not_used_does_not(package: Path, version: Version) -> None:
    before = version("tiny.fit")
    change(package, "unused.py", "2", "3")
    change(package, "shapes/circle.py", "0", "1")
    (package / "shapes/star.py").write_text("class Star:\n    pass\n")
    change(package, "shapes/__init__.py", "from .circle", "from .star import Star\nfrom .circle")
    assert version("tiny.fit") == before
    assert version("tiny.shapes.Circle") != version("tiny.shapes.Square")


@pytest.mark.parametrize(("name", "old", "new"), [("numbers.py", "1", "2"), ("named.py", "3", "4")])
def test_imports_inside_functions_and_names_in_texts_count(
    package: Path, version: Version, name: str, old: str, new: str
) -> None:
    before = version("tiny.lazy")
    change(package, name, old, new)
    assert version("tiny.lazy") != before


def test_a_whole_package_is_all_that_it_hands_on(package: Path, version: Version) -> None:
    before = version("tiny.shapes")
    change(package, "shapes/circle.py", "0", "1")
    assert version("tiny.shapes") != before


def test_a_name_counts_as_the_module_that_defines_it(version: Version) -> None:
    assert version("tiny.shapes.Square") == version("tiny.shapes.square.Square") == version("tiny.shapes.square")
    assert version() == version("elsewhere.fit")
