"""The code keeps to its rows: imports run one way, modules stay small, and some things are never written."""

import ast
import re
import statistics
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gradsculpt

PACKAGE = "gradsculpt"
SOURCE = Path(gradsculpt.__file__).parent

ROWS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "errors extensions devices checks inputs files reading links locks machine runs wording numerics process "
        "progress accidents fingerprint configuration graph eager dispatch kernels diagnosis gradients outputs "
        "isolation lettering drawing notebook seals randomness companions hub",
        "penalties perturbations",
        "attributions objectives",
        "attacks metrics",
        "data models training",
        "evaluation visualize",
        "studies report sharing",
        "viewer cli",
    )
)
"""What stands in which row; a module imports from rows above it, or from its own package."""

SAME_ROW = frozenset(
    {
        ("accidents", "errors"),
        ("accidents", "files"),
        ("accidents", "machine"),
        ("accidents", "wording"),
        ("checks", "devices"),
        ("checks", "errors"),
        ("configuration", "errors"),
        ("configuration", "extensions"),
        ("drawing", "lettering"),
        ("eager", "errors"),
        ("extensions", "errors"),
        ("hub", "accidents"),
        ("hub", "errors"),
        ("hub", "machine"),
        ("hub", "reading"),
        ("hub", "runs"),
        ("hub", "wording"),
        ("locks", "errors"),
        ("locks", "reading"),
        ("links", "errors"),
        ("seals", "errors"),
        ("seals", "files"),
        ("seals", "reading"),
        ("runs", "errors"),
        ("runs", "locks"),
        ("runs", "reading"),
        ("reading", "errors"),
        ("progress", "errors"),
        ("progress", "wording"),
        ("outputs", "wording"),
        ("inputs", "wording"),
        ("checks", "wording"),
        ("inputs", "errors"),
        ("inputs", "checks"),
        ("gradients", "errors"),
        ("gradients", "devices"),
        ("gradients", "dispatch"),
        ("gradients", "kernels"),
        ("gradients", "diagnosis"),
        ("gradients", "graph"),
        ("diagnosis", "errors"),
        ("diagnosis", "graph"),
        ("diagnosis", "dispatch"),
        ("diagnosis", "isolation"),
        ("outputs", "errors"),
        ("outputs", "diagnosis"),
        ("outputs", "gradients"),
        ("kernels", "devices"),
        ("kernels", "dispatch"),
        ("kernels", "errors"),
        ("kernels", "isolation"),
        ("kernels", "numerics"),
        ("perturbations", "penalties"),  # a perturbation is sought for a penalty
        ("attacks", "metrics"),  # an attack is judged by a metric
        ("training", "data"),
        ("training", "models"),
        ("sharing", "report"),  # a card says what a page says
        ("viewer", "cli"),  # a page in the browser is opened by a command, and shares its console
    }
)
"""The imports within a row that are meant: importer, imported."""

NEVER = frozenset({("training", "penalties"), ("training", "perturbations")})
"""Imports from a row above that are not meant: training knows objectives, and no penalty by name."""

MODULE_LINES, MEDIAN_LINES, FUNCTION_LINES, STATEMENT_LINES = 350, 130, 70, 50


def modules(root: Path) -> dict[str, Path]:
    """Return the files of a package by module name; a package goes by its `__init__`."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return found


def imports(root: Path) -> dict[str, set[str]]:
    """Return which modules of the package each one names in an import, wherever in the file it stands."""
    files = modules(root)
    return {name: set(_imported(name, path, files)) - {name} for name, path in files.items()}


def _imported(name: str, path: Path, files: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (known for alias in node.names if (known := _known(alias.name, files)))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            for alias in node.names:  # `from package import x` may name a module or something in one
                if known := _known(f"{base}.{alias.name}", files):
                    yield known


def _known(target: str, files: dict[str, Path]) -> str | None:
    """Return the longest prefix of a dotted name that is a module of the package."""
    while target.startswith(PACKAGE):
        if target in files:
            return target
        target = target.rpartition(".")[0]
    return None


def _part(module: str) -> str:
    """Return the package or top-level module that a module belongs to; the root itself is ''."""
    return [*module.split("."), ""][1]


def _row(part: str) -> int | None:
    return next((number for number, row in enumerate(ROWS) if part in row), None)


def misplaced(root: Path) -> list[str]:
    """Return top-level modules and packages that stand in no row."""
    parts = {_part(name) for name in modules(root)} - {"", "__main__"}
    return sorted(f"{part} stands in no row" for part in parts if _row(part) is None)


def wrong_way(root: Path) -> list[str]:
    """Return imports that are neither from a row above nor from the own package."""
    found = []
    for name, targets in imports(root).items():
        importer = _part(name)
        if importer in ("", "__main__"):
            continue  # the root offers everything, and nothing below may import it
        for target in sorted(targets):
            imported = _part(target)
            if importer == imported or (importer, imported) in SAME_ROW:
                continue
            here, there = _row(importer), _row(imported)
            above = here is not None and there is not None and there < here
            if not above or (importer, imported) in NEVER:
                found.append(f"{name} imports {target}")
    return found


def cycles(root: Path) -> list[str]:
    """Return the modules that can reach themselves through imports, without the root's lazy ones."""
    graph = {name: targets - {PACKAGE} for name, targets in imports(root).items() if name != PACKAGE}
    found = []
    for start in graph:
        reached: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += graph.get(name, ())
        if start in reached:
            found.append(f"{start} imports itself by way of {', '.join(sorted(reached & graph[start]))}")
    return found


