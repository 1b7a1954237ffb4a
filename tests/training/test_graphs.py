import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    GradientPenalty,
    HessianNorm,
    LocalGradientAlignment,
    Objective,
    warmup,
)
from gradsculpt.penalties import L1, ElasticNet
from gradsculpt.perturbations import Free
from gradsculpt.training import Optimization, graphs, module, recordable
from tests.test_recipes import RECIPES
from tests.training import small, tape

ALIGNMENT = LocalGradientAlignment(l2=0.01, cosine=1.0, eps=0.1)


def noted(monkeypatch: pytest.MonkeyPatch) -> list[graphs.Graphs]:
    """Return a list to which whatever takes recorded steps will be added when it is made."""
    made: list[graphs.Graphs] = []

    class Noted(graphs.Graphs):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(module, "Graphs", Noted)
    return made


@pytest.fixture
def taped(monkeypatch: pytest.MonkeyPatch) -> list[graphs.Graphs]:
    """Have steps recorded on a tape, as on an accelerator they are as a graph; return what takes them."""
    monkeypatch.setattr(recordable, "ON", ("cpu", "cuda"))
    monkeypatch.setattr(module, "recorder", tape.recorder)
    return noted(monkeypatch)


def unnoisy() -> Any:
    """Return a network without a bias before batch normalisation, whose gradient is 0, but for rounding errors."""
    network: Any = small.network()
    network[0].bias = None
    return network


def both(
    made: list[graphs.Graphs],
    out: Path,
    objective: Objective,
    make: Callable[[], nn.Module] = unnoisy,
    *,
    wanted: str = "auto",
    rtol: float = 1e-4,
    atol: float = 1e-6,
    **settings: Any,
) -> tuple[int, list[str]]:
    """Train step by step and from recordings, compare, and return the kinds of steps recorded, and what was told."""
    told: list[str] = []
    networks, logged = [make(), make()], []
    for network, how in zip(networks, ("off", wanted), strict=True):
        logged.append(
            small.train(out / how, objective, network, graphs=how, tell=told.append, **{"epochs": 3, **settings})
        )
    assert logged[0].keys() == logged[1].keys()
    for name, value in logged[0].items():
        assert logged[1][name] == pytest.approx(value, rel=min(rtol, 2e-3), abs=min(atol, 1e-5)), name
    torch.testing.assert_close(small.weights(networks[1]), small.weights(networks[0]), rtol=rtol, atol=atol)
    for a, b in zip(networks[0].buffers(), networks[1].buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
    return (made[0].recorded if made else 0), told


def with_dropout() -> nn.Module:
    return nn.Sequential(*unnoisy()[:-1], nn.Dropout(0.3), unnoisy()[-1])


@pytest.mark.parametrize("name", [name for name in RECIPES if not RECIPES[name][0].requirements.teacher])
def test_every_recipe_is_the_same_from_recordings(name: str, taped: list[graphs.Graphs], tmp_path: Path) -> None:
    recorded, told = both(taped, tmp_path, RECIPES[name][0], lr=0.01)
    assert recorded >= 1
    assert told == []


OTHERS: dict[str, tuple[Objective, dict[str, Any], int]] = {
    "momentum and weight decay": (ALIGNMENT, {"optimization": Optimization("sgd", 0.05)}, 1),
    "adam": (HessianNorm(0.01), {"optimization": Optimization("adam", 0.01)}, 1),
    "adamw, warm-up, cosine": (CrossEntropy(), {"optimization": Optimization("adamw", 0.01, warmup=1), "epochs": 4}, 1),
    "step schedule": (
        CrossEntropy(),
        {"optimization": Optimization("sgd", 0.1, schedule="step", milestones=(1, 2))},
        1,
    ),
    "clipping": (HessianNorm(1.0), {"clip": 0.01}, 1),
    "every second step": (GradientPenalty(L1(0.1), every=2), {"epochs": 4}, 2),
    "share": (GradientPenalty(L1(0.1), share=0.5), {}, 1),
    "bf16": (AdversarialTraining(ElasticNet(0.01, 0.1)), {"precision": "bf16-mixed"}, 1),
    "a sum": (AdversarialTraining(L1(0.01)) + 0.5 * ALIGNMENT, {}, 1),
    "free": (AdversarialTraining(ElasticNet(0.01, 0.1), Free(2)), {}, 1),
    "a last batch that is not full": (AdversarialTraining(L1(0.01), Free(2)), {"batch_size": 5, "epochs": 6}, 2),
}


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_belongs_to_a_step_is_recorded(name: str, taped: list[graphs.Graphs], tmp_path: Path) -> None:
    objective, settings, kinds = OTHERS[name]
    recorded, told = both(taped, tmp_path, objective, **settings)
    assert recorded == kinds
    assert told == []


@pytest.mark.parametrize("objective", [CrossEntropy(), AdversarialTraining(L1(0.05)), ALIGNMENT], ids=str)
def test_dropout_draws_what_it_draws_step_by_step(
    objective: Objective, taped: list[graphs.Graphs], tmp_path: Path
) -> None:
    assert both(taped, tmp_path, objective, with_dropout) == (1, [])


def test_a_weight_on_its_way_is_taken_step_by_step_and_told_once(taped: list[graphs.Graphs], tmp_path: Path) -> None:
    recorded, told = both(taped, tmp_path, warmup(2) * GradientPenalty(L1(0.1)), epochs=4)
    assert recorded == 1
    (line,) = told
    assert "weight" in line


class _Asks(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > -1e9 else x  # type: ignore[no-untyped-call]


class _Counts(nn.Sequential):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 + self.calls % 5)  # type: ignore[no-untyped-call]


class _Python(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + random.random())  # type: ignore[no-untyped-call]


def of_kind(kind: type[nn.Sequential]) -> Callable[[], nn.Module]:
    return lambda: kind(*unnoisy())


def hooked() -> nn.Module:
    network = unnoisy()
    network[0].register_forward_hook(lambda layer, given, made: made)
    return network


def test_unknown_code_is_recorded_only_if_it_is_trusted(taped: list[graphs.Graphs], tmp_path: Path) -> None:
    assert both(taped, tmp_path, CrossEntropy(), of_kind(_Asks))[1] == [
        "steps are taken one by one, and not as CUDA graphs: _Asks is code that is not known; --graphs on trusts it"
    ]
    assert "hooks" in both(taped, tmp_path, CrossEntropy(), hooked)[1][0]
    assert taped == []
    assert both(taped, tmp_path, CrossEntropy(), hooked, wanted="on") == (1, [])


def test_what_asks_the_device_cannot_be_recorded(taped: list[graphs.Graphs], tmp_path: Path) -> None:
    recorded, (line,) = both(taped, tmp_path, CrossEntropy(), of_kind(_Asks), wanted="on")
    assert recorded == 0
    assert "cannot be recorded" in line


def test_what_changes_from_step_to_step_is_noticed(taped: list[graphs.Graphs], tmp_path: Path) -> None:
    told: list[str] = []
    small.train(tmp_path, CrossEntropy(), of_kind(_Counts)(), graphs="on", tell=told.append, epochs=3)
    assert taped[0].recorded == 0
    assert "differs" in told[0]


def test_what_cannot_be_one_graph_is_said(taped: list[graphs.Graphs], tmp_path: Path) -> None:
    told: list[str] = []
    small.train(tmp_path, CrossEntropy(), small.network(), graphs="on", tell=told.append, accumulate=2)
    assert taped == []
    assert "--accumulate 2" in told[0]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"world_size": 2}, "several processes"),
        ({"precision_plugin": SimpleNamespace(scaler=1, precision="16-mixed")}, "scale"),
    ],
)
def test_what_no_device_here_has_is_said_too(changed: dict[str, Any], word: str, taped: list[graphs.Graphs]) -> None:
    usual: dict[str, Any] = {
        "world_size": 1,
        "precision_plugin": SimpleNamespace(precision="32"),
        "accumulate_grad_batches": 1,
    }
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")), **usual | changed)
    assert word in str(recordable.obstacle(trainer, small.network(), CrossEntropy(), trusting=True))


