"""No place of this machine is left in what is shared, however it is spelled."""

from pathlib import Path
from typing import Any

import pytest

from gradsculpt.sharing.privacy import Veil, last_part, shared_data

PLACES = ["/home/me/photos", "/mnt/my disk/photos", "~/photos", "C:\\Users\\me\\photos", "../me/photos", "D:/me/photos"]


def texts(content: Any) -> list[str]:
    if isinstance(content, dict):
        return [text for pair in content.items() for each in pair for text in texts(each)]
    return [text for each in content for text in texts(each)] if isinstance(content, list) else [str(content)]


@pytest.mark.parametrize("place", PLACES)
def test_places_of_data_and_weights_are_names(place: str) -> None:
    config = {"data": f"folder:{place}", "weights": f"{place}.pth", "objective": {"init_args": {"a": [f"{place}/x"]}}}
    veil = Veil(Path("/mnt/runs/en"), config)
    shared = veil.over({**config, "note": f"trained on {place}, and on /mnt/runs/en", "left_out": [f"{place}/1.png"]})
    assert shared["data"] == "folder:photos"
    assert shared["weights"] == "photos.pth"
    for text in texts(shared):
        for part in ("me/", "me\\", "disk", "Users", "/mnt", "runs", "1.png"):
            assert part not in text


@pytest.mark.parametrize(
    "text",
    [
        "folder:photos",
        "cells",
        "hf:me/net",
        "https://example.org/a/b",
        "1/255 of 8/255",
        "Gradient(output='logit')",
        "gradsculpt.penalties.L1",
        "cat/dog",
        "and/or a / b",
        "timm/resnet18",
    ],
)
def test_what_is_no_place_stays(text: str) -> None:
    assert Veil(Path("runs/en"), {"data": "cells"}).text(text) == text


def test_a_count_of_what_was_left_out_stays() -> None:
    assert Veil(Path("r"), {}).over({"left_out": {"cat": 3}, "n": 1, "x": None}) == {
        "left_out": {"cat": 3},
        "n": 1,
        "x": None,
    }


def test_names_of_data() -> None:
    assert shared_data("folder:.") == "folder:images"
    assert shared_data("python:mine:images") == "python:mine:images"
    assert [last_part(each) for each in ("a", "a/", "/", "~", "a/b.c")] == ["a", "a", "images", "images", "b.c"]
