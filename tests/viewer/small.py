"""Small networks, pictures and work for the tests of the page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gradsculpt.cli.opened import NamedNetwork
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier
from gradsculpt.viewer.pictures import Picture
from gradsculpt.viewer.subjects import Subject
from gradsculpt.viewer.work import Cancelled, Desk, Done, Step, Ticket

CLASSES = ("cat", "dog", "<b>emu</b>")
SPACE = InputSpace((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def classifier(size: int = 12, seed: int = 0, classes: Sequence[str] = CLASSES) -> Classifier:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * size * size, len(classes))]
    return Classifier(nn.Sequential(*layers).eval(), SPACE, classes, size)


def subject(
    key: str = "0", size: int = 12, seed: int = 0, classes: Sequence[str] = CLASSES, run: Path | None = None
) -> Subject:
    made = classifier(size, seed, classes)
    return Subject(key, f"net {key}", lambda _: NamedNetwork(f"net {key}", made), lambda *_: (), run)


def pixels(size: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


PICTURE = Picture("a picture", None, pixels)


def done(work: Callable[[Ticket], Any]) -> Any:
    """Do work at a desk, and return what comes of it."""
    *steps, last = Desk().do(Ticket(), work)
    assert all(isinstance(step, Step) for step in steps)
    assert isinstance(last, Done)
    return last.value


def shares(work: Callable[[Ticket], Any]) -> list[float]:
    """Do work without a desk, and return the shares that its steps tell, one after the other."""
    return [each.share for each in work(Ticket()) if isinstance(each, Step) and each.share is not None]


def cancelled_after(work: Callable[[Ticket], Any], begins: str, share: float = 0.0) -> list[str]:
    """Cancel work once a step that begins so tells a share, and return all it says; it has to end as cancelled.

    The work may be a few steps ahead of what it has told.
    """
    ticket, told = Ticket(), list[str]()
    try:
        for each in work(ticket):
            assert isinstance(each, Step), "it was cancelled, and is done all the same"
            told.append(each.text)
            if each.text.startswith(begins) and each.share is not None and each.share >= share:
                ticket.cancel()
    except Cancelled:
        return told
    raise AssertionError("it was not cancelled")
