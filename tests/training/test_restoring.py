"""A checkpoint in which something is of another kind is refused, whatever it is, before anything is taken over."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.training import Optimization, TrainSettings
from gradsculpt.training.fitting import build_trainer
from gradsculpt.training.restoring import FORMS, Restored, check_form, check_progress

PATH = Path("run/checkpoints/last.ckpt")
HOW = {
    "adam": Optimization(),
    "sgd": Optimization("sgd", schedule="step", milestones=(2, 3)),
    "plain sgd": Optimization("sgd", momentum=0.0, schedule="constant"),
    "adamw, rising": Optimization("adamw", warmup=2),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))


def trainer(folder: Path) -> Any:
    return build_trainer(TrainSettings(folder, device="cpu"), enable_checkpointing=False)


def checkpoint(net: nn.Module, how: Optimization, trainer: Any, steps: int = 3) -> dict[str, Any]:
    """Return what a training of so many steps would write, by PyTorch's and Lightning's own words."""
    optimizer, schedule = how.build(net.parameters(), 5)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.ones(1, 2)).square().sum().backward()
        optimizer.step()
        schedule.step()
    loops = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
    return {
        "state_dict": {f"network.{name}": value.clone() for name, value in net.state_dict().items()},
        "epoch": 0,
        "global_step": steps,
        "loops": {name: copy.deepcopy(getattr(trainer, name).state_dict()) for name in loops},
        "callbacks": {},
        "optimizer_states": [copy.deepcopy(optimizer.state_dict())],
        "lr_schedulers": [copy.deepcopy(schedule.state_dict())],
        "origin": {"settings": {"lr": 0.1, "betas": [0.9, 0.99]}, "data": {"classes": ["a"]}},
        "states": [{"delta": None}],
    }


def check(content: Any, net: nn.Module, how: Optimization, trainer: Any) -> None:
    check_form(content, PATH)
    check_progress(content, PATH, net, how, trainer)


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every place in nested data, with what stands there."""
    if path:
        yield path, content
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, each in items:
        yield from places(each, (*path, key))


def put(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed: Any = copy.deepcopy(content)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return dict(changed)


@pytest.mark.parametrize("name", HOW)
@pytest.mark.parametrize("steps", [0, 3])
def test_what_a_training_writes_is_taken(name: str, steps: int, tmp_path: Path) -> None:
    net, of_lightning = network(), trainer(tmp_path)
    check(checkpoint(net, HOW[name], of_lightning, steps), net, HOW[name], of_lightning)


@pytest.mark.parametrize("name", HOW)
def test_whatever_is_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    net, of_lightning = network(), trainer(tmp_path)
    content = checkpoint(net, HOW[name], of_lightning)
    free = (type(None), str)  # of what is none or a name, PyTorch and Lightning take anything, or ask nothing
    tried = 0
    for path, value in places(content):
        if isinstance(value, free) or path[0] in ("callbacks", "states") or (path[0] == "origin" and len(path) > 2):
            continue
        for other in ("x", {"x": 1}, [[1]], object()):
            # Other versions of Lightning lack some loops; where one is needed, `Restored` tells.
            open_ended = value == {} or path[0] in ("origin", "loops") if isinstance(value, dict) else value == [None]
            if isinstance(value, type(other)) and open_ended:
                continue
            with pytest.raises(RunError, match=r"last\.ckpt is damaged \(.*another --out"):
                check(put(content, path, other), net, HOW[name], of_lightning)
            tried += 1
    assert tried > 200


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_numbers_that_are_none_and_tensors_of_another_shape_are_refused(name: str, tmp_path: Path) -> None:
    net, of_lightning = network(), trainer(tmp_path)
    content = checkpoint(net, HOW[name], of_lightning)
    for path, value in places({key: content[key] for key in ("optimizer_states", "lr_schedulers", "loops")}):
        others: list[Any] = []
        if isinstance(value, Tensor):
            others = [torch.zeros(7), torch.zeros(value.shape, dtype=torch.int8)]
        elif isinstance(value, int | float) and not isinstance(value, bool) and path[-2] != "params":
            others = [float("nan"), 10**400, None, True]
        for other in others:
            with pytest.raises(RunError, match="damaged"):
                check(put(content, path, other), net, HOW[name], of_lightning)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    net, of_lightning = network(), trainer(tmp_path)
    content = checkpoint(net, HOW["adam"], of_lightning)
    for name in FORMS:
        with pytest.raises(RunError, match=f"it lacks {name}"):
            check_form({key: value for key, value in content.items() if key != name}, PATH)
    state = content["optimizer_states"][0]["state"]
    for lacking in ("step", "exp_avg", "exp_avg_sq"):
        changed = put(content, ("optimizer_states", 0, "state", 0), {k: v for k, v in state[0].items() if k != lacking})
        with pytest.raises(RunError, match=lacking):
            check(changed, net, HOW["adam"], of_lightning)
    with pytest.raises(RunError, match="other parameters"):
        check(put(content, ("optimizer_states", 0, "state"), {0: state[0]}), net, HOW["adam"], of_lightning)


def test_what_fails_before_the_training_is_under_way_is_laid_to_the_checkpoint() -> None:
    restored = Restored(PATH)
    with pytest.raises(RunError, match=r"damaged \(KeyError: 'x'\)"), restored.watched():
        raise KeyError("x")
    with pytest.raises(ArgumentError, match="ours"), restored.watched():
        raise ArgumentError("ours")
    with pytest.raises(torch.OutOfMemoryError), restored.watched():
        raise torch.OutOfMemoryError("full")
    restored.on_train_start(None, None)  # type: ignore[arg-type]
    with pytest.raises(KeyError), restored.watched():
        raise KeyError("of the user's own code")
    with pytest.raises(KeyError), Restored(None).watched():
        raise KeyError("of a training that starts")
