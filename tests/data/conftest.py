from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradsculpt.data.base import Request, Splits
from gradsculpt.data.folder import load_folder

MakeFolder = Callable[[Mapping[str, int]], Path]
Load = Callable[..., Splits]


def reader(**defaults: Any) -> Load:
    """Return `load_folder` with its requests spelled out as keywords."""
    return lambda path, **options: load_folder(path, Request(**{**defaults, **options}))


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write folders of small images: `{"train/cat": 3}` gives three cats, each of a colour of its own."""

    def make(counts: Mapping[str, int]) -> Path:
        root = tmp_path / "photos"
        for number, (name, count) in enumerate(counts.items()):
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                Image.new("RGB", (24, 20), (40 * number, index, 100)).save(folder / f"{index:03d}.png")
        return root

    return make


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