def too_long(root: Path) -> list[str]:
    """Return modules and functions over their limits; a function has one for all its lines and one for its code."""
    found = []
    for name, path in modules(root).items():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > MODULE_LINES:
            found.append(f"{name} has {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                docstring = node.body[0] if ast.get_docstring(node) else None
                statements = lines - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)  # type: ignore[operator]
                if lines > FUNCTION_LINES or statements > STATEMENT_LINES:
                    found.append(f"{name}.{node.name} has {lines} lines, {statements} of them code")
    return found


def forbidden(root: Path) -> list[str]:
    """Return uses of print, eval, exec and bare assert, names with `utils`, and autograd outside `gradients`."""
    found = []
    for name, path in modules(root).items():
        if re.search(r"(^|[._])utils?($|[._])", name.removeprefix(PACKAGE)):
            found.append(f"{name} is called utils")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            what = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NEVER_CALLED:
                what = node.func.id
            elif isinstance(node, ast.Assert):
                what = "assert"
            elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.autograd.grad":
                what = None if name in CALLS_AUTOGRAD else "torch.autograd.grad"
            if what:
                found.append(f"{name}:{node.lineno} uses {what}")  # type: ignore[attr-defined]
    return found


def function_modes(root: Path) -> list[str]:
    """Return the classes that see the functions of PyTorch which a network calls."""
    return [
        f"{name}.{node.name}"
        for name, path in modules(root).items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any("FunctionMode" in ast.unparse(base) for base in node.bases)
    ]


def commands_apart(root: Path) -> list[str]:
    """Return imports of one command by another; what they share has modules of its own."""
    from gradsculpt.cli.main import COMMANDS

    commands = {command.module for command in COMMANDS.values()}
    found = imports(root)
    return [
        f"{name} imports {target}" for name in sorted(commands) for target in sorted(found.get(name, set()) & commands)
    ]


NEVER_CALLED = ("print", "eval", "exec")

CALLS_AUTOGRAD = (f"{PACKAGE}.gradients", f"{PACKAGE}.studies.experiments.plain")
"""The way into autograd, and the formulas that are written without it, to be measured beside it."""


RULES = (misplaced, wrong_way, cycles, too_long, forbidden, commands_apart)


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
def test_the_source_keeps_to_its_rules(check: Callable[[Path], list[str]]) -> None:
    assert check(SOURCE) == []


def test_there_is_one_way_into_pytorch() -> None:
    assert function_modes(SOURCE) == [f"{PACKAGE}.dispatch.mode.Dispatch"]


def test_the_median_module_is_small() -> None:
    assert statistics.median(len(path.read_text().splitlines()) for path in modules(SOURCE).values()) < MEDIAN_LINES


def test_the_rows_do_not_repeat_themselves() -> None:
    assert sum(map(len, ROWS)) == len(frozenset().union(*ROWS))
    for importer, imported in SAME_ROW:
        assert _row(importer) == _row(imported) is not None
    assert not {(imported, importer) for importer, imported in SAME_ROW} & SAME_ROW
    assert all(_row(imported) < _row(importer) for importer, imported in NEVER)  # type: ignore[operator]


def test_the_checker_sees_the_imports_that_there_are() -> None:
    found = imports(SOURCE)
    assert f"{PACKAGE}.penalties.base" in found[f"{PACKAGE}.penalties.norms"]
    assert f"{PACKAGE}.checks" in found[f"{PACKAGE}.penalties.norms"]
    assert f"{PACKAGE}.perturbations" in found[f"{PACKAGE}.objectives.adversarial"]


