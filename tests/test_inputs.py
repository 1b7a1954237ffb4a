"""InputSpace: the affine map, its inverse, bounds and lengths."""

import dataclasses

import numpy as np
import pytest
import torch

from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace, in_precision_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPACE = InputSpace(MEAN, STD)


def images(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(2, 3, 4, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_normalize_is_the_z_score_of_each_channel() -> None:
    x = images()
    expected = (x.numpy() - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(SPACE.normalize(x), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(dtype: torch.dtype) -> None:
    x = images(dtype)
    back = SPACE.denormalize(SPACE.normalize(x))
    assert back.dtype == dtype
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(SPACE.normalize(SPACE.denormalize(x)), x)


def test_denormalize_does_not_clamp() -> None:
    z = torch.full((1, 3, 1, 1), 10.0)
    assert (SPACE.denormalize(z) > 1).all()


def test_bounds_are_black_and_white() -> None:
    low, high = SPACE.bounds
    assert low.shape == high.shape == (1, 3, 1, 1)
    torch.testing.assert_close(low, SPACE.normalize(torch.zeros(1, 3, 1, 1)))
    torch.testing.assert_close(high, SPACE.normalize(torch.ones(1, 3, 1, 1)))
    assert low.flatten().tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])


def test_pixels_turns_lengths_into_model_units() -> None:
    eps = SPACE.pixels(8 / 255)
    assert eps.shape == (1, 3, 1, 1)
    x = images(torch.float32)
    moved = SPACE.denormalize(SPACE.normalize(x) + eps)
    torch.testing.assert_close(moved, x + 8 / 255)


def test_gradients_pass_through() -> None:
    x = images().requires_grad_()
    SPACE.normalize(x).sum().backward()
    torch.testing.assert_close(x.grad, SPACE.pixels(1.0).double().expand_as(x), rtol=1e-6, atol=0)


def test_value_object() -> None:
    assert InputSpace([0.5], [0.25]) == InputSpace((0.5,), (0.25,))  # type: ignore[arg-type]
    assert isinstance(InputSpace([0.5], [1]).std, tuple)  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPACE.mean = (0.0,)  # type: ignore[misc]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="mean has 2 channels but std has 1"):
        InputSpace((0.5, 0.5), (0.25,))
    with pytest.raises(ArgumentError, match="mean has 0 channels"):
        InputSpace((), ())
    for std in (0.0, -0.25, float("nan")):
        with pytest.raises(ArgumentError, match=rf"std={std}"):
            InputSpace((0.5,), (std,))
        with pytest.raises(ArgumentError, match=rf"std={std}"):
            InputSpace((0.5, 0.5), (0.25, std))


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (3, 4, 5), (3,)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    for operation in (SPACE.normalize, SPACE.denormalize):
        with pytest.raises(ArgumentError, match=rf"shape \[{', '.join(map(str, shape))}\].*\[N, 3, H, W\]"):
            operation(torch.zeros(shape))


def test_images_take_the_precision_of_a_network() -> None:
    x = torch.rand(1, 3, 4, 4)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        for network in (torch.nn.Conv2d(3, 1, 1), torch.nn.BatchNorm2d(3, affine=False)):
            assert in_precision_of(network.to(dtype), x).dtype == dtype
    for taking_any in (torch.nn.Flatten(), torch.sigmoid):
        assert in_precision_of(taking_any, x) is x


@pytest.mark.parametrize("wrong", [0.5, "abc", None, ("0.5",), (True,)])
def test_what_is_no_row_of_numbers_is_refused(wrong: object) -> None:
    with pytest.raises(ArgumentError, match=r"^mean="):
        InputSpace(wrong, (0.5,))  # type: ignore[arg-type]
