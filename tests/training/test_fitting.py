"""Lightning is kept quiet for the time of a training, and from ending the process at Ctrl-C."""

import logging
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from gradsculpt.data import Augment
from gradsculpt.data.load import find_source
from gradsculpt.errors import RunError
from gradsculpt.objectives import AdversarialTraining
from gradsculpt.penalties import L1
from gradsculpt.perturbations import Free
from gradsculpt.training import Optimization, TrainSettings
from gradsculpt.training.fitting import batches, build_module, build_trainer, quietly
from tests.training.small import images


def test_what_lightning_says_is_unheard_inside_and_heard_again_outside() -> None:
    log = logging.getLogger("lightning.pytorch")
    level = log.level

    def warn(module: str) -> None:
        warnings.warn_explicit("x", UserWarning, "x.py", 1, module=module)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quietly():
            warn("lightning.pytorch.trainer")
            assert not log.isEnabledFor(logging.WARNING)
            with pytest.raises(UserWarning):
                warn("torch.nn")
        with pytest.raises(UserWarning):
            warn("lightning.pytorch.trainer")
    assert log.level == level


def test_lightnings_end_at_an_interrupt_is_an_interrupt_and_the_next_is_heard() -> None:
    def end() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise SystemExit(1)

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), quietly():
            end()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def settings(**changes: Any) -> TrainSettings:
    chosen: dict[str, Any] = {"out": Path("nowhere"), "data": "digits", "model": "lenet", "device": "cpu"}
    return TrainSettings(**chosen | {"batch_size": 4} | changes)


def test_the_trainer_has_what_the_settings_say() -> None:
    trainer = build_trainer(settings(epochs=7, accumulate=3, clip=0.5, precision="bf16-mixed"), min_epochs=2)
    assert (trainer.max_epochs, trainer.min_epochs) == (7, 2)
    assert (trainer.accumulate_grad_batches, trainer.gradient_clip_val) == (3, 0.5)
    assert trainer.precision == "bf16-mixed"
    assert trainer.strategy.root_device == torch.device("cpu")
    with pytest.raises(RunError, match="--precision 7 cannot be had here"):
        build_trainer(settings(precision="7"))


def test_the_module_comes_from_the_seed() -> None:
    first, again, other = (
        build_module(settings(seed=seed, optimization=Optimization(lr=0.5)), images()) for seed in (3, 3, 4)
    )
    weights = [torch.cat([p.flatten() for p in module.network.parameters()]) for module in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert any(
        isinstance(layer, torch.nn.Softplus) for layer in build_module(settings(softplus=3.0), images()).modules()
    )


def test_images_are_changed_as_the_settings_say_or_as_suits_the_data() -> None:
    own = Augment(flip=False, crop=0.3)
    assert build_module(settings(augment=own), images())._augment == own
    of_data = [build_module(settings(data=data), images())._augment for data in ("digits", "cells")]
    assert of_data == [find_source(data).augment() for data in ("digits", "cells")]
    assert len({*of_data, own}) == 3


def test_batches_are_whole_shuffled_and_replayed_as_the_objective_wants() -> None:
    def labels(count: int, **changes: Any) -> list[int]:
        return [len(batch.labels) for batch in batches(settings(**changes), images(count))]

    assert labels(15) == [4, 4, 4]  # the last three would disturb BatchNorm
    assert labels(7) == [4, 3]  # too few to leave any out
    first, other = (next(iter(batches(settings(seed=seed), images()))).images for seed in (0, 1))
    assert not torch.equal(first, other)
    free = settings(objective=AdversarialTraining(L1(0.1), Free(2)))
    one, two, three, *_ = (batch.images for batch in batches(free, images()))
    assert torch.equal(one, two)
    assert not torch.equal(two, three)
