"""Batches of a set that stays on a device are those of the loader, augmented as on the CPU, to the last bit."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gradsculpt.data import Augment, ImageSet, loader, resident, to_input
from gradsculpt.data.augment import seed_of, sent
from gradsculpt.data.batches import PlacedBatch
from gradsculpt.data.resident import Changed, ResidentLoader, fits, size_on_device
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace

CPU = torch.device("cpu")
CUDA = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DEVICES = [CPU, pytest.param(torch.device("cuda", 0), marks=CUDA)]
SPACE = InputSpace((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))

MAPS = ("none", "bytes", "halves")
SAMPLING = [
    Augment(zoom=(0.7, 1.5)),
    Augment(crop=0.0, resized_crop=(0.08, 1.0)),
    Augment(rotation=30.0, padding="zeros", blur=(0.1, 2.0)),
    Augment(blur=(0.1, 2.0)),
]
AUGMENTS = [None, Augment(), Augment(padding="zeros"), *SAMPLING]


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).uniform(0, 256, shape)


def image_set(count: int, height: int, width: int, maps: str = "none") -> ImageSet:
    images, names = values(count, height, width, 3).astype(np.uint8), tuple(map(str, range(count)))
    whole = ImageSet(images, np.arange(count) % 4, tuple("abcd"), names)
    if maps != "none":
        shape, dtype = ((), np.uint8) if maps == "bytes" else ((3,), np.float16)
        whole = replace(whole, attention=values(count, height, width, *shape).astype(dtype))
    return whole.subset(np.random.default_rng(0).permutation(count)[: count - 1])


def expected(images: ImageSet, augment: Augment | None, epoch: int, **options: Any) -> list[Any]:
    """Return the batches of an epoch by the loader, changed one by one as the module does."""
    batches = loader(images, placed=True, **options)
    if not options["shuffle"]:
        return list(batches)
    batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    found = list[Any](batches)
    if augment is not None:
        for place, batch in enumerate(found):
            number = (epoch * len(batches) + place) // options.get("replays", 1)
            generator = torch.Generator().manual_seed(seed_of(options.get("seed", 0), number))
            changed, attention = augment(batch.images, batch.attention, generator)
            found[place] = Changed(changed, batch.labels, attention, batch.places)
    return found


def same(ours: Any, theirs: Any, device: torch.device) -> None:
    assert type(ours) is type(theirs)
    assert np.array_equal(ours.places, theirs.places)
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.device == device
            assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
            assert torch.equal(mine.cpu(), other)
    assert ours.images.is_contiguous(memory_format=torch.channels_last)


def check(images: ImageSet, augment: Augment | None, device: torch.device, epochs: range, **options: Any) -> None:
    ours = ResidentLoader(images, options.pop("batch_size"), device, augment=augment, **options)
    for epoch in epochs:
        if ours.sampler is not None:
            ours.sampler.set_epoch(epoch)
        theirs = expected(images, augment, epoch, batch_size=ours.batch_size, **options)
        found = list(ours)
        assert len(ours) == len(found) == len(theirs)
        for mine, other in zip(found, theirs, strict=True):
            same(mine, other, device)


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=60)
@given(
    flip=st.booleans(),
    crop=st.sampled_from([0.0, 0.125, 0.5]),
    padding=st.sampled_from(["reflect", "zeros"]),
    shape=st.sampled_from([(8, 8), (1, 1), (5, 7), (9, 2)]),
    maps=st.sampled_from(MAPS),
    size=st.integers(1, 14),
    replays=st.integers(1, 4),
    drop_last=st.booleans(),
    block=st.integers(1, 5),
)
def test_batches_are_those_of_the_loader_changed_as_on_the_cpu(
    device: torch.device,
    flip: bool,
    crop: float,
    padding: Any,
    shape: tuple[int, int],
    maps: str,
    size: int,
    replays: int,
    drop_last: bool,
    block: int,
) -> None:
    images, augment = image_set(12, *shape, maps), Augment(flip=flip, crop=crop, padding=padding)
    options = {"batch_size": size, "shuffle": True, "seed": 3, "drop_last": drop_last, "replays": replays}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resident, "_BLOCK", block)
        check(images, augment, device, range(1, 4), **options)


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("augment", SAMPLING)
def test_interpolated_images_too(augment: Augment, maps: str) -> None:
    images = image_set(12, 8, 8, maps)
    check(images, augment, CPU, range(2), batch_size=4, shuffle=True, seed=1, replays=2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("shuffle", "drop_last", "maps"), [*product([False, True], [False, True], MAPS)])
def test_batches_without_augmentation(device: torch.device, shuffle: bool, drop_last: bool, maps: str) -> None:
    images = image_set(12, 5, 7, maps)
    for size in (1, 5, 11, 20):
        check(images, None, device, range(2), batch_size=size, shuffle=shuffle, drop_last=drop_last)


@pytest.mark.parametrize("device", DEVICES)
def test_network_input_is_that_of_the_cpu(device: torch.device) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16)
    for width in (16, 8, 16):
        pixels = images.reshape(-1, 3, 16, width)
        torch.testing.assert_close(to_input(pixels.to(device), SPACE).cpu(), to_input(pixels, SPACE), rtol=0, atol=1e-6)
        exact = (pixels.double() / 255 - torch.tensor(SPACE.mean).double().view(3, 1, 1)) / torch.tensor(
            SPACE.std
        ).double().view(3, 1, 1)
        torch.testing.assert_close(to_input(pixels, SPACE).double(), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("augment", [Augment(crop=0.3), Augment(crop=0.3, padding="zeros"), *SAMPLING])
def test_a_generator_of_the_cpu_changes_images_alike_anywhere(device: torch.device, augment: Augment) -> None:
    pixels = torch.from_numpy(values(6, 3, 9, 8)).byte()
    maps = pixels[:, :1]
    found = [augment(pixels.to(place), maps.to(place), torch.Generator().manual_seed(2)) for place in (CPU, device)]
    most = 0 if augment.only_moves else 1  # interpolation may round the other way
    for here, there in zip(*found, strict=True):
        assert here is not None
        assert there is not None
        assert (here.int() - there.cpu().int()).abs().max() <= most


def test_the_scale_of_the_input_is_sent_once_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.zeros(2, 3, 4, 6, dtype=torch.uint8)
    space = InputSpace((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    first = to_input(pixels, space)
    monkeypatch.setattr(torch, "tensor", None)
    assert torch.equal(to_input(pixels, space), first)


def test_input_made_in_inference_mode_leaves_nothing_that_training_cannot_use() -> None:
    pixels, space = torch.zeros(2, 3, 4, 5, dtype=torch.uint8), InputSpace((0.1, 0.2, 0.3), (0.4, 0.5, 0.7))
    with torch.inference_mode():
        to_input(pixels, space)
    x = to_input(pixels, space).requires_grad_()
    (x**2).sum().backward()
    assert not x.is_inference()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("augment", AUGMENTS)
def test_no_batch_waits_for_the_device(augment: Augment | None) -> None:
    device, images = torch.device("cuda", 0), image_set(400, 16, 16, "bytes")
    ours = ResidentLoader(images, 32, device, shuffle=True, augment=augment)
    list(ours)
    batches = iter(ours)
    to_input(next(batches).images, SPACE)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            to_input(batch.images, SPACE)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("zoom", [(1.0, 1.0), (0.8, 1.2)])
def test_batches_read_ahead_are_sent_without_a_wait(zoom: tuple[float, float]) -> None:
    device, images, augment = torch.device("cuda", 0), image_set(400, 16, 16, "bytes"), Augment(zoom=zoom)
    batches = loader(images, 32, shuffle=True, ahead=device, placed=True)

    def sent_and_changed(batch: PlacedBatch) -> Tensor:
        assert batch.images.is_pinned()
        here, maps = (None if t is None else t.to(device, non_blocking=True) for t in (batch.images, batch.attention))
        assert here is not None
        changed, _ = augment(here, maps, torch.Generator().manual_seed(1))
        return to_input(changed, SPACE)

    for batch in batches:
        sent_and_changed(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            sent_and_changed(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


class NoWaiting(TorchDispatchMode):
    """Refuses what has to wait for a device, if the tensors are on one."""

    WAITS = ("_local_scalar_dense", "nonzero", "item", "masked_select", "unique")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket).rpartition(".")[2]
        assert not any(name.startswith(wait) for wait in self.WAITS), name
        assert name != "index" or all(each is None or each.dtype != torch.bool for each in args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("maps", MAPS)
# The last one moves bytes one by one where the device is the CPU.
@pytest.mark.parametrize("augment", AUGMENTS[:-1])
def test_no_batch_asks_the_device_for_a_number(augment: Augment | None, maps: str) -> None:
    ours = ResidentLoader(image_set(12, 6, 6, maps), 4, CPU, shuffle=True, augment=augment)
    with NoWaiting():  # type: ignore[no-untyped-call]
        for batch in ours:
            to_input(batch.images, SPACE)
    with NoWaiting(), pytest.raises(AssertionError, match="_local_scalar_dense"):  # type: ignore[no-untyped-call]
        torch.ones(()).item()


class Recorder(LightningModule):
    """Writes down what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []

    def training_step(self, batch: Changed, batch_idx: int) -> Tensor:
        assert isinstance(batch, Changed)
        self.seen.append(batch.images.cpu())
        return self.weight * batch.images.float().mean()

    def validation_step(self, batch: PlacedBatch, batch_idx: int) -> None:
        assert isinstance(batch, PlacedBatch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("replays", [1, 3])
def test_lightning_takes_it_and_repeats_the_order_after_resuming(tmp_path: Path, replays: int) -> None:
    images = image_set(12, 6, 6)

    def train(epochs: int, resume: Path | None = None) -> list[Tensor]:
        module = Recorder()
        off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
        trainer = Trainer(max_epochs=epochs, accelerator="cpu", **off)  # type: ignore[arg-type]
        batches = ResidentLoader(images, 4, CPU, shuffle=True, seed=4, replays=replays, augment=Augment())
        trainer.fit(module, batches, ResidentLoader(images, 4, CPU, shuffle=False), ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module.seen

    straight = train(3)
    wanted = [
        batch.images
        for epoch in range(3)
        for batch in expected(images, Augment(), epoch, batch_size=4, shuffle=True, seed=4, replays=replays)
    ]
    assert len(straight) == 9
    assert all(torch.equal(a, b) for a, b in zip(straight, wanted, strict=True))
    parts = train(1) + train(3, resume=tmp_path / "1.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(parts, straight, strict=True))


def test_it_stays_where_it_takes_a_fifth_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set(11, 8, 8, "halves")
    taken = 10 * (8 * 8 * 3 + 8 + 2 * 8 * 8 * 3)
    assert size_on_device(images) == taken
    free = [5 * taken, 6 * taken]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: tuple(free))
    assert fits(images, torch.device("cuda", 0))
    free[0] -= 1
    assert not fits(images, torch.device("cuda", 0))
    assert not fits(images, CPU)
    assert not fits(images, torch.device("mps"))


def test_a_large_set_is_copied_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set(12, 8, 8, "halves")
    monkeypatch.setattr(resident, "_CHUNK", 500)
    check(images, None, CPU, range(1), batch_size=5, shuffle=False)


def test_what_cannot_be_had_is_said() -> None:
    images = image_set(12, 8, 8)
    with pytest.raises(ArgumentError, match="batch_size=0"):
        ResidentLoader(images, 0, CPU, shuffle=True)
    with pytest.raises(ArgumentError, match="replays=2 without shuffle"):
        ResidentLoader(images, 2, CPU, shuffle=False, replays=2)
    with pytest.raises(ArgumentError, match=r"not augmented\. Pass shuffle=True"):
        ResidentLoader(images, 2, CPU, shuffle=False, augment=Augment())


def test_what_is_sent_to_the_cpu_stays_what_it_is() -> None:
    numbers = torch.rand(3)
    assert sent(numbers, CPU) is numbers
