from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from gradsculpt.data.base import ImageSet
from gradsculpt.data.batches import Batch, Shuffle, loader
from gradsculpt.errors import ArgumentError


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


def test_batch_size_must_be_positive(image_set: ImageSet) -> None:
    with pytest.raises(ArgumentError, match="batch_size=0"):
        loader(image_set, 0, shuffle=False)
