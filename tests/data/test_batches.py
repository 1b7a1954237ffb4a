import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from gradsculpt.data import Augment
from gradsculpt.data.base import ImageSet
from gradsculpt.data.batches import Batch, Shuffle, loader, read_ahead
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import AdversarialTraining
from gradsculpt.penalties import L1
from gradsculpt.perturbations import Free
from gradsculpt.training import ClassifierModule, Optimization


@pytest.fixture(params=[False, True], ids=["plain", "attention"])
def image_set(request: pytest.FixtureRequest, noise: np.ndarray) -> ImageSet:
    count = len(noise)
    attention = noise[..., 0] // 2 if request.param else None
    return ImageSet(noise, np.arange(count) % 3, ("a", "b", "c"), tuple(map(str, range(count))), attention)


def test_batches_in_order(image_set: ImageSet) -> None:
    batches = list(loader(image_set, 5, shuffle=False))
    assert [len(batch.labels) for batch in batches] == [5, 5, 2]
    for start, batch in zip((0, 5, 10), batches, strict=True):
        rows = slice(start, start + 5)
        assert isinstance(batch, Batch)
        np.testing.assert_array_equal(batch.images.numpy(), image_set.images[rows].transpose(0, 3, 1, 2))
        assert batch.labels.dtype == torch.int64
        np.testing.assert_array_equal(batch.labels.numpy(), image_set.labels[rows])
        assert (batch.attention is None) == (image_set.attention is None)
        if batch.attention is not None and image_set.attention is not None:
            np.testing.assert_array_equal(batch.attention.numpy(), image_set.attention[rows][:, None])


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_maps_may_have_channels_and_any_type(noise: np.ndarray, dtype: type) -> None:
    maps: np.ndarray = np.random.default_rng(1).uniform(0, 200, (12, 16, 16, 5)).astype(dtype)
    whole = ImageSet(noise, np.zeros(12, np.int64), ("a",), tuple(map(str, range(12))), maps)
    batch = next(iter(loader(whole.subset(np.array([7, 2])), 2, shuffle=False)))
    assert batch.attention is not None
    assert batch.attention.numpy().dtype == dtype
    np.testing.assert_array_equal(batch.attention.numpy(), maps[[7, 2]].transpose(0, 3, 1, 2))


def test_images_are_channels_last_and_free_to_change(image_set: ImageSet) -> None:
    before = image_set.images.copy()
    batch = next(iter(loader(image_set, 5, shuffle=False)))
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    batch.images.zero_()
    np.testing.assert_array_equal(image_set.images, before)


def test_a_shuffled_epoch_holds_each_image_once(image_set: ImageSet) -> None:
    seen: list[int] = []
    for batch in loader(image_set, 5, shuffle=True, seed=3):
        for image, label in zip(batch.images.permute(0, 2, 3, 1).numpy(), batch.labels, strict=True):
            (index,) = np.flatnonzero((image_set.images == image).all(axis=(1, 2, 3)))
            assert image_set.labels[index] == label
            seen.append(int(index))
    assert sorted(seen) == list(range(12)) != seen


def test_drop_last(image_set: ImageSet) -> None:
    assert [len(batch.labels) for batch in loader(image_set, 5, shuffle=True, drop_last=True)] == [5, 5]


def test_a_subset_of_a_memory_map(tmp_path: Path, noise: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", noise)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    whole = ImageSet(images, np.arange(12), tuple("abcdefghijkl"), tuple(map(str, range(12))), images[..., 1])
    part = whole.subset(np.array([9, 2, 5])).subset(np.array([2, 0]))
    batch = next(iter(loader(part, 2, shuffle=False)))
    assert batch.labels.tolist() == [5, 9]
    np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1).numpy(), noise[[5, 9]])
    assert batch.attention is not None
    np.testing.assert_array_equal(batch.attention[:, 0].numpy(), noise[[5, 9], ..., 1])


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        shuffle = Shuffle(50, seed)
        shuffle.set_epoch(epoch)
        return list(shuffle)

    torch.manual_seed(0)
    first = order(0, 2)
    torch.manual_seed(1)
    assert order(0, 2) == first
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6
    shuffle = Shuffle(50, 0)
    assert list(shuffle) == list(shuffle)
    assert order(0, 2) != order(2, 0)