def tree(root: Path, **files: str) -> Path:
    """Write a package whose files are named `penalties__norms` for penalties/norms.py."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        (path.parent / "__init__.py").touch()
    (root / "__init__.py").touch()
    return root


def test_a_tidy_tree_passes(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        errors="",
        checks="from gradsculpt.errors import ArgumentError",
        penalties__base="from gradsculpt import checks",
        penalties__norms="from gradsculpt.penalties.base import Penalty\nfrom .base import Size",
        perturbations__base="from gradsculpt.penalties import Penalty",
        cli__main="def main():\n    from gradsculpt.penalties import base\n    import gradsculpt.errors",
    )
    for check in (misplaced, wrong_way, cycles, too_long, forbidden):
        assert check(root) == []


@pytest.mark.parametrize(
    "line",
    [
        "from gradsculpt.models import load",
        "from gradsculpt.models.base import load",
        "import gradsculpt.models",
        "import gradsculpt.models.base as base",
        "from gradsculpt import models",
        "from .. import models",
        "from ..models import load",
        "import gradsculpt",
        "from gradsculpt import load",
        "def late():\n    from gradsculpt.models import load",
        "if TYPE_CHECKING:\n    from gradsculpt.models import load",
    ],
)
def test_an_import_from_below_is_seen(tmp_path: Path, line: str) -> None:
    found = wrong_way(tree(tmp_path, penalties__norms=line, models__base=""))
    assert len(found) == 1
    assert found[0].startswith("gradsculpt.penalties.norms imports gradsculpt")


def test_imports_within_a_row_are_seen_unless_they_are_meant(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        penalties__norms="from gradsculpt.perturbations import OneStep",
        perturbations__base="from gradsculpt.penalties import Penalty",
        objectives__base="from gradsculpt.attributions import Gradient",
        attributions__base="",
        training__module="from gradsculpt.penalties import L1",
    )
    assert wrong_way(root) == [
        "gradsculpt.objectives.base imports gradsculpt.attributions",
        "gradsculpt.penalties.norms imports gradsculpt.perturbations",
        "gradsculpt.training.module imports gradsculpt.penalties",
    ]


def test_a_command_that_imports_another_is_seen(tmp_path: Path) -> None:
    root = tree(tmp_path, cli__train="", cli__runs="", cli__explain="from gradsculpt.cli import runs, train")
    assert commands_apart(root) == ["gradsculpt.cli.explain imports gradsculpt.cli.train"]


def test_cycles_are_seen(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        penalties__a="from gradsculpt.penalties.b import B",
        penalties__b="def late():\n    from .c import C",
        penalties__c="from gradsculpt.penalties import a",
        penalties__d="from gradsculpt.penalties.a import A",
    )
    assert [line.split()[0].rpartition(".")[2] for line in cycles(root)] == ["a", "b", "c"]
    around = tree(tmp_path / "other", metrics__x="from gradsculpt.metrics import Y")
    (around / "metrics" / "__init__.py").write_text("from gradsculpt.metrics.x import X")
    assert len(cycles(around)) == 2


def test_packages_without_a_row_are_seen(tmp_path: Path) -> None:
    assert misplaced(tree(tmp_path, common__base="", errors="")) == ["common stands in no row"]


def test_long_modules_and_functions_are_seen(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        errors="\n" * 351,
        checks="def f():\n" + "    x = 1\n" * 50,
        inputs="class A:\n    async def g(self):\n        '''Say." + "\n" * 69 + "        '''\n",
        gradients="def h():\n    '''Say." + "\n" * 20 + "    '''\n" + "    x = 1\n" * 40,
    )
    assert [line.split()[0] for line in too_long(root)] == [
        "gradsculpt.checks.f",
        "gradsculpt.errors",
        "gradsculpt.inputs.g",
    ]


def test_a_second_way_into_pytorch_is_seen(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        dispatch__mode="class Dispatch(TorchFunctionMode): ...\nclass Other: ...",
        attacks__base="def f():\n    class Own(torch.overrides.TorchFunctionMode): ...",
        kernels__base="class Base(BaseTorchFunctionMode, Other): ...",
    )
    names = ["attacks.base.Own", "dispatch.mode.Dispatch", "kernels.base.Base"]
    assert function_modes(root) == [f"{PACKAGE}.{name}" for name in names]


def test_what_is_never_written_is_seen(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        checks="print('x')",
        inputs="eval('1')\nmodel.eval()",
        gradients="torch.autograd.grad(y, x)",
        metrics__base="assert x, 'why'",
        metrics__utils="",
        data__image_utils="",
        models__base="def f():\n    torch.autograd.grad(y, x)",
    )
    assert forbidden(root) == [
        "gradsculpt.checks:1 uses print",
        "gradsculpt.data.image_utils is called utils",
        "gradsculpt.inputs:1 uses eval",
        "gradsculpt.metrics.base:1 uses assert",
        "gradsculpt.metrics.utils is called utils",
        "gradsculpt.models.base:2 uses torch.autograd.grad",
    ]
