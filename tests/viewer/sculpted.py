"""A small training of the page: two classes of bright squares, told apart by their colour."""

from pathlib import Path

import numpy as np
from PIL import Image

from gradsculpt.viewer.sculpting import Sculpt, Sculpted
from gradsculpt.viewer.work import Done, Step, Ticket
from tests.viewer.hostile import encoded, packed


def archive_of_squares(path: Path, each: int = 12) -> Path:
    """Write a zip of the class folders red and green."""
    random = np.random.default_rng(0)

    def picture(channel: int) -> bytes:
        pixels = random.integers(0, 80, (16, 16, 3), dtype=np.uint8)
        pixels[3:9, 3:9, channel] = 250
        return encoded(Image.fromarray(pixels))

    names = ("red", "green")
    return packed(path, [(f"set/{names[c]}/{i}.png", picture(c)) for c in (0, 1) for i in range(each)])


def all_of(work: Sculpt, ticket: Ticket | None = None) -> tuple[list[Step], Sculpted]:
    """Do the work, and return its steps and what it made."""
    steps: list[Step] = []
    for message in work(ticket or Ticket()):
        if isinstance(message, Done):
            return steps, message.value
        steps.append(message)
    raise AssertionError
