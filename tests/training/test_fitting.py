"""Lightning is kept quiet for the time of a training, and from ending the process at Ctrl-C."""

import logging
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from gradsculpt.data import Augment
from gradsculpt.data.batches import BatchLoader, PlacedBatch
from gradsculpt.data.load import find_source
from gradsculpt.data.resident import Changed, ResidentLoader
from gradsculpt.errors import RunError
from gradsculpt.objectives import AdversarialTraining
from gradsculpt.penalties import L1
from gradsculpt.perturbations import Free
from gradsculpt.training import Optimization, TrainSettings, fit, fitting
from gradsculpt.training.fitting import batches, build_module, build_trainer, held_out_batches, quietly
from gradsculpt.training.module import ClassifierModule
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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective": AdversarialTraining(L1(0.1), Free(3))},
        {"augment": Augment(zoom=(0.8, 1.2))},
        {"data": "cells", "train_count": 40},
    ],
    ids=str,
)
def test_a_training_is_the_same_wherever_its_images_are(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = set[type]()

    def train(out: str) -> bytes:
        chosen = {"out": tmp_path / out, "epochs": 2, "batch_size": 16, "train_count": 60, "threads": 1} | changes
        network = fit(settings(image_size=16, **chosen)).network
        return b"".join(value.numpy().tobytes() for value in network.state_dict().values())

    def noted(self: ClassifierModule, batch: Any, number: int) -> Any:
        kinds.add(type(batch))
        return change(self, batch, number)

    change = ClassifierModule.on_after_batch_transfer
    monkeypatch.setattr(ClassifierModule, "on_after_batch_transfer", noted)
    expected = train("read")
    assert kinds == {PlacedBatch}
    monkeypatch.setattr(fitting, "fits", lambda images, device: True)
    assert train("resident") == expected
    assert kinds == {PlacedBatch, Changed}


def test_images_stay_on_a_gpu_that_is_alone_and_has_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, device = list[str](), torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10**9))
    whole = batches(settings(), images(15), device, notes.append)
    assert isinstance(whole, BatchLoader)
    assert (whole.ahead, whole.pin_memory) == (device, True)
    assert notes[0].startswith("images (")
    assert notes[0].endswith(") are sent to cuda:0 batch by batch, where they do not all fit")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    assert isinstance(batches(settings(devices=2), images(15), device, notes.append), BatchLoader)
    assert notes[1].endswith("batch by batch")
    held_out = held_out_batches(settings(devices=2), images(15), device)
    assert isinstance(held_out, BatchLoader)
    assert held_out.ahead == device
    monkeypatch.setattr(fitting, "fits", lambda images, device: True)
    cpu = torch.device("cpu")
    assert isinstance(held_out_batches(settings(), images(15), cpu), ResidentLoader)
    assert isinstance(batches(settings(), images(15), cpu, notes.append), ResidentLoader)
    assert notes[2].startswith("images stay on cpu (")
    monkeypatch.undo()
    plain = batches(settings(), images(15))
    assert isinstance(plain, BatchLoader)
    assert (plain.ahead, plain.pin_memory) == (None, False)
