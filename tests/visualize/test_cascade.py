"""Pictures of a cascade."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.visualize import cascade_curve, cascade_sheet, colour


def random(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Keep what is laid out on a sheet instead of drawing it."""
    seen: list[tuple[Any, ...]] = []

    def note(*arguments: Any) -> bytes:
        seen.append(arguments)
        return b""

    monkeypatch.setattr("gradsculpt.visualize.cascade.contact_sheet", note)
    return seen


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keep the figures that are saved."""
    seen: list[Figure] = []
    save = Figure.savefig

    def note(self: Figure, *arguments: Any, **options: Any) -> None:
        seen.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", note)
    return seen


def test_a_sheet_is_a_picture() -> None:
    result = cascade_sheet(random(2, 3, 8, 8), random(2, 3, 8, 8), random(3, 2, 3, 8, 8), ["fc", "b", "a"])
    image = Image.open(io.BytesIO(result))
    assert image.width > image.height


def test_rows_are_images_and_columns_stages(sheets: list[tuple[Any, ...]]) -> None:
    images, original, maps = random(2, 3, 6, 6), random(2, 3, 6, 6), random(10, 2, 3, 6, 6)
    names = [f"layer{i}" for i in range(9)] + ["features.0.convolution"]
    cascade_sheet(images, original, maps, names, labels=["cat", "dog"], columns=4)
    ((rows, headings, labels),) = sheets
    assert headings == ["image", "original", "layer1", "layer4", "layer7", "features.0.\nconvolution"]
    assert labels == ["cat", "dog"]
    for i, row in enumerate(rows):
        assert len(row) == 6
        np.testing.assert_array_equal(row[0], (images[i].permute(1, 2, 0) * 255).round().byte())
        np.testing.assert_array_equal(row[1], colour(original)[i])
        np.testing.assert_array_equal(row[-1], colour(maps[9])[i])


def test_on_the_scale_of_the_original_a_vanishing_map_is_blank(sheets: list[tuple[Any, ...]]) -> None:
    original = random(1, 3, 6, 6)
    maps = torch.stack([original, original * 1e-6, original * 1e6])
    for scale in ("own", "original"):
        cascade_sheet(original, original, maps, ["c", "b", "a"], scale=scale)
    (own,), (shared,) = sheets[0][0], sheets[1][0]
    for picture in own[2:]:
        np.testing.assert_allclose(picture, own[1], atol=1)
    np.testing.assert_allclose(shared[2].astype(int), shared[1], atol=1)
    assert shared[3].max() < 8
    assert shared[4].mean() > shared[1].mean()


def test_a_curve_goes_through_the_means_and_names_its_axes(figures: list[Figure]) -> None:
    values = {"ssim": random(30, 5), "spearman": random(30, 7) - 0.5}
    names = [f"s{i}" for i in range(30)]
    result = cascade_curve(values, names, title="cascade", ticks=10)
    assert Image.open(io.BytesIO(result)).width > 400
    (axis,) = figures[0].axes
    lines: Any = axis.lines
    first, second, start = lines[:3]
    np.testing.assert_allclose(first.get_ydata(), values["ssim"].mean(dim=1), atol=1e-6)
    np.testing.assert_allclose(second.get_ydata(), values["spearman"].mean(dim=1), atol=1e-6)
    assert list(first.get_xdata()) == list(range(1, 31))
    assert (list(start.get_xdata()), list(start.get_ydata())) == ([0], [1])
    assert axis.get_xlabel()
    assert axis.get_ylabel()
    ticks = [label.get_text() for label in axis.get_xticklabels()]
    assert len(ticks) == 11
    assert (ticks[0], ticks[-1]) == ("original", "s29")
    half = 1.96 * values["ssim"][0].numpy().std(ddof=1) / np.sqrt(5)
    band = axis.collections[0].get_paths()[0].vertices
    at_first = np.asarray(band)[np.asarray(band)[:, 0] == 1, 1]
    assert at_first.max() - at_first.min() == pytest.approx(2 * half, rel=1e-4)
    assert first.get_linestyle() != second.get_linestyle()


def test_one_image_and_one_stage_are_drawn() -> None:
    assert cascade_curve({"ssim": torch.tensor([[0.3]])}, ["fc"])


@pytest.mark.parametrize(
    ("shapes", "stages", "message"),
    [
        (((2, 3, 4, 4), (2, 3, 4, 4), (3, 2, 3, 4, 4)), ["a", "b"], "for 2 stages"),
        (((2, 3, 4, 4), (2, 3, 4, 4), (1, 2, 3, 4, 5)), ["a"], "in the shape of the original"),
        (((1, 3, 4, 4), (2, 3, 4, 4), (1, 2, 3, 4, 4)), ["a"], "are 1 and 2; pass as many"),
        (((0, 3, 4, 4), (0, 3, 4, 4), (1, 0, 3, 4, 4)), ["a"], "at least one"),
    ],
)
def test_what_does_not_fit_is_named(shapes: tuple[tuple[int, ...], ...], stages: list[str], message: str) -> None:
    images, original, maps = (random(*shape) for shape in shapes)
    with pytest.raises(ArgumentError, match=message):
        cascade_sheet(images, original, maps, stages)


def test_curves_that_do_not_fit_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"'ssim' has shape \[3\] for 3 stages"):
        cascade_curve({"ssim": torch.zeros(3)}, ["a", "b", "c"])
