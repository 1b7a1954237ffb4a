"""How many small faults in the mathematics do the tests notice?

A mutant is a module with one operator, number or condition changed, by Cosmic Ray. Of all mutants of the packages that
compute what is published, a sample is drawn; for each, the tests of its package are run, those of its module first, in
a process of its own that has imported PyTorch before. Nothing on the disk is changed.

    python -m tests.mutants --count 300 --seed 0 --out results/mutants
"""

import argparse
import ast
import csv
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("penalties", "perturbations", "objectives", "metrics", "evaluation")
SURVIVED, CAUGHT, HUNG = "survived", "caught", "caught by time"

_SECONDS = 240  # after which a mutant hangs; the slowest of these packages' tests take a minute
_Z = 1.96


class Mutant(NamedTuple):
    """A module with one thing changed."""

    path: Path
    line: int
    operator: str
    code: str

    @property
    def module(self) -> str:
        """The name by which it is imported."""
        parts = self.path.relative_to(ROOT / "src").with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def tests(self) -> list[str]:
        """What is run: the examples in the module, the tests that bear its name, then all of its package."""
        package = ROOT / "tests" / self.module.split(".")[1]
        own = sorted(map(str, package.rglob(f"test_{self.path.stem}.py")))
        others = sorted(str(path) for path in package.rglob("test_*.py") if str(path) not in own)
        return [str(self.path), *own, *others]


def drawn(packages: Sequence[str], count: int, seed: int) -> Iterator[Mutant]:
    """Yield mutants drawn of all that the packages have, but for those that differ in annotations and texts alone."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import MutationVisitor
    from cosmic_ray.plugins import get_operator, operator_names

    kinds = {name: get_operator(name) for name in operator_names()}
    operators = {name: kind() for name, kind in kinds.items() if not kind.arguments()}
    places = list[tuple[Path, str, int]]()
    codes = dict[Path, str]()
    for package in packages:
        for path in sorted((ROOT / "src" / "gradsculpt" / package).rglob("*.py")):
            codes[path] = path.read_text(encoding="utf-8")
            nodes = list(ast_nodes(get_ast(codes[path])))
            for name, operator in operators.items():
                found = sum(1 for node in nodes for _ in operator.mutation_positions(node))
                places += [(path, name, occurrence) for occurrence in range(found)]
    random.Random(seed).shuffle(places)  # so each start of what follows is a sample
    for path, name, occurrence in places:
        with suppress(SyntaxError, AttributeError):  # of those that Cosmic Ray cannot make
            changed = MutationVisitor.mutate_code(codes[path], operators[name], occurrence)
            if _meaning(changed) != _meaning(codes[path]):
                yield Mutant(path, _line(codes[path], changed), name.removeprefix("core/"), changed)
                count -= 1
        if not count:
            return


def verdict(mutant: Mutant) -> str:
    """Tell whether the tests notice a mutant, in a process of its own."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        _run_tests(mutant)
    started = time.monotonic()
    while time.monotonic() - started < _SECONDS:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return SURVIVED if status == 0 else CAUGHT
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG


def share(caught: int, of: int) -> tuple[float, float, float]:
    """Return a share with its 95% interval by Wilson.

    Example:
        >>> [round(value, 3) for value in share(90, 100)]
        [0.9, 0.826, 0.945]
    """
    p, n = caught / of, of
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (p * (1 - p) / n + _Z**2 / (4 * n**2)) ** 0.5
    return p, centre - half, centre + half


def main(words: Sequence[str]) -> None:
    """Draw mutants, run the tests of each, and write what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="mutants in all, shared among the packages by size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=PACKAGES)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "mutants")
    given = parser.parse_args(words)
    _warm()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = list[tuple[Mutant, str]]()
    for mutant in drawn(given.packages, given.count, given.seed):
        rows.append((mutant, verdict(mutant)))
        print(f"{len(rows)} of {given.count}: {_told(mutant)}: {rows[-1][1]}", flush=True)  # noqa: T201
        _write(rows, given)


def _warm() -> None:
    """Import what tests import, but nothing of ours, as each process does that with its mutant."""
    import hypothesis  # noqa: F401
    import lightning  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    torch.set_num_threads(1)
    assert not [name for name in sys.modules if name.split(".")[0] == "gradsculpt"]


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def pytest_sessionstart(self) -> None:
        """Come before pytest's own finder, which would load what is named on its command line."""
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the mutant in the place of its module."""
        mutant = self._mutant
        if fullname != mutant.module:
            return None
        return spec_from_loader(fullname, self, origin=str(mutant.path), is_package=mutant.path.stem == "__init__")

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: Any) -> None:
        """Run the code of the mutant."""
        module.__file__ = str(self._mutant.path)
        exec(compile(self._mutant.code, str(self._mutant.path), "exec"), module.__dict__)


def _run_tests(mutant: Mutant) -> None:
    import pytest

    with open(os.devnull, "w") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    sys.path.insert(0, str(ROOT / "src"))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", str(ROOT)]
    status = 3
    with suppress(BaseException):
        status = int(pytest.main([*options, *mutant.tests], [_Finder(mutant)]))
    os._exit(status)


def _meaning(code: str) -> str:
    """Return the tree of a module without its annotations and docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
                node.body = node.body[1:]
            if not isinstance(node, ast.ClassDef | ast.Module):
                node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(0)
    return ast.dump(tree)


def _line(code: str, changed: str) -> int:
    pairs = zip(code.splitlines(), changed.splitlines(), strict=False)
    return next((i for i, (old, new) in enumerate(pairs, 1) if old != new), 0)


def _told(mutant: Mutant) -> str:
    new = mutant.code.splitlines()[mutant.line - 1].strip() if mutant.line else ""
    return f"{mutant.path.relative_to(ROOT / 'src')}:{mutant.line} {mutant.operator}: {new}"


def _write(rows: list[tuple[Mutant, str]], given: argparse.Namespace) -> None:
    with (given.out / "mutants.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["module", "line", "operator", "became", "verdict"])
        for mutant, what in rows:
            became = mutant.code.splitlines()[mutant.line - 1].strip()
            writer.writerow([mutant.module, mutant.line, mutant.operator, became, what])
    lines = ["| package | mutants | caught | 95% interval |", "| --- | --- | --- | --- |"]
    for package in (*given.packages, "all"):
        mine = [what for mutant, what in rows if package in ("all", mutant.module.split(".")[1])]
        if mine:
            p, low, high = share(sum(what != SURVIVED for what in mine), len(mine))
            lines.append(f"| {package} | {len(mine)} | {p:.1%} | {low:.1%} to {high:.1%} |")
    (given.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
