"""The version of the code that a result depends on: a digest of the modules that it is computed by."""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gradsculpt.errors import ArgumentError, first_line
from gradsculpt.extensions import named_in, source

_ROOT = Path(__file__).parents[2]
_PACKAGE = _ROOT.name
_TOKEN = re.compile(r"\w+")
_DOTTED = re.compile(rf"{_PACKAGE}(\.\w+)+")


def version(names: Iterable[str]) -> str:
    """Return a digest of modules and of all of the package's modules that they use; what they say about it is no part.

    A name that is imported from a package counts for the module that defines it, so that a class that is added beside
    others changes nothing for those who do not use it. Comments, docstrings and the layout of the code do not count.
    Of a module of the user's own in the current folder, its file counts, and what it uses of the package.

    Args:
        names: Modules and names in them, such as gradsculpt.training.fit.

    Example:
        >>> version(["gradsculpt.penalties.L1"]) == version(["gradsculpt.penalties.norms.L1"])
        True
        >>> version(["gradsculpt.penalties.L1"]) == version(["gradsculpt.attacks.TopKAttack"])
        False
    """
    digest = hashlib.blake2b(digest_size=8)
    for module in sorted(_closure(frozenset(names))):
        digest.update(f"{module} {_code(module)}\n".encode())
    return digest.hexdigest()


def offered(settings: Any, packages: Iterable[str]) -> tuple[str, ...]:
    """Return the names of packages that texts in settings name, however capitals are written, and the user's modules.

    Example:
        >>> offered({"method": "smoothgrad:samples=4"}, ["attributions"])
        ('gradsculpt.attributions.SmoothGrad',)
    """
    tokens = {token.lower() for text in _texts(settings) for token in _TOKEN.findall(text)}
    homes = {package: f"{_PACKAGE}.{package}" for package in packages}
    known = {name.lower(): f"{home}.{name}" for home in homes.values() for name in _offers(home)}
    return (*sorted({known[token] for token in tokens & known.keys()}), *named_in(_texts(settings)))


def _texts(settings: Any) -> Iterator[str]:
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from [str(key), *_texts(value)]
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _texts(value)


@cache
def _closure(names: frozenset[str]) -> frozenset[str]:
    """Return the modules that stand behind names, and all that they use."""
    waiting, found = [module for name in names for module in _homes(name)], set[str]()
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [home for used in _uses(module) for home in _homes(used)]
    return frozenset(found)


def _homes(name: str) -> Iterator[str]:
    """Yield the modules that a dotted name leads to: a module, or the one that defines what the name stands for."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        module, rest = ".".join(parts[:depth]), parts[depth:]
        if _file(module) is None:
            continue
        offered = _offers(module)
        if rest and rest[0] in offered and offered[rest[0]] != name:
            yield from _homes(".".join([offered[rest[0]], *rest[1:]]))
        elif rest or not _is_package(module):
            yield module
        else:
            yield from [module, *(home for target in offered.values() for home in _homes(target))]
        return


@cache
def _file(module: str) -> Path | None:
    if module.partition(".")[0] != _PACKAGE:
        return source(module)
    place = _ROOT.joinpath(*module.split(".")[1:])
    files = [place / "__init__.py", place.with_suffix(".py")]
    return next((file for file in files if file.is_file()), None)


def _is_package(module: str) -> bool:
    file = _file(module)
    return file is not None and file.name == "__init__.py"


@cache
def _tree(module: str) -> ast.Module:
    """Return the code of a module without its docstrings."""
    file = _file(module)
    try:
        tree = ast.parse("" if file is None else file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ArgumentError(f"{file} is no Python that can be read ({first_line(error)}); mend it.") from error
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _code(module: str) -> str:
    return hashlib.blake2b(ast.dump(_tree(module)).encode(), digest_size=8).hexdigest()


@cache
def _offers(module: str) -> dict[str, str]:
    """Return what a package hands on: names that it imports from elsewhere, with where they come from."""
    offered: dict[str, str] = {}
    if _is_package(module):
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.ImportFrom):
                offered |= {alias.asname or alias.name: f"{_base(module, node)}.{alias.name}" for alias in node.names}
    return {name: target for name, target in offered.items() if target.partition(".")[0] == _PACKAGE}


@cache
def _uses(module: str) -> tuple[str, ...]:
    """Return the dotted names of the package that a module imports, or names in a text."""
    if _is_package(module):
        return ()  # what it hands on counts where it is used
    used: list[str] = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            used += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            used += [f"{_base(module, node)}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            used.append(node.value)
    return tuple(name for name in used if name.partition(".")[0] == _PACKAGE)


def _base(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parents = module.split(".")
    parents = parents[: len(parents) - node.level + _is_package(module)]
    return ".".join([*parents, *([node.module] if node.module else [])])
