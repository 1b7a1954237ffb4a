"""Images and maps of every form in one figure, or laid over each other; what does not fit is refused in one line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gradsculpt.attributions import heatmap, signed_heatmap
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.visualize import colour, overlay, plain, show

X = torch.randint(0, 256, (4, 3, 6, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
MAPS = torch.randn(4, 3, 6, 8, generator=torch.Generator().manual_seed(1))
SPACE = InputSpace((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))

FORMS: dict[str, Callable[[Tensor], Any]] = {
    "8 bits": lambda x: x,
    "in [0, 1]": lambda x: x / 255,
    "half": lambda x: (x / 255).half(),
    "float64": lambda x: (x / 255).double(),
    "array": lambda x: x.numpy(),
    "channels last": lambda x: x.movedim(-3, -1).numpy(),
    "with a history": lambda x: (x / 255).requires_grad_(),
    "list": lambda x: list(x / 255),
}


def pictures(figure: Any) -> list[Any]:
    """Return what is drawn, axis by axis, without the colour bar."""
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


def titles(figure: Any) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.images]


@pytest.mark.parametrize("form", FORMS)
def test_images_of_every_form_are_the_same_picture(form: str) -> None:
    given, maps = FORMS[form](X), MAPS
    shown = pictures(show(given, maps))
    for i in range(4):
        assert np.abs(shown[2 * i].astype(int) - plain(X[i : i + 1] / 255)[0]).max() <= 1
        np.testing.assert_array_equal(shown[2 * i + 1], colour(maps)[i])
    over = overlay(given, maps)
    assert over.shape == (4, 6, 8, 3)
    assert over.dtype == np.dtype(np.uint8)
    for i in range(4):
        image = given[i]
        one = overlay(image, maps[i])
        assert one.shape == (6, 8, 3)
        np.testing.assert_array_equal(one, over[i])
        np.testing.assert_array_equal(pictures(show(image, maps[i], overlay=True))[1], over[i])


MAP_FORMS: dict[str, tuple[Any, Any]] = {
    "[C, H, W]": (X[0], MAPS[0]),
    "[1, C, H, W]": (X[0], MAPS[:1]),
    "[H, W]": (X[0], heatmap(MAPS)[0]),
    "[1, H, W]": (X[0], heatmap(MAPS)[:1]),
    "[1, 1, H, W]": (X[0], heatmap(MAPS)[:1, None]),
    "an array": (X[0], MAPS[0].numpy()),
    "a list": (X[0], [MAPS[0]]),
    "numbers": (X[0], heatmap(MAPS)[0].tolist()),
    "a batch of one": (X[:1], MAPS[:1]),
    "a picture": (Image.fromarray(X[0].permute(1, 2, 0).numpy()), MAPS[0]),
    "grey": (X[0, 0], MAPS[0]),
    "grey with a channel": (X[0, :1], MAPS[0]),
    "channel last": (X[0, :1].permute(1, 2, 0), MAPS[0]),
}


@pytest.mark.parametrize("name", MAP_FORMS)
def test_one_image_and_its_map(name: str) -> None:
    image, one = MAP_FORMS[name]
    figure = show(image, one)
    assert titles(figure) == ["image", "map"]
    expected = colour(heatmap(MAPS)[:1] if ("H, W]" in name and "C" not in name) or name == "numbers" else MAPS[:1])[0]
    np.testing.assert_array_equal(pictures(figure)[1], expected)
    assert len(figure.axes) == 3  # with the colour bar
    assert overlay(image, MAPS[0]).shape in ((6, 8, 3), (1, 6, 8, 3))


def test_a_grid_has_titles_kinds_and_one_colour_bar() -> None:
    figure = show(X, {"gradient": MAPS, "smooth $x_1$": heatmap(MAPS)}, titles=["a", "b", "c", "_d"])
    assert titles(figure)[:6] == ["a", "gradient", "smooth $x_1$", "b", "gradient", "smooth $x_1$"]
    assert len(pictures(figure)) == 12
    assert len(figure.axes) == 13
    assert titles(show(X[0], [MAPS[0], MAPS[1]])) == ["image", "map 1", "map 2"]
    assert titles(show(X[0], titles="cat")) == ["cat"]
    assert len(show(X).axes) == 4  # without maps there is no bar
    assert titles(show(maps=heatmap(MAPS), titles=list("abcd"))) == list("abcd")
    figure.savefig(_nowhere := __import__("io").BytesIO())
    assert _nowhere.getvalue()


@pytest.mark.parametrize(("signed", "ends"), [(False, (0.0, 1.0)), (True, (-1.0, 1.0))])
def test_the_colour_bar_has_the_colours_of_the_maps(signed: bool, ends: tuple[float, float]) -> None:
    figure = show(X[0], MAPS[0], signed=signed, clip=100.0)
    (bar,) = [axis for axis in figure.axes if not axis.images]
    assert bar.get_ylim() == ends
    assert "largest of each map" in bar.get_ylabel()
    values = (signed_heatmap if signed else heatmap)(MAPS[:1], clip=100.0)[0].numpy()
    mappable = bar._colorbar.mappable  # type: ignore[attr-defined]
    told = mappable.to_rgba(values, bytes=True)[..., :3].astype(int)
    assert np.abs(told - pictures(figure)[1]).max() <= 4


def test_normalised_images_are_shown_as_they_were() -> None:
    x = SPACE.normalize(X / 255)
    np.testing.assert_array_equal(pictures(show(x, MAPS, space=SPACE))[0], plain(X / 255)[0])
    np.testing.assert_array_equal(overlay(x, MAPS, space=SPACE), overlay(X, MAPS))


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: show(), "nothing to show"),
    "normalised": (lambda: show(SPACE.normalize(X / 255)), r"values from -.*space=InputSpace\(mean, std\)"),
    "normalised, laid over": (lambda: overlay(SPACE.normalize(X / 255), MAPS), "space=InputSpace"),
    "by another space": (lambda: show(X.float(), space=SPACE), "pass the space that they were normalised by"),
    "up to 255": (lambda: show(X.float()), "values from 0 to 255"),
    "whole numbers": (lambda: show(X.long()), "dtype torch.int64"),
    "two channels": (lambda: show(X[:, :2]), "with 2 channels"),
    "five dimensions": (lambda: show(X[None]), "no image and no batch"),
    "words": (lambda: show("cat.jpg"), "no array of numbers"),
    "other count": (lambda: show(X, MAPS[:3]), "is not 4 maps"),
    "a map of several": (lambda: show(X[0], MAPS), "is not a map"),
    "kinds of other counts": (lambda: show(maps={"a": MAPS, "b": MAPS[:3]}), r"of \[3, 4\] images"),
    "titles": (lambda: show(X, MAPS, titles=["a"]), "1 entries for 4 images"),
    "other size": (lambda: overlay(X, MAPS[..., :4]), "6 x 4 pixels do not lie over images of 6 x 8"),
    "over nothing": (lambda: show(maps=MAPS, overlay=True), "pass both"),
    "not finite": (lambda: show(X, MAPS / 0), "NaN or infinite"),
    "clip": (lambda: show(X, MAPS, clip=101.0), "clip=101"),
    "top": (lambda: show(X, MAPS, top=2.0), "top=2"),
    "empty": (lambda: show(X[:0]), "no image"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_shown_is_refused_in_one_line(name: str) -> None:
    call, said = WRONG[name]
    with pytest.raises(ArgumentError, match=said) as error:
        call()
    assert "\n" not in str(error.value)
