"""No training step asks the device for a number, copies to it or reads a random state."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.data import Augment
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import (
    AdversarialTraining,
    GradientPenalty,
    HessianNorm,
    InputGradientAlignment,
    LocalGradientAlignment,
    MaxEntropy,
    Moment,
    Objective,
    PixelBounds,
    Pixels,
    warmup,
)
from gradsculpt.objectives.alignment import Drawn
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization, Penalty, SquaredL2
from gradsculpt.perturbations import Free, Iterative, Momentum, Noise, OneStep, Perturbation
from gradsculpt.training import ClassifierModule, Optimization, recordable
from tests.test_recipes import RECIPES
from tests.training import small
from tests.training.tape import NeverWaits, WaitError
from tests.training.test_graphs import with_dropout

SPACE = InputSpace((0.5,) * 3, (0.25,) * 3)
SIZE = torch.full((1, 3, 1, 1), 0.05)
PENALTIES: tuple[Penalty, ...] = (
    L1(0.01),
    L1(SIZE),
    SquaredL2(0.1),
    ElasticNet(0.01, SIZE),
    GroupL21(0.1, patch=4),
    Harmonization(1.0, positive=True),
    2 * L1(0.01),
)
SOLVERS: tuple[Perturbation, ...] = (
    OneStep(),
    Iterative(3),
    Iterative(3, relative=True, keep="last", start="zero"),
    Momentum(2),
    Free(2),
)
NOISES: tuple[Drawn, ...] = ("uniform", "gaussian", "gradient", "gradient_sign")
OBJECTIVES: list[Objective] = [
    *(AdversarialTraining(penalty, solver) for penalty in PENALTIES for solver in SOLVERS),
    *(GradientPenalty(penalty) for penalty in PENALTIES),
    *(LocalGradientAlignment(l2=0.1, cosine=1.0, eps=Pixels(4), noise=noise) for noise in NOISES),
    LocalGradientAlignment(l2=0.1, cosine=1.0, eps=0.1, detach_source=False, squared=False, share=0.5, every=2),
    AdversarialTraining(Harmonization(1.0)),
    AdversarialTraining(perturbation=Noise(SIZE)),
    AdversarialTraining(L1(0.01), bounds=PixelBounds()),
    0.5 * AdversarialTraining(L1(0.01)) + 0.1 * HessianNorm(0.1) + MaxEntropy(0.1),
    warmup(4) * HessianNorm(0.1),
    InputGradientAlignment(0.5, Pixels(4)),
    InputGradientAlignment(0.5, 0.1, cross_entropy="clean"),
]


@contextmanager
def never() -> Iterator[None]:
    """Fail at what would wait, and at what reads a random state."""

    def refused(*_: Any) -> None:
        raise WaitError("random state")

    with pytest.MonkeyPatch.context() as patched, NeverWaits():
        for place, name in ((torch, "get_rng_state"), (torch.random, "get_rng_state"), (torch.cuda, "get_rng_state")):
            patched.setattr(place, name, refused)
        yield


class _Trainer:
    num_training_batches, current_epoch, accumulate_grad_batches, precision_plugin = 4, 0, 1, None
    world_size, global_rank = 1, 0


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassifierModule, "trainer", property(lambda self: _Trainer()))
    monkeypatch.setattr(ClassifierModule, "current_epoch", property(lambda self: 1))


def stepped(objective: Objective, network: nn.Module | None = None, on_nan: Any = "stop") -> None:
    """Take two steps as `train` does where a device decides alone: the second carries what the first has left."""
    network = with_dropout() if network is None else network
    module: Any = ClassifierModule(network, objective, SPACE, Augment(), Optimization(), epochs=2, on_nan=on_nan)
    module._steps.place(torch.device("cpu"), waits=False)
    module._steps._asked = math.inf
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, fused=True)
    module._steps.guard.masks(optimizer)

    def step(number: int) -> None:
        optimizer.zero_grad()
        module.training_step((x, y, attention), number).backward()
        module.on_after_backward()
        module.on_before_optimizer_step(optimizer)
        optimizer.step()

    x, y = torch.randn(4, 3, small.SIDE, small.SIDE), torch.tensor([0, 1, 2, 0])
    attention = torch.rand(4, 1, small.SIDE, small.SIDE)
    step(0)  # what is brought to the device once, is by now
    for number in (1, 2):
        with never():
            step(number)
    assert not module._steps.guard.is_broken


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: str(each)[:90])
def test_no_step_of_an_objective_waits(objective: Objective, on_nan: str, alone: None) -> None:
    stepped(objective, on_nan=on_nan)


@pytest.mark.parametrize("name", [name for name in RECIPES if not RECIPES[name][0].requirements.teacher])
def test_no_step_of_a_recipe_waits(name: str, alone: None) -> None:
    stepped(RECIPES[name][0])


def test_a_student_does_not_wait_for_its_teacher(alone: None) -> None:
    objective = RECIPES["atex"][0].with_teacher(small.network().eval())
    module: Any = ClassifierModule(small.network(), objective, SPACE, Augment(), Optimization(), epochs=2)
    batch = (
        torch.randn(4, 3, small.SIDE, small.SIDE),
        torch.tensor([0, 1, 2, 0]),
        torch.rand(4, 3, small.SIDE, small.SIDE),
    )
    module.training_step(batch, 0).backward()
    with never():
        module.training_step(batch, 1).backward()


class _Asks(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > -1e9 else x  # type: ignore[no-untyped-call]


class _Draws(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        torch.get_rng_state()
        return super().forward(x)  # type: ignore[no-untyped-call]


class _Tells(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.tensor([0.0]))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", [_Asks, _Draws, _Tells])
def test_a_step_that_waits_is_found(kind: type[nn.Sequential], alone: None) -> None:
    with pytest.raises(WaitError):
        stepped(OBJECTIVES[0], kind(*small.network()))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: str(each)[:90])
def test_moments_of_one_phase_have_one_objective(objective: Objective) -> None:
    seen: dict[Any, str] = {}
    for step in range(60):
        moment = Moment(step / 8, step, SPACE)
        phase = objective.phase(moment)
        if phase is not None:
            assert seen.setdefault(phase, repr(objective.at(moment))) == repr(objective.at(moment))
    assert seen


def test_whether_a_device_records_is_one_question() -> None:
    assert [recordable.records(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [False, True, False]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: str(each)[:90])
def test_neither_does_an_objective_by_itself(objective: Objective) -> None:
    network, x, y = with_dropout(), torch.randn(4, 3, small.SIDE, small.SIDE), torch.tensor([0, 1, 2, 0])
    attention, resolved = torch.rand(4, 1, small.SIDE, small.SIDE), objective.at(Moment(1.0, 2, SPACE))
    with NeverWaits():
        first = resolved(network, x, y, attention, state=objective.initial_state())
        first.loss.backward()
        resolved(network, x, y, attention, state=first.state).loss.backward()
