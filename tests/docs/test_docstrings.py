"""Every public name says the shape and units of what it takes and returns, what it raises, and where a method is from.

What a base class says counts for those derived from it. What is asked is read from the code, so nobody has to list it:
shape and units of whatever takes or returns tensors; errors of whatever raises one of ours, or checks its arguments;
the source of whatever belongs to a family of methods.
"""

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import gradsculpt as gs
from gradsculpt import errors
from gradsculpt.evaluation import SCORE_GROUPS
from gradsculpt.metrics import METRICS, Metric

PACKAGES: tuple[str, ...] = (
    "attacks",
    "attributions",
    "data",
    "evaluation",
    "metrics",
    "models",
    "objectives",
    "penalties",
)
PACKAGES += ("perturbations", "sharing", "training", "visualize")
METHODS: set[Any] = {
    *gs.attacks.ATTACKS,
    *gs.attributions.ATTRIBUTIONS,
    *gs.attributions.SOLVERS,
    *gs.objectives.OBJECTIVES,
    *gs.penalties.PENALTIES,
    *gs.perturbations.PERTURBATIONS,
    *SCORE_GROUPS,
    *METRICS,
}
NAMED = {"Tensor", "Size", "Bounds", "LossGradient", "InnerLoss"}
"""What a signature has where tensors go in or come out."""
ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value)}
SAYS = {
    "shape": r"\[[NCHSM3]\b|\[levels|[Ss]hape",
    "units": r"[Uu]nits?\b|[Pp]ixel|\blevels\b|in \[0, 1\]|8 bits|logits|[Nn]ormalised|seconds|degrees|per cent",
    "errors": r"[Rr]aises?\b|Error\b|errors: As of|errors are those of",
    "source": r"^Source: \S",
}


def public() -> Iterator[tuple[str, Any]]:
    """Yield what is public, but for constants and errors, by its path."""
    for name in (name for name in gs.__all__ if name not in (*PACKAGES, "errors")):
        yield f"gs.{name}", getattr(gs, name)
    for package in PACKAGES:
        home = getattr(gs, package)
        for name in home.__all__:
            yield f"gs.{package}.{name}", getattr(home, name)


KINDS = (type, types.FunctionType, Metric)
MEMBERS = {path: value for path, value in public() if isinstance(value, KINDS)}


def said(value: Any) -> str:
    """Return the docstrings of a name: of a class with its methods, and of the classes of ours that it derives from."""
    if not inspect.isclass(value):
        return inspect.cleandoc(value.__doc__ or "")
    texts = [inspect.cleandoc(cls.__doc__ or "") for cls in ours(value)]
    texts += [inspect.cleandoc(method.__doc__ or "") for cls in ours(value) for method in methods(cls)]
    return "\n".join(texts)


def ours(cls: type) -> list[type]:
    """Return a class and those of the library that it derives from."""
    return [each for each in cls.__mro__ if each.__module__.startswith("gradsculpt")]


def methods(cls: type) -> list[Any]:
    """Return what a class can be asked: its public functions and properties, and its call."""
    values = [value for name, value in vars(cls).items() if name[0] != "_" or name == "__call__"]
    values = [value.fget if isinstance(value, property) else getattr(value, "__func__", value) for value in values]
    return [value for value in values if inspect.isfunction(value)]


def asked(value: Any) -> set[str]:
    """Return what the docstrings of a name have to say."""
    functions = [method for cls in ours(value) for method in methods(cls)] if inspect.isclass(value) else [value]
    functions = [getattr(function, "__wrapped__", function) for function in functions]
    hints = " ".join(str(inspect.signature(function)) for function in functions)
    needed = {"shape", "units"} if NAMED & set(re.findall(r"\w+", hints)) else set()
    if raising(value):
        needed.add("errors")
    return needed | ({"source"} if value in METHODS else set())


def raising(value: Any) -> bool:
    """Tell whether the code of a name raises an error of ours, or checks what it is given."""
    code = getattr(value, "__wrapped__", value)
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(code)))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            if ast.unparse(node.exc.func).rpartition(".")[2] in ERRORS:
                return True
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "checks":
            return True
    return False


@pytest.mark.parametrize("path", MEMBERS)
def test_says_what_has_to_be_known(path: str) -> None:
    value = MEMBERS[path]
    text = said(value)
    assert len(text.partition("\n")[0]) > 10
    missing = [what for what in sorted(asked(value)) if not re.search(SAYS[what], text, re.MULTILINE)]
    assert not missing, f"{path} does not say its {' and '.join(missing)}"


def silent(maps: torch.Tensor, k: float) -> torch.Tensor:
    """Return what nobody says."""
    if k < 0:
        raise errors.ArgumentError(str(k))
    return maps


def test_the_check_sees_what_is_missing() -> None:
    assert asked(silent) == {"shape", "units", "errors"}
    assert [what for what in SAYS if re.search(SAYS[what], said(silent), re.MULTILINE)] == []
    assert asked(gs.metrics.gini) >= {"shape", "units", "source"}
    assert asked(gs.penalties.L1) == {"shape", "units", "errors", "source"}
