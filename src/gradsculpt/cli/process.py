"""What a command does to its own process, and where it writes; a library must not do this to its host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from gradsculpt.errors import ArgumentError
from gradsculpt.machine import cores
from gradsculpt.progress import Reporter

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")

_FILE_WIDTH = 160


def prepare() -> None:
    """Make the process fast at training on a CPU; to be called before the first parallel operation."""
    import torch

    from gradsculpt.process import prepare_process

    prepare_process()
    # PyTorch's own number of threads knows nothing of a container's quota, beyond which threads wait for each other.
    torch.set_num_threads(cores().threads)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise what Python does, as it is no fault if nobody wants to read the rest; Rich would end with status 1."""
        raise BrokenPipeError


def reporter() -> Reporter:
    """Return what tells of work, on standard error, as that is not the result."""
    return Reporter(_Console(file=sys.stderr, soft_wrap=True))


def result_console() -> Console:
    """Return a console on standard output, for the result; in a file, tables are as wide as they need to be."""
    return _Console(file=sys.stdout, width=None if sys.stdout.isatty() else _FILE_WIDTH)


def find_device(name: str) -> torch.device:
    """Return the device of that name, `ArgumentError` if it cannot be had; auto takes the first accelerator."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    devices = [device for device, available in there.items() if available]
    if name != "auto" and name not in devices:
        raise ArgumentError(
            f"--device {name} cannot be had here; what there is: {', '.join(devices)}. Pass one of these, or auto."
        )
    return torch.device(devices[0] if name == "auto" else name)
