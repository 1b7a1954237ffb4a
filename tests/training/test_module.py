"""The Lightning module and the optimiser settings."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from gradsculpt.data import Augment, Batch, ImageSet, loader
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Retraining
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import AdversarialTraining, CrossEntropy, Objective, Passes, Regulariser, State
from gradsculpt.penalties import L1
from gradsculpt.perturbations import Free
from gradsculpt.training import ClassifierModule, Optimization, TrainSettings
from tests.training.small import SIDE, images, network, train, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*no `val_dataloader`.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]

FREE = AdversarialTraining(L1(0.1), Free(2))


def _module(objective: Objective | None = None, augment: Augment | None = None, seed: int = 0) -> ClassifierModule:
    torch.manual_seed(0)
    return ClassifierModule(
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)),
        objective or CrossEntropy(),
        InputSpace((0.5,) * 3, (0.25,) * 3),
        augment or Augment(flip=False, crop=0.0),
        Optimization(),
        epochs=3,
        seed=seed,
    )


# The optimiser and its schedule.


def _rates(optimization: Optimization, epochs: int) -> list[float]:
    optimizer, schedule = optimization.build([nn.Parameter(torch.zeros(1))], epochs)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(
    ("optimization", "kind", "settings"),
    [
        (Optimization("sgd", lr=0.2, weight_decay=0.3, momentum=0.4), "SGD", {"momentum": 0.4}),
        (Optimization("adam", lr=0.2, weight_decay=0.3, betas=(0.5, 0.6)), "Adam", {"betas": (0.5, 0.6)}),
        (Optimization("adamw", lr=0.2, weight_decay=0.3, betas=(0.5, 0.6)), "AdamW", {"betas": (0.5, 0.6)}),
    ],
    ids=["sgd", "adam", "adamw"],
)
def test_every_setting_reaches_the_optimiser(optimization: Optimization, kind: str, settings: dict[str, Any]) -> None:
    optimizer, _ = optimization.build([nn.Parameter(torch.zeros(1))], 5)
    assert type(optimizer).__name__ == kind
    group = optimizer.param_groups[0]
    for name, value in ({"lr": 0.2, "weight_decay": 0.3} | settings).items():
        assert group[name] == value, name


def test_schedules_follow_their_formula() -> None:
    cosine = _rates(Optimization(lr=1.0, schedule="cosine"), 10)
    assert cosine == pytest.approx([(1 + math.cos(math.pi * t / 10)) / 2 for t in range(10)])
    assert _rates(Optimization(lr=1.0, schedule="constant"), 4) == [1.0] * 4
    stepped = _rates(Optimization(lr=1.0, schedule="step", milestones=(2, 4), gamma=0.5), 6)
    assert stepped == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])


def test_warmup_rises_to_the_rate_and_then_follows_the_schedule() -> None:
    rates = _rates(Optimization(lr=1.0, schedule="cosine", warmup=3), 9)
    assert rates[:4] == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert rates[4:] == pytest.approx([(1 + math.cos(math.pi * t / 6)) / 2 for t in range(1, 6)])


def test_bad_rates_are_refused() -> None:
    with pytest.raises(ArgumentError, match="lr=0"):
        Optimization(lr=0.0)


@pytest.mark.parametrize("warmup", [0, 3])
def test_a_cosine_schedule_can_be_resumed_with_another_length(warmup: int) -> None:
    optimization = Optimization(lr=1.0, warmup=warmup)
    for done in (2, 3, 5):
        optimizer, schedule = optimization.build([nn.Parameter(torch.zeros(1))], 5)
        for _ in range(done):
            optimizer.step()
            schedule.step()
        kept = optimizer.state_dict(), schedule.state_dict()
        optimizer, schedule = optimization.build([nn.Parameter(torch.zeros(1))], 11)
        optimizer.load_state_dict(kept[0])
        schedule.load_state_dict(kept[1])
        rates = []
        for _ in range(11 - done):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert rates == pytest.approx(_rates(optimization, 11)[done:]), done


# Batches.


class _Trainer:
    num_training_batches, global_rank, current_epoch, world_size = 10, 0, 0, 1

    def __init__(self, training: bool) -> None:
        self.training = training


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Modules without a trainer of Lightning's, in the only process."""
    monkeypatch.setattr(ClassifierModule, "trainer", property(lambda self: self._fake))
    monkeypatch.setattr(ClassifierModule, "global_rank", property(lambda self: 0))
    monkeypatch.setattr(ClassifierModule, "current_epoch", property(lambda self: 0))
    return monkeypatch