def test_the_order_of_a_seed_and_an_epoch_stays_what_it_was() -> None:
    shuffle = Shuffle(10, seed=7)
    shuffle.set_epoch(2)
    assert list(shuffle) == [1, 5, 3, 4, 6, 9, 0, 8, 2, 7]


class Recorder(LightningModule):
    """Writes down what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.epochs: list[list[int]] = []

    def on_train_epoch_start(self) -> None:
        self.epochs.append([])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert isinstance(batch, Batch)
        self.epochs[-1].extend(batch.images[:, 0, 0, 0].tolist())
        return self.weight * batch.images.float().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_lightning_moves_batches_and_repeats_the_order_after_resuming(tmp_path: Path, image_set: ImageSet) -> None:
    def train(epochs: int, resume: Path | None = None) -> list[list[int]]:
        module = Recorder()
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(module, loader(image_set, 5, shuffle=True, seed=4), ckpt_path=resume)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module.epochs

    straight = train(3)
    assert len({tuple(order) for order in straight}) == 3
    first = train(1)
    assert first + train(3, resume=tmp_path / "1.ckpt") == straight


def marks(
    image_set: ImageSet, replays: int, epochs: int, size: int, *, drop_last: bool = False
) -> list[list[list[int]]]:
    """Return which images each batch of each epoch holds."""
    batches = loader(image_set, size, shuffle=True, seed=4, drop_last=drop_last, replays=replays)
    names = {image.tobytes(): i for i, image in enumerate(image_set.images)}
    found = []
    for epoch in range(epochs):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        assert len(batches) == len(list(batches))
        found.append([[names[row.numpy().tobytes()] for row in b.images.permute(0, 2, 3, 1)] for b in batches])
    return found


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 7, 20])
@pytest.mark.parametrize("replays", [2, 3, 8])
def test_each_batch_is_replayed_and_each_image_comes_once_in_so_many_epochs(
    image_set: ImageSet, replays: int, size: int, drop_last: bool
) -> None:
    if drop_last and size > 12:
        pytest.skip("there is no full batch")
    steps = 12 // size if drop_last else -(-12 // size)
    found = marks(image_set, replays, 2 * replays, size, drop_last=drop_last)
    assert [len(epoch) for epoch in found] == [steps] * (2 * replays)  # as many as without replays
    stream = [batch for epoch in found for batch in epoch]
    # Step t has the batch t // replays of the stream of passes, whatever the epochs' ends.
    visits = stream[::replays]
    assert stream == [batch for batch in visits for _ in range(replays)]
    passes = [visits[:steps], visits[steps:]]
    for seen in ([i for batch in batches for i in batch] for batches in passes):
        assert len(set(seen)) == len(seen) == (steps * size if drop_last else 12)
    assert drop_last or size >= 12 or passes[0] != passes[1]
    ordinary = marks(image_set, 1, 2, size, drop_last=drop_last)
    assert passes == ordinary  # the passes have the order that epochs have without replays


def test_an_epoch_of_replays_depends_on_seed_and_epoch_alone(image_set: ImageSet) -> None:
    found = marks(image_set, 3, 6, 5)
    batches = loader(image_set, 5, shuffle=True, seed=4, replays=3)
    for epoch in (4, 1, 5):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        first = [batch.labels.tolist() for batch in batches]
        assert first == [batch.labels.tolist() for batch in batches]
        assert first == [[int(image_set.labels[i]) for i in batch] for batch in found[epoch]]
    assert [len(batch) for epoch in found for batch in epoch] == 3 * [5] + 3 * [5] + 3 * [2] + 3 * [5] + 3 * [5] + 3 * [
        2
    ]


class Augmented(ClassifierModule):
    """Writes down the inputs of every step, after augmentation."""

    seen: list[Tensor]

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor | None], batch_idx: int) -> Tensor | None:
        self.seen.append(batch[0].clone())
        return super().training_step(batch, batch_idx)


@pytest.mark.filterwarnings("ignore")
def test_replays_of_a_batch_are_augmented_alike_across_the_ends_of_epochs_and_after_resuming(
    tmp_path: Path, image_set: ImageSet
) -> None:
    objective = AdversarialTraining(L1(0.1), Free(3))

    def train(epochs: int, resume: Path | None = None) -> list[Tensor]:
        torch.manual_seed(0)
        size = image_set.images[0].size
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, 3))
        space, augment = InputSpace((0.5,) * 3, (0.25,) * 3), Augment(flip=True, crop=0.25)
        module = Augmented(network, objective, space, augment, Optimization(), epochs=6, seed=2)
        module.seen = []
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        batches = loader(image_set, 3, shuffle=True, seed=4, replays=objective.requirements.replays)
        trainer.fit(module, batches, ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module.seen

    straight = train(6)
    assert len(straight) == 6 * 4  # four steps an epoch, which three does not divide
    for group in (straight[i : i + 3] for i in range(0, len(straight), 3)):
        assert all(torch.equal(x, group[0]) for x in group)
    firsts = straight[::3]
    assert not any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])
    parts = train(1) + train(6, resume=tmp_path / "1.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(parts, straight, strict=True))


def test_replays_need_an_order_of_their_own(image_set: ImageSet) -> None:
    with pytest.raises(ArgumentError, match=r"replays=2 without shuffle.*shuffle=True"):
        loader(image_set, 5, shuffle=False, replays=2)
    with pytest.raises(ArgumentError, match="replays=0"):
        loader(image_set, 5, shuffle=True, replays=0)


def test_batch_size_must_be_positive(image_set: ImageSet) -> None:
    with pytest.raises(ArgumentError, match="batch_size=0"):
        loader(image_set, 0, shuffle=False)


def test_reading_ahead_keeps_the_order_and_the_number_ahead() -> None:
    read = list[int]()

    def items() -> Iterator[int]:
        for index in range(6):
            read.append(index)
            yield index

    coming = read_ahead(items(), prepare=lambda: None, count=2)
    assert read == []
    for index in range(6):
        assert next(coming) == index
        assert len(read) <= index + 1 + 2
    assert list(coming) == []


def test_what_fails_ahead_fails_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    coming = read_ahead(items(), prepare=lambda: None)
    assert next(coming) == 1
    with pytest.raises(ValueError, match="broken"):
        next(coming)


def test_a_reader_that_is_left_ends_its_thread() -> None:
    before = threading.active_count()
    coming = read_ahead(iter(range(100)), prepare=lambda: None)
    assert next(coming) == 0
    coming.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore:.*pin_memory")
@pytest.mark.parametrize("replays", [1, 3])
def test_batches_read_ahead_are_those_of_the_loader(
    image_set: ImageSet, monkeypatch: pytest.MonkeyPatch, replays: int
) -> None:
    devices = list[object]()
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    device = torch.device("cuda", 1)
    ahead = loader(image_set, 5, shuffle=True, seed=3, replays=replays, ahead=device)
    plain = loader(image_set, 5, shuffle=True, seed=3, replays=replays)
    assert ahead.pin_memory
    for epoch in range(4):
        for each in (ahead, plain):
            each.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        torch.manual_seed(epoch)
        found = [*ahead]
        after = torch.get_rng_state()
        torch.manual_seed(epoch)
        for mine, other in zip(found, plain, strict=True):
            assert isinstance(mine, Batch)
            assert torch.equal(mine.images, other.images)
            assert torch.equal(mine.labels, other.labels)
        assert torch.equal(torch.get_rng_state(), after)
    assert devices == [device] * 4
