from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import RandomResizedCrop, functional

from gradsculpt.data.augment import Augment, to_float, to_input
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace

NOTHING = Augment(flip=False, crop=0.0)
MOVING = [
    Augment(crop=0.25),
    Augment(crop=0.25, padding="zeros"),
    Augment(crop=0.25, zoom=(0.7, 1.6)),
    Augment(crop=0.0, resized_crop=(0.08, 1.0)),
    Augment(crop=0.25, rotation=30.0),
    Augment(crop=0.0, resized_crop=(0.2, 0.5), rotation=180.0, padding="zeros"),
]
BLURRING = [
    Augment(blur=(0.1, 2.0)),
    Augment(crop=0.25, zoom=(0.7, 1.6), rotation=30.0, padding="zeros", blur=(0.5, 0.5)),
]
ALL = [*MOVING, *BLURRING]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(batch: int, height: int, width: int, channels: int = 3) -> Tensor:
    """Images in which every value occurs once."""
    count = batch * channels * height * width
    return torch.arange(count, dtype=torch.float64).reshape(batch, channels, height, width)


PADDINGS: dict[str, Any] = {"reflect": {"mode": "reflect"}, "zeros": {"mode": "constant", "constant_values": 0}}
"""What NumPy calls them."""


def explanations(
    image: np.ndarray, changed: np.ndarray, pad: int, padding: str = "reflect"
) -> list[tuple[bool, int, int]]:
    """All (mirrored, down, right) of which `changed` is the crop of the padded image: plain and slow."""
    height, width = image.shape[1:]
    found = []
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), **PADDINGS[padding])
    for down in range(2 * pad + 1):
        for right in range(2 * pad + 1):
            crop = padded[:, down : down + height, right : right + width]
            found += [(False, down, right)] if np.array_equal(crop, changed) else []
            found += [(True, down, right)] if np.array_equal(crop[:, :, ::-1], changed) else []
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
@given(
    flip=st.booleans(),
    crop=st.sampled_from([0.0, 0.125, 0.3, 0.5]),
    padding=st.sampled_from(["reflect", "zeros"]),
    side=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_each_image_is_a_mirrored_crop_of_the_padded_image(
    dtype: torch.dtype, flip: bool, crop: float, padding: Any, side: int, seed: int
) -> None:
    images = (1 + numbered(3, side, side) % 251).to(dtype)
    changed, _ = Augment(flip=flip, crop=crop, padding=padding)(images, None, generator(seed))
    for image, after in zip(images.numpy(), changed.numpy(), strict=True):
        found = explanations(image, after, round(crop * side), padding)
        assert found
        assert flip or any(not mirrored for mirrored, _, _ in found)


@pytest.mark.parametrize("shape", [(4, 10), (10, 4), (1, 8)])
def test_sides_may_differ(shape: tuple[int, int]) -> None:
    images = numbered(8, *shape)
    changed, _ = Augment(flip=True, crop=0.5)(images, None, generator())
    for image, after in zip(images.numpy(), changed.numpy(), strict=True):
        pads = [(round(0.5 * side),) * 2 for side in shape]
        padded = np.pad(image, ((0, 0), *pads), mode="reflect")
        assert any(
            np.array_equal(window, after) or np.array_equal(window[:, :, ::-1], after)
            for window in np.lib.stride_tricks.sliding_window_view(padded, image.shape)[0].reshape(-1, *image.shape)
        )


def test_all_shifts_and_both_directions_are_equally_likely() -> None:
    images = numbered(1, 8, 8).expand(3000, 3, 8, 8)
    changed, _ = Augment(flip=True, crop=0.125)(images, None, generator())
    found = [explanations(images[0].numpy(), after, 1) for after in changed.numpy()[:1500]]
    assert all(len(ways) == 1 for ways in found)
    _, counts = np.unique([ways[0] for ways in found], axis=0, return_counts=True)
    assert len(counts) == 2 * 3 * 3
    # Expected 83 +- 9 each.
    assert 45 < counts.min() < counts.max() < 125


def test_the_draws_of_a_seed_stay_what_they_were() -> None:
    images = numbered(1, 8, 8).expand(6, 3, 8, 8)
    for pixels in (images, images.byte()):
        changed, _ = Augment(flip=True, crop=0.25)(pixels, None, generator(0))
        found = [explanations(pixels[0].numpy(), after, 2) for after in changed.numpy()]
        # Mirrored or not; which of the five rows and columns of the padded image comes first.
        assert found == [
            [(True, 2, 0)],
            [(False, 4, 0)],
            [(True, 2, 1)],
            [(True, 3, 2)],
            [(True, 1, 3)],
            [(False, 2, 4)],
        ]


@pytest.mark.parametrize("zoom", [(1.0, 1.0), (1.0, 1.0 + 1e-9)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
def test_black_moves_in_with_maps_and_where_the_image_would_be_reflected(
    dtype: torch.dtype, zoom: tuple[float, float]
) -> None:
    """The same draws show the same part of the image, and zeros where it ends, as in torchvision's padded crops."""
    images = (1 + torch.rand(40, 3, 16, 12, generator=generator()) * 250).to(dtype)
    white = torch.full_like(images[:, :1], 200)
    black, inside = Augment(crop=0.25, padding="zeros", zoom=zoom)(images, white, generator(3))
    reflected, _ = Augment(crop=0.25, zoom=zoom)(images, None, generator(3))
    assert inside is not None
    torch.testing.assert_close(black.double(), torch.where(inside > 100, reflected, 0).double(), rtol=0, atol=1e-4)
    rows, columns = ((inside[:, 0] > 100).double().amax(dim=d).sum(dim=1) for d in (2, 1))
    assert [side.item() for side in (rows.min(), rows.max(), columns.min(), columns.max())] == [12, 16, 9, 12]
    # Where black is, is nothing but a frame: what is shown is a whole rectangle.
    assert torch.equal((inside[:, 0] > 100).sum(dim=(1, 2)).double(), rows * columns)


def test_no_change_is_no_change() -> None:
    images = numbered(5, 6, 6)
    assert torch.equal(NOTHING(images, None, generator())[0], images)


@pytest.mark.parametrize("augment", MOVING)
def test_attention_follows_its_image(augment: Augment) -> None:
    images = torch.rand(6, 3, 16, 16, generator=generator())
    changed, attention = augment(images, images[:, :1], generator(3))
    assert attention is not None
    assert attention.shape == (6, 1, 16, 16)
    torch.testing.assert_close(attention, changed[:, :1])
    assert not torch.equal(changed, images)


@pytest.mark.parametrize("augment", MOVING)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.uint8, torch.bool])
@pytest.mark.parametrize("pixels", [torch.uint8, torch.float32])
def test_maps_of_any_type_may_have_channels(augment: Augment, dtype: torch.dtype, pixels: torch.dtype) -> None:
    images = (torch.rand(6, 3, 16, 16, generator=generator()) * 200).to(pixels)
    maps = images[:, [0, 1, 2, 0, 1]].to(dtype)
    before = maps.clone()
    changed, followed = augment(images, maps, generator(3))
    assert followed is not None
    assert (changed.dtype, followed.dtype, followed.shape) == (pixels, dtype, maps.shape)
    assert torch.equal(maps, before)
    if dtype != torch.bool:
        expected = changed[:, [0, 1, 2, 0, 1]].double()
        torch.testing.assert_close(followed.double(), expected, atol=1.6 if dtype != pixels else 1e-3, rtol=0)


def test_whole_number_attention_keeps_its_type_when_zoomed() -> None:
    attention = (torch.rand(4, 1, 16, 16, generator=generator()) * 255).byte()
    images = attention.float().expand(4, 3, 16, 16)
    changed, followed = Augment(zoom=(0.7, 1.6))(images, attention, generator())
    assert followed is not None
    assert followed.dtype == torch.uint8
    assert (changed[:, :1] - followed).abs().max() <= 0.5


@pytest.mark.parametrize(
    "augment",
    [
        *(Augment(crop=crop, padding=pad) for crop in (0.0, 0.25, 0.5) for pad in ("reflect", "zeros")),
        *(Augment(crop=crop, zoom=(0.8, 1.2)) for crop in (0.0, 0.25, 0.5)),
        *ALL,
    ],
)
@pytest.mark.parametrize("shape", [(16, 16), (6, 30), (1, 1), (2, 3)])
def test_bytes_are_changed_as_floats_are(augment: Augment, shape: tuple[int, int]) -> None:
    images = (torch.rand(9, 3, *shape, generator=generator()) * 255).byte()
    early, early_attention = augment(images, images[:, 1:2], generator(1))
    late, late_attention = augment(images.float(), images[:, 1:2].float(), generator(1))
    assert early_attention is not None
    assert late_attention is not None
    assert early.dtype == early_attention.dtype == torch.uint8
    assert torch.equal(early.float(), late.round())
    assert torch.equal(early_attention.float(), late_attention.round())
    assert early.is_contiguous(memory_format=torch.channels_last)


def test_an_empty_batch_stays_empty() -> None:
    for augment, dtype in product(ALL, (torch.uint8, torch.float32)):
        images = torch.empty(0, 3, 8, 8, dtype=dtype)
        assert augment(images, None, generator())[0].shape == (0, 3, 8, 8)


def test_zoom_of_nearly_one_agrees_with_the_fast_path() -> None:
    images = torch.rand(8, 3, 32, 32, generator=generator(), dtype=torch.float64)
    fast, _ = Augment(crop=0.125)(images, None, generator(5))
    slow, _ = Augment(crop=0.125, zoom=(1.0, 1.0 + 1e-9))(images, None, generator(5))
    # The two reflect at the centre and at the rim of the outermost pixel; elsewhere they agree.
    torch.testing.assert_close(slow[..., 4:-4, 4:-4], fast[..., 4:-4, 4:-4], rtol=0, atol=1e-5)


def test_zoom_magnifies_about_the_middle() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[..., 12:20, 12:20] = 1
    magnified, _ = Augment(flip=False, crop=0.0, zoom=(2.0, 2.0))(image, None, generator())
    assert magnified[0, 0, 9:23, 9:23].min() == 1
    assert magnified.sum() == pytest.approx(4 * 64)
    reduced, _ = Augment(flip=False, crop=0.0, zoom=(0.5, 0.5))(image, None, generator())
    assert reduced[0, 0, 14:18, 14:18].min() == 1
    assert reduced[0, 0, 8:24, 8:24].sum() == pytest.approx(16)


def test_zoom_is_drawn_for_each_image_within_its_range() -> None:
    # The distance of two lines tells the magnification.
    image = torch.zeros(64, 1, 4, 128)
    image[..., 50] = image[..., 78] = 1
    changed, _ = Augment(flip=False, crop=0.0, zoom=(0.8, 1.25))(image, None, generator())
    columns = torch.arange(128.0)
    left, right = (
        (line * place).sum(1) / line.sum(1)
        for line, place in ((changed[:, 0, 2, :64], columns[:64]), (changed[:, 0, 2, 64:], columns[64:]))
    )
    zoom = (right - left) / 28
    assert zoom.min() > 0.78
    assert zoom.max() < 1.27
    assert zoom.max() - zoom.min() > 0.3
    assert 0.4 < (zoom < 1).float().mean() < 0.6


def smooth(batch: int, height: int, width: int) -> Tensor:
    """Images that change little from one pixel to the next."""
    coarse = torch.rand(batch, 3, 4, 4, generator=generator(7), dtype=torch.float64)
    return functional.resize(coarse, [height, width], antialias=False)


def window(tries: np.ndarray, place: np.ndarray, areas: tuple[float, float], sides: tuple[int, int]) -> Any:
    """Top, left, height and width of one crop, as torchvision's RandomResizedCrop goes about it."""
    height, width = sides
    for i in range(10):
        area = height * width * (areas[0] + (areas[1] - areas[0]) * tries[i])
        aspect = np.exp(np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * tries[10 + i])
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(place[0] * (height - h + 1)), int(place[1] * (width - w + 1)), h, w
    h, w = min(height, round(width / (3 / 4))), min(width, round(height * (4 / 3)))
    return round((height - h) / 2), round((width - w) / 2), h, w


@pytest.mark.parametrize("areas", [(0.08, 1.0), (0.9, 1.0), (0.3, 0.3), (1.0, 1.0)])
@pytest.mark.parametrize("sides", [(24, 24), (15, 40), (40, 15)])
def test_a_resized_crop_is_what_torchvision_makes_of_the_same_window(
    areas: tuple[float, float], sides: tuple[int, int]
) -> None:
    images = torch.rand(24, 3, *sides, generator=generator(), dtype=torch.float64)
    augment = Augment(flip=False, crop=0.0, resized_crop=areas)
    changed, _ = augment(images, None, generator(5))
    drawn = augment.draw(24, generator(5)).double().numpy()
    for i, (image, after) in enumerate(zip(images, changed, strict=True)):
        cut = window(drawn[6:, i], drawn[1:3, i], areas, sides)
        expected = functional.resized_crop(image, *cut, size=list(sides), antialias=False)
        torch.testing.assert_close(after, expected, atol=1e-4, rtol=0)


def test_resized_crops_are_distributed_as_those_of_torchvision() -> None:
    side, count = 64, 3000
    places = (torch.arange(side, dtype=torch.float64) + 0.5).expand(count, 1, side, side)
    coordinates = torch.cat([places.mT, places], dim=1)
    changed, _ = Augment(flip=False, crop=0.0, resized_crop=(0.08, 1.0))(coordinates, None, generator())
    middle = slice(side // 2 - 1, side // 2 + 1)
    size = torch.stack([changed[:, 0, middle, 9].diff()[:, 0], changed[:, 1, 9, middle].diff()[:, 0]], dim=1) * side
    centre = torch.stack([changed[:, 0, middle, 9].mean(1), changed[:, 1, 9, middle].mean(1)], dim=1)
    ours = torch.cat([centre - size / 2, size], dim=1)
    torch.manual_seed(0)
    get = RandomResizedCrop.get_params
    theirs = torch.tensor([get(coordinates[0], [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)], dtype=torch.float64)
    measured = [
        torch.cat([t, t[:, 2:3] * t[:, 3:] / side**2, (t[:, 3:] / t[:, 2:3]).log()], dim=1) for t in (ours, theirs)
    ]
    for found, expected in zip(*(each.T[..., None] for each in measured), strict=True):
        # Three standard errors of the difference of two means, and as much for the spread.
        assert ((found.mean(0) - expected.mean(0)).abs() < 3 * expected.std(0) * (2 / count) ** 0.5).all()
        torch.testing.assert_close(found.std(0), expected.std(0), rtol=0.06, atol=0)


@pytest.mark.parametrize("sides", [(24, 24), (15, 40)])
def test_a_rotation_is_that_of_torchvision(sides: tuple[int, int]) -> None:
    images = torch.rand(16, 3, *sides, generator=generator())
    augment = Augment(flip=False, crop=0.0, rotation=30.0, padding="zeros")
    changed, attention = augment(images, torch.ones_like(images[:, :1]), generator(5))
    angles = 30 * (2 * augment.draw(16, generator(5))[4] - 1)
    assert angles.min() < -20
    assert angles.max() > 20
    for image, after, angle in zip(images, changed, angles.tolist(), strict=True):
        expected = functional.rotate(image, angle, functional.InterpolationMode.BILINEAR)
        torch.testing.assert_close(after, expected, atol=1e-3, rtol=0)
    assert attention is not None
    assert (attention[:, 0, 0, 0] < 0.5).sum() > 10  # corners are no part of the image


@pytest.mark.parametrize("sides", [(24, 24), (3, 40)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
def test_a_blur_is_that_of_torchvision_and_attention_stays(sides: tuple[int, int], dtype: torch.dtype) -> None:
    images = (255 * torch.rand(8, 3, *sides, generator=generator())).to(dtype)
    augment = Augment(flip=False, crop=0.0, blur=(0.1, 2.0))
    changed, attention = augment(images, images[:, :1], generator(5))
    sigma = 0.1 + 1.9 * augment.draw(8, generator(5))[5]
    for image, after, width in zip(images, changed, sigma.tolist(), strict=True):
        expected = functional.gaussian_blur(image, 5, width)
        torch.testing.assert_close(after.double(), expected.double(), atol=1e-3 + (dtype == torch.uint8), rtol=0)
        assert (after.double() - expected.double()).abs().mean() < 0.01
    assert attention is not None
    assert torch.equal(attention, images[:, :1])


def test_images_are_turned_then_cut_then_mirrored_then_blurred() -> None:
    images = smooth(16, 48, 48)
    augment = Augment(crop=0.0, rotation=40.0, resized_crop=(0.1, 0.5), blur=(2.0, 2.0))
    changed, _ = augment(images, None, generator(5))
    drawn = augment.draw(16, generator(5)).double().numpy()
    for i, (image, after) in enumerate(zip(images, changed, strict=True)):
        turned = functional.rotate(image, 40 * (2 * drawn[4, i] - 1), functional.InterpolationMode.BILINEAR)
        inside = functional.rotate(
            torch.ones_like(image), 40 * (2 * drawn[4, i] - 1), functional.InterpolationMode.BILINEAR
        )
        cut = window(drawn[6:, i], drawn[1:3, i], (0.1, 0.5), (48, 48))
        whole, shown = (
            functional.resized_crop(each, *cut, size=[48, 48], antialias=False) for each in (turned, inside)
        )
        if drawn[0, i] < 0.5:
            whole, shown = whole.flip(-1), shown.flip(-1)
        expected, sure = (functional.gaussian_blur(each, 5, 2.0) for each in (whole, shown))
        away = (after - expected).abs()[sure > 1 - 1e-9]
        assert away.max() < 0.02
        assert away.mean() < 0.003


@pytest.mark.parametrize(
    "least",
    [{"resized_crop": (1.0, 1.0)}, {"rotation": 1e-4}, {"blur": (0.05, 0.1)}, {"rotation": 1e-4, "padding": "zeros"}],
)
def test_the_least_of_a_change_is_no_change(least: dict[str, Any]) -> None:
    images = torch.rand(5, 3, 20, 20, generator=generator())
    changed, _ = Augment(flip=False, crop=0.0, **least)(images, None, generator())
    torch.testing.assert_close(changed, images, atol=1e-3, rtol=0)


@pytest.mark.parametrize("augment", ALL)
def test_the_generator_alone_decides(augment: Augment) -> None:
    images = torch.rand(6, 3, 16, 16, generator=generator())
    before = images.clone()
    state = torch.get_rng_state()
    first, again, other = (augment(images, None, generator(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_any_setting_draws_as_much() -> None:
    images = torch.rand(6, 3, 16, 16)
    states = []
    for augment in (NOTHING, *ALL):
        source = generator()
        augment(images, None, source)
        states.append(source.get_state())
    assert all(torch.equal(states[0], state) for state in states)


@pytest.mark.parametrize("augment", ALL)
@pytest.mark.parametrize("given_as", [torch.contiguous_format, torch.channels_last])
def test_memory_format_out_is_channels_last(augment: Augment, given_as: torch.memory_format) -> None:
    images = torch.rand(6, 3, 16, 16, generator=generator())
    changed, _ = augment(images.contiguous(memory_format=given_as), None, generator())
    assert changed.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(changed, augment(images, None, generator())[0])


def test_to_float() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 8, 8).to(memory_format=torch.channels_last)
    floats = to_float(images)
    assert floats.dtype == torch.float32
    assert floats.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(floats.numpy(), images.numpy().astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_to_input(memory_format: torch.memory_format) -> None:
    images = (torch.rand(2, 3, 5, 7, generator=generator()) * 255).byte().contiguous(memory_format=memory_format)
    before = images.clone()
    mean, std = np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.3, 0.4])
    found = to_input(images, InputSpace(tuple(mean), tuple(std)))
    expected = (images.numpy() / 255 - mean[:, None, None]) / std[:, None, None]
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
    assert torch.equal(images, before)
    with pytest.raises(ArgumentError, match="images have 1 channel but the space has 3"):
        to_input(images[:, :1], InputSpace(tuple(mean), tuple(std)))


@pytest.mark.parametrize(
    "arguments",
    [
        {"crop": 0.6},
        {"crop": -0.1},
        {"zoom": (2.0, 1.0)},
        {"zoom": (0.0, 1.0)},
        {"zoom": (1.0, float("inf"))},
        {"padding": "edge"},
        {"rotation": -1.0},
        {"rotation": 181.0},
        {"rotation": float("nan")},
        {"blur": (0.0, 1.0)},
        {"blur": (2.0, 1.0)},
        {"resized_crop": (0.0, 1.0)},
        {"resized_crop": (0.5, 1.1)},
        {"resized_crop": (0.5, 0.9)},  # with the usual shift
        {"resized_crop": (0.5, 0.9), "crop": 0.0, "zoom": (1.0, 2.0)},
    ],
)
def test_values_out_of_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(arguments))):
        Augment(**arguments)


def test_attention_of_another_size() -> None:
    with pytest.raises(ArgumentError, match=r"attention has shape \[2, 1, 4, 4\]"):
        Augment()(torch.rand(2, 3, 8, 8), torch.rand(2, 1, 4, 4), generator())
    for shape in ((2, 8, 8), (3, 1, 8, 8), (2, 0, 8, 8)):
        with pytest.raises(ArgumentError, match="attention has shape"):
            Augment()(torch.rand(2, 3, 8, 8), torch.rand(shape), generator())
