"""Train PyTorch image classifiers whose gradients are worth reading, and prove it.

    import gradsculpt as gs

    objective = gs.objectives.AdversarialTraining(gs.penalties.ElasticNet(l1=0.01, l2=0.05))
    loss = objective(model, x, y).loss

Subpackages and the names below are imported when they are first used.
"""

import sys

if sys.argv[:1] == ["-m"] and any(word in ("gradsculpt", "-mgradsculpt") for word in sys.orig_argv):
    # `python -m gradsculpt` looks into the current folder first, which may hold a stranger's files: before anything
    # else is imported, that folder goes to the end if the package itself lies there, and away if not.
    _here = sys.path.pop(0) if sys.path and not sys.flags.safe_path else None
    sys.path += [_here] if _here is not None and __file__.startswith(f"{_here}/gradsculpt/") else []

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradsculpt import (
        attacks,
        attributions,
        data,
        errors,
        evaluation,
        metrics,
        models,
        objectives,
        penalties,
        perturbations,
        sharing,
        training,
        visualize,
    )
    from gradsculpt.evaluation import Scorecard, evaluate
    from gradsculpt.inputs import InputSpace
    from gradsculpt.models import Classifier, load
    from gradsculpt.process import ProcessSettings, prepare_process
    from gradsculpt.sharing import push

_HOMES = {
    "Classifier": "gradsculpt.models",
    "InputSpace": "gradsculpt.inputs",
    "ProcessSettings": "gradsculpt.process",
    "Scorecard": "gradsculpt.evaluation",
    "evaluate": "gradsculpt.evaluation",
    "load": "gradsculpt.models",
    "prepare_process": "gradsculpt.process",
    "push": "gradsculpt.sharing",
}

__all__ = [
    "Classifier",
    "InputSpace",
    "ProcessSettings",
    "Scorecard",
    "attacks",
    "attributions",
    "data",
    "errors",
    "evaluate",
    "evaluation",
    "load",
    "metrics",
    "models",
    "objectives",
    "penalties",
    "perturbations",
    "prepare_process",
    "push",
    "sharing",
    "training",
    "visualize",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'gradsculpt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name) if name in _HOMES else import_module(f"gradsculpt.{name}")


def __dir__() -> list[str]:
    return __all__
