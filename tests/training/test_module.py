"""The Lightning module and the optimiser settings."""

import math

import pytest
import torch
from torch import nn

from gradsculpt.data import Augment, Batch
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import AdversarialTraining, CrossEntropy, Losses
from gradsculpt.penalties import L1
from gradsculpt.perturbations import Free
from gradsculpt.training import ClassifierModule, Optimization


def _module(objective=None, augment=None, seed=0):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    return ClassifierModule(
        network,
        objective or CrossEntropy(),
        InputSpace((0.5,) * 3, (0.25,) * 3),
        augment or Augment(flip=False, crop=0.0),
        Optimization(),
        classes=4,
        epochs=3,
        seed=seed,
    )


def _rates(optimization, epochs):
    optimizer, schedule = optimization.build([nn.Parameter(torch.zeros(1))], epochs)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(("name", "kind"), [("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")])
def test_optimisers_by_name_with_their_settings(name, kind):
    optimizer, _ = Optimization(name, lr=0.2, weight_decay=0.3).build([nn.Parameter(torch.zeros(1))], 5)
    assert type(optimizer).__name__ == kind
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert optimizer.param_groups[0]["weight_decay"] == 0.3


def test_schedules_follow_their_formula():
    cosine = _rates(Optimization(lr=1.0, schedule="cosine"), 10)
    assert cosine == pytest.approx([(1 + math.cos(math.pi * t / 10)) / 2 for t in range(10)])
    assert _rates(Optimization(lr=1.0, schedule="constant"), 4) == [1.0] * 4
    stepped = _rates(Optimization(lr=1.0, schedule="step", milestones=(2, 4), gamma=0.1), 6)
    assert stepped == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_warmup_rises_to_the_rate_and_then_follows_the_schedule():
    rates = _rates(Optimization(lr=1.0, schedule="cosine", warmup=3), 9)
    assert rates[:4] == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert rates[4:] == pytest.approx([(1 + math.cos(math.pi * t / 6)) / 2 for t in range(1, 6)])


def test_bad_rates_are_refused():
    with pytest.raises(ArgumentError, match="lr=0"):
        Optimization(lr=0.0)


class _Trainer:
    def __init__(self, training):
        self.training, self.global_step, self.global_rank, self.current_epoch = training, 7, 0, 0
        self.num_training_batches = 10


def _prepared(module, batch, training):
    module._trainer = _Trainer(training)
    module._fabric = None
    try:
        return module.on_after_batch_transfer(batch, 0)
    finally:
        module._trainer = None


def test_batches_are_normalised_and_only_training_batches_are_augmented(monkeypatch):
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    attention = images[:, :1].clone()
    batch = Batch(images, torch.arange(6) % 4, attention)
    module = _module(augment=Augment(flip=True, crop=0.25))
    monkeypatch.setattr(type(module), "trainer", property(lambda self: self._trainer))
    monkeypatch.setattr(type(module), "global_step", property(lambda self: self._trainer.global_step))
    monkeypatch.setattr(type(module), "global_rank", property(lambda self: 0))
    x, y, kept = _prepared(module, batch, training=False)
    expected = (images.float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(kept, attention.float() / 255)
    assert torch.equal(y, batch.labels)
    assert x.is_contiguous(memory_format=torch.channels_last)
    changed, _, followed = _prepared(module, batch, training=True)
    assert not torch.equal(changed, expected)
    # The first channel was also handed in as the attention, so both must still be the same picture.
    torch.testing.assert_close(changed[:, :1] * 0.25 + 0.5, followed)
    again, _, _ = _prepared(module, batch, training=True)
    assert torch.equal(changed, again)


class _Broken(CrossEntropy):
    def __call__(self, model, x, y, attention=None, *, generator=None):
        good = super().__call__(model, x, y).loss
        return Losses(good * math.nan, model(x), {"cross_entropy": good, "alignment": good * math.nan})


def test_a_loss_that_is_not_finite_names_its_term(monkeypatch):
    module = _module(_Broken())
    monkeypatch.setattr(type(module), "current_epoch", property(lambda self: 4))
    monkeypatch.setattr(type(module), "trainer", property(lambda self: _Trainer(training=True)))
    monkeypatch.setattr(type(module), "global_rank", property(lambda self: 0))
    with pytest.raises(RunError, match=r"nan in epoch 5 through alignment; .*--lr"):
        module.training_step((torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), None), 0)


def test_a_checkpoint_has_what_perturbations_carry():
    free = Free(2)
    module = _module(0.5 * AdversarialTraining(L1(0.1), free))
    free.restore(torch.full((2, 3, 8, 8), 0.25))
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    other = Free(2)
    _module(AdversarialTraining(L1(0.1), other) + CrossEntropy()).on_load_checkpoint(checkpoint)
    assert torch.equal(other.carried, torch.full((2, 3, 8, 8), 0.25))


def test_a_cosine_schedule_can_be_resumed_with_another_length():
    optimizer, schedule = Optimization(lr=1.0).build([nn.Parameter(torch.zeros(1))], 2)
    for _ in range(2):
        optimizer.step()
        schedule.step()
    state = schedule.state_dict()
    optimizer, schedule = Optimization(lr=1.0).build([nn.Parameter(torch.zeros(1))], 8)
    schedule.load_state_dict(state)
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx((1 + math.cos(math.pi * 3 / 8)) / 2)
