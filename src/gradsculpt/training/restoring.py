"""Whether what a checkpoint holds can be what its training wrote: the same names, of the same kinds and shapes.

PyTorch and Lightning take over what they find, and fail on it later, anywhere and in words of their own.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from gradsculpt.errors import GradsculptError, RunError, first_line
from gradsculpt.training import table
from gradsculpt.training.settings import Optimization

FORMS: Mapping[str, type] = {
    "state_dict": dict,
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""The parts that a checkpoint has in any case."""

_LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
_ORIGIN = {"settings": dict, "data": dict}
_ENDLESS = 2**63
_PLAIN = (str, int, float, type(None))
_MEND = "Copy it again from where the run was made, or pass another --out to train anew."


def check_form(content: Any, path: Path) -> None:
    """Raise `RunError` unless a checkpoint has its parts, each of its kind; it is not known yet of which network."""
    if not isinstance(content, dict):
        raise damaged(path, "it holds no dictionary")
    for name, kind in FORMS.items():
        if name not in content:
            raise damaged(path, f"it lacks {name}")
        _check_kind(content[name], kind, name, path)
    for name in ("epoch", "global_step"):
        if not 0 <= content[name] < _ENDLESS:
            raise damaged(path, f"{name} is out of range")
    for name, value in content["state_dict"].items():
        _check_kind(value, Tensor, f"state_dict.{name}", path)
    for name, state in content["callbacks"].items():
        _check_kind(state, dict, f"callbacks.{name}", path)
        if (score := state.get("best_model_score")) is not None and not _is_number(score):
            raise damaged(path, "the best score is no number")
    try:
        table.check_rows(content["callbacks"].get("MetricsTable", {}).get("rows", []))
    except ValueError as error:
        raise damaged(path, f"in its table of epochs, {error}") from error
    origin = content.get("origin", {})
    _check_kind(origin, dict, "origin", path)
    for name, kind in _ORIGIN.items():
        if name in origin:
            _check_kind(origin[name], kind, f"origin.{name}", path)
            _check_plain(origin[name], f"origin.{name}", path)
    states = content.get("states", [])
    _check_kind(states, list, "states", path)
    for each in states:
        _check_kind(each, dict, "states", path)


def check_progress(
    content: Mapping[str, Any], path: Path, network: nn.Module, how: Optimization, trainer: Trainer
) -> None:
    """Raise `RunError` unless a checkpoint says how far a training like this one got, and how its optimiser stands."""
    loops = {name: getattr(trainer, name).state_dict() for name in _LOOPS}
    _check_like(content["loops"], loops, "loops", path, whole=False)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    # One number stands for each parameter: what is kept of it has its shape, or is a single number.
    stand_ins = [nn.Parameter(torch.zeros(1)) for _ in trained]
    optimizer, schedule = how.build(stand_ins, 1)
    for each in stand_ins:
        each.grad = torch.zeros(1)
    optimizer.step()
    expected = optimizer.state_dict()
    for name, inner in (("optimizer_states", expected), ("lr_schedulers", schedule.state_dict())):
        if len(content[name]) != 1:
            raise damaged(path, f"{name} holds {len(content[name])} of them")
        _check_like(content[name][0], {key: each for key, each in inner.items() if key != "state"}, name, path)
    states = content["optimizer_states"][0].get("state")
    _check_kind(states, dict, "optimizer_states.state", path)
    if states and set(states) != set(range(len(trained))):
        raise damaged(path, "the state of the optimiser is of other parameters")
    for i, state in states.items():
        _check_kept(state, expected["state"].get(i, {}), trained[i], f"optimizer_states.state.{i}", path)


class Restored(Callback):
    """Knows whether a training is under way, so that what fails before is laid to the checkpoint it is to go on from.

    Args:
        path: The checkpoint; None if the training starts.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that all was taken over."""
        self._path = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise `RunError` where the block fails before the training is under way, but for want of memory."""
        try:
            yield
        except (GradsculptError, torch.OutOfMemoryError):
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if self._path is None:
                raise
            raise damaged(self._path, first_line(error)) from error


def damaged(path: Path, fact: str) -> RunError:
    """Return the error of a checkpoint with which nobody can go on."""
    return RunError(f"{path} is damaged ({fact}), so the training cannot go on. {_MEND}")


def _check_kept(state: Any, expected: Mapping[str, Any], parameter: Tensor, name: str, path: Path) -> None:
    """Raise `RunError` unless an optimiser keeps of a parameter what it would keep of it."""
    _check_like(state, expected, name, path)
    for key, value in expected.items():
        if not isinstance(value, Tensor):
            continue
        shape = parameter.shape if value.ndim else value.shape
        if state[key].shape != shape or not state[key].is_floating_point():
            raise damaged(path, f"{name}.{key} has the shape {list(state[key].shape)}, and not {list(shape)}")


def _check_like(value: Any, expected: Any, name: str, path: Path, *, whole: bool = True) -> None:
    """Raise `RunError` unless nested data have the names and kinds that are expected, with more of them or not.

    Without `whole`, names may be missing, as other versions of Lightning lack some.
    """
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        if not _is_number(value):
            raise damaged(path, f"{name} is no number")
    elif isinstance(expected, dict):
        _check_kind(value, dict, name, path)
        for key, each in expected.items():
            if key in value:
                _check_like(value[key], each, f"{name}.{key}", path, whole=whole)
            elif whole:
                raise damaged(path, f"it lacks {name}.{key}")
    elif isinstance(expected, list | tuple):
        _check_kind(value, list | tuple, name, path)
        if len(value) != len(expected):
            raise damaged(path, f"{name} holds {len(value)}, and not {len(expected)}")
        for i, each in enumerate(expected):
            _check_like(value[i], each, f"{name}[{i}]", path, whole=whole)
    elif isinstance(expected, bool | Tensor):
        _check_kind(value, type(expected), name, path)


def _is_number(value: Any) -> bool:
    """Tell a finite number, which may be in a tensor of its own."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and bool(value.isfinite())
    plain = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _ENDLESS
    return plain or (isinstance(value, float) and math.isfinite(value))


def _check_kind(value: Any, kind: Any, name: str, path: Path) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise damaged(path, f"{name} is of another kind, {type(value).__name__}")


def _check_plain(value: Any, name: str, path: Path) -> None:
    """Raise `RunError` unless a value is made of texts and numbers, so that it can be compared and told."""
    if isinstance(value, dict):
        for key, each in value.items():
            _check_kind(key, str, f"a name in {name}", path)
            _check_plain(each, f"{name}.{key}", path)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_plain(each, name, path)
    elif not isinstance(value, _PLAIN):
        raise damaged(path, f"{name} is of another kind, {type(value).__name__}")
