"""A digest changes with everything that decides a result, and with nothing else."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gradsculpt.fingerprint import fingerprint


@dataclass(frozen=True)
class Setting:
    weight: float
    names: tuple[str, ...] = ("a", "b")


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten())


def test_equal_things_have_equal_digests() -> None:
    assert fingerprint(network(), Setting(1.0), [1, 2]) == fingerprint(network(), Setting(1.0), (1, 2))


def test_every_kind_of_change_is_seen() -> None:
    model = network()
    before = fingerprint(model)
    found = {before}
    with torch.no_grad():
        model.get_parameter("0.weight")[0, 0, 0, 0] += 1e-7
    found.add(fingerprint(model))
    model.get_buffer("1.running_mean").add_(1e-7)
    found.add(fingerprint(model))
    found.add(fingerprint(model.eval()))
    found.add(fingerprint(nn.Sequential(*model, nn.ReLU())))
    assert len(found) == 5


def test_values_are_not_confused_with_what_looks_like_them() -> None:
    different = [
        ("ab", "c"),
        ("a", "bc"),
        (["a"], ["b"]),
        (["a", "b"],),
        (torch.zeros(2),),
        (torch.zeros(2, dtype=torch.float64),),
        (torch.zeros(1, 2),),
        (Setting(1.0),),
        (Setting(2.0),),
        (Setting(1.0, ("a",)),),
        ({"weight": 1.0},),
        (None,),
    ]
    assert len({fingerprint(*parts) for parts in different}) == len(different)


def test_every_pixel_of_an_array_on_disk_counts(tmp_path: Path) -> None:
    pixels = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(600, 2, 2, 3))
    found = {fingerprint(pixels)}
    for row in (0, 300, 599):
        pixels[row, 1, 1, 2] = 1
        found.add(fingerprint(pixels))
    assert len(found) == 4


def test_functions_and_classes_count_by_name_and_code_and_not_by_address() -> None:
    def made(factor: str) -> object:
        space: dict[str, object] = {"__name__": "mine"}
        exec(f"def score(x): return {factor} * x + max([x for x in [1]])", space)
        return space["score"]

    assert fingerprint(made("2")) == fingerprint(made("2")) != fingerprint(made("3"))
    assert fingerprint(nn.ReLU) == fingerprint(nn.ReLU) != fingerprint(nn.ELU)


class Counted:
    """An array that notes how many bytes are asked for at once."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, key: slice) -> np.ndarray:
        rows = self._array[key]
        self.most = max(self.most, rows.nbytes)
        return rows


def test_large_rows_are_read_a_few_at_a_time_and_the_digest_is_that_of_256_at_once() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 128, 128, 3), np.uint8)
    array = Counted(pixels)
    digest = hashlib.blake2b(digest_size=16)
    for piece in (b"array (300, 128, 128, 3) uint8", pixels[:256].tobytes(), pixels[256:].tobytes()):
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    assert fingerprint(array) == fingerprint(pixels) == digest.hexdigest()
    assert array.most <= 1 << 22