def test_without_an_accelerator_steps_are_taken_one_by_one_in_silence(tmp_path: Path) -> None:
    told: list[str] = []
    small.train(tmp_path, CrossEntropy(), small.network(), graphs="auto", tell=told.append)
    assert told == []
    small.train(tmp_path, CrossEntropy(), small.network(), graphs="on", tell=told.append)
    assert "on cpu there are none" in told[0]


def test_a_resumed_training_repeats_the_uninterrupted_one(taped: list[graphs.Graphs], tmp_path: Path) -> None:
    objective = AdversarialTraining(ElasticNet(0.01, 0.1), Free(2)) + 0.1 * ALIGNMENT
    settings: dict[str, Any] = {"graphs": "auto", "optimization": Optimization("adam", 0.01, schedule="constant")}
    whole, part = with_dropout(), with_dropout()
    small.train(tmp_path / "whole", objective, whole, epochs=4, **settings)
    small.train(tmp_path / "part", objective, part, epochs=2, keep=tmp_path / "half.ckpt", **settings)
    rest = with_dropout()
    small.train(tmp_path / "part", objective, rest, epochs=4, resume=tmp_path / "half.ckpt", **settings)
    assert [each.recorded for each in taped] == [1, 1, 1]
    torch.testing.assert_close(small.weights(rest), small.weights(whole), rtol=1e-5, atol=1e-7)


def test_a_training_goes_on_with_and_without_recordings(taped: list[graphs.Graphs], tmp_path: Path) -> None:
    adam = Optimization("adam", 0.01, schedule="constant")
    results = []
    for first, then in (("off", "off"), ("off", "auto"), ("auto", "off")):
        keep, network = tmp_path / f"{first}-{then}.ckpt", unnoisy()
        small.train(tmp_path, ALIGNMENT, unnoisy(), epochs=2, keep=keep, graphs=first, optimization=adam)
        small.train(tmp_path, ALIGNMENT, network, epochs=4, resume=keep, graphs=then, optimization=adam)
        results.append(small.weights(network))
    for each in results[1:]:
        torch.testing.assert_close(each, results[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_recorded_is_computed_for_the_device_alone_and_tried_before(
    compiled: bool, taped: list[graphs.Graphs], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entered: list[tuple[int, bool]] = []

    @contextmanager
    def noted(*, modes: bool) -> Iterator[None]:
        entered.append((taped[0].recorded, modes))
        yield

    monkeypatch.setattr(graphs, "quick_step", noted)
    monkeypatch.setattr(graphs, "_is_compiled", lambda network: compiled)
    small.train(tmp_path, CrossEntropy(), small.network(), graphs="on", epochs=3)
    assert taped[0].recorded == 1
    assert entered == [(0, not compiled)] * 2  # the last step before, and the recording


def test_compiled_networks_are_known() -> None:
    whole, part = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))
    assert not graphs._is_compiled(part)
    whole.compile(backend="eager")
    assert graphs._is_compiled(whole)
    holder = nn.Module()
    vars(holder)["_modules"]["part"] = torch.compile(part, backend="eager")
    assert graphs._is_compiled(holder)