def _prepared(module: Any, batch: Batch, *, training: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    module._fake = _Trainer(training)
    prepared: tuple[Tensor, Tensor, Tensor | None] = module.on_after_batch_transfer(batch, 0)
    return prepared


def _batch() -> Batch:
    pixels = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Batch(pixels, torch.arange(6) % 4, pixels[:, :1].clone())


@pytest.mark.usefixtures("alone")
def test_batches_are_normalised_and_only_training_batches_are_augmented() -> None:
    batch, module = _batch(), _module(augment=Augment(flip=True, crop=0.25))
    assert batch.attention is not None
    x, y, kept = _prepared(module, batch, training=False)
    expected = (batch.images.float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(kept, batch.attention.float() / 255)
    assert torch.equal(y, batch.labels)
    assert x.is_contiguous(memory_format=torch.channels_last)
    changed, _, followed = _prepared(module, batch, training=True)
    assert not torch.equal(changed, expected)
    # The first channel was also handed in as the attention, so both must still be the same picture.
    torch.testing.assert_close(changed[:, :1] * 0.25 + 0.5, followed)
    again, _, _ = _prepared(module, batch, training=True)
    assert torch.equal(changed, again)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("replays", [1, 3])
def test_a_batch_is_augmented_alike_in_all_its_replays_and_anew_for_the_next(replays: int) -> None:
    module: Any = _module(AdversarialTraining(L1(0.1), Free(replays)), Augment(flip=True, crop=0.25))
    seen = []
    for step in range(2 * replays):
        module._batches = step
        seen.append(_prepared(module, _batch(), training=True)[0])
    first, second = seen[:replays], seen[replays:]
    assert all(torch.equal(x, first[0]) for x in first)
    assert all(torch.equal(x, second[0]) for x in second)
    assert not torch.equal(first[0], second[0])


# Steps and what is logged of them.


class _SaysOnlyTheFirst(nn.Module):
    """Says that every image is of the first class, whatever it has learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([2.0, 1.0, 0.0]) + 0 * self.weight * x.flatten(1)[:, :3]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("batch_size", "right"), [(7, 9), (4, 9), (64, 9), (7, 0), (7, 22)])
def test_the_accuracy_is_that_of_all_images_whatever_their_batches(batch_size: int, right: int) -> None:
    labels = np.array([0] * right + [1] * (22 - right))
    pixels = np.zeros((22, SIDE, SIDE, 3), dtype=np.uint8)
    held = ImageSet(pixels, labels, ("a", "b", "c"), tuple(map(str, range(22))))
    module = ClassifierModule(
        _SaysOnlyTheFirst(), CrossEntropy(), InputSpace((0.5,) * 3, (0.25,) * 3), Augment(), Optimization(), epochs=1
    )
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, inference_mode=False
    )
    (logged,) = trainer.validate(module, loader(held, batch_size, shuffle=False), verbose=False)
    assert logged["val_accuracy"] == float(torch.tensor(right) / 22)
    assert set(logged) == {"val_accuracy", "val_cross_entropy", "val_gini"}


# What is carried from step to step.


class _Counts(CrossEntropy):
    """Carries the number of steps."""

    def initial_state(self) -> State:
        return {"steps": torch.tensor(0)}

    def logits(self, passes: Passes, state: State) -> tuple[Tensor, State]:
        return super().logits(passes, state)[0], {"steps": state["steps"] + 1}

    name = "counted"

    def scaled(self, factor: float) -> "_Counts":
        return self


def test_two_trainings_with_one_objective_give_equal_weights(tmp_path: Path) -> None:
    first, second, shorter = network(), network(), network()
    before = weights(first)
    train(tmp_path, FREE, first)
    train(tmp_path, FREE, second)
    assert torch.equal(weights(first), weights(second))
    assert (weights(first) - before).norm() > 0.01
    train(tmp_path, AdversarialTraining(L1(0.1)), shorter)
    assert not torch.equal(weights(first), weights(shorter))


def test_retraining_twice_with_one_seed_gives_equal_weights(tmp_path: Path) -> None:
    settings = TrainSettings(tmp_path, objective=FREE, model="lenet", epochs=1, batch_size=4, device="cpu")
    again = Retraining(settings)
    first, second = (again(replace(images(), attention=None), seed=3).state_dict() for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("objective", [FREE, 0.5 * FREE + CrossEntropy(), _Counts()], ids=["free", "sum", "users"])
def test_a_resumed_training_goes_on_with_what_was_carried(objective: Objective, tmp_path: Path) -> None:
    straight, parts, kept = network(), network(), tmp_path / "one.ckpt"
    train(tmp_path, objective, straight, epochs=2)
    train(tmp_path, objective, parts, epochs=1, keep=kept)
    assert torch.load(kept, weights_only=True)["states"][0].keys() == objective.initial_state().keys()
    train(tmp_path, objective, parts, epochs=2, resume=kept, keep=tmp_path / "two.ckpt")
    assert torch.equal(weights(parts), weights(straight))
    if isinstance(objective, _Counts):
        assert torch.load(tmp_path / "two.ckpt", weights_only=True)["states"] == [{"steps": torch.tensor(8)}]


def _taken_up(objective: Objective, checkpoint: dict[str, Any]) -> State:
    module = _module(objective)
    module.on_load_checkpoint(checkpoint)
    return module._state


def _delta(value: float) -> Tensor:
    return torch.full((2, 3, 8, 8), value)


def test_each_process_takes_up_its_own_state_and_one_that_had_none_starts_anew(alone: pytest.MonkeyPatch) -> None:
    checkpoint = {"states": [{"delta": _delta(0.0)}, {"delta": _delta(0.5)}]}
    for rank, wanted in ((0, _delta(0.0)), (1, _delta(0.5)), (2, torch.empty(0))):
        alone.setattr(ClassifierModule, "global_rank", rank)
        assert torch.equal(_taken_up(FREE, checkpoint)["delta"], wanted)
        assert _taken_up(CrossEntropy(), checkpoint) == {}
        assert torch.equal(_taken_up(FREE, {"states": [{}, {}]})["delta"], torch.empty(0))


def test_a_checkpoint_from_before_still_resumes(alone: pytest.MonkeyPatch) -> None:
    for checkpoint in ({"carried": [_delta(0.25)]}, {"carried": [None, _delta(0.25)]}):
        assert torch.equal(_taken_up(0.5 * FREE, checkpoint)["delta"], _delta(0.25))
    nothing: list[dict[str, Any]] = [{"carried": [None]}, {"carried": []}, {}]
    for empty in nothing:
        assert _taken_up(FREE, empty)["delta"].numel() == 0
        assert _taken_up(CrossEntropy(), empty) == {}
    alone.setattr(ClassifierModule, "global_rank", 1)
    assert _taken_up(FREE, {"carried": [_delta(0.25)]})["delta"].numel() == 0


@dataclass(frozen=True)
class _Called(Regulariser):
    name: str

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        return {self.name: passes.clean.output.mean()}


@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_a_term_that_would_hide_a_column_of_the_metrics_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassifierModule, "_step", 0)
    monkeypatch.setattr(ClassifierModule, "_seed_of_masks", lambda self, step: 0)
    module = _module(_Called(name))
    with pytest.raises(ArgumentError, match=f"is called '{name}'"):
        module._losses((torch.ones(2, 3, 8, 8), torch.tensor([0, 1]), None), _Called(name))
