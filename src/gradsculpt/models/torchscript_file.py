"""Networks as TorchScript: traced, with a check of the images around the trace, and read again by PyTorch."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt.errors import ModelError, first_line

TEXTS = "metadata.json"
"""The extra file that says what others have to know."""

_DEBUG = ".debug_pkl"


class Checked(nn.Module):
    """A traced network that takes images of the shape that it was traced with alone; others it could compute wrongly.

    Shape: images [N, C, S, S] in [0, 1] to logits [N, K].
    """

    def __init__(self, network: nn.Module, channels: int, size: int) -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        self.size = size

    # What stands here is compiled by TorchScript.
    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        right = images.dim() == 4 and images.dtype == torch.float32 and images.shape[1] == self.channels
        if not right or images.shape[2] != self.size or images.shape[3] != self.size:
            shape = f"[N, {self.channels}, {self.size}, {self.size}]"
            raise ValueError(f"images are {images.dtype} {images.shape}; this network takes float32 {shape} in [0, 1]")
        return self.network(images)  # type: ignore[no-any-return]


def written(network: nn.Module, example: Tensor, texts: Mapping[str, str]) -> bytes:
    """Return the content of a file, of a network that maps images [N, C, S, S] to logits [N, K].

    Raises `ModelError` if there can be none.
    """
    content = io.BytesIO()
    try:
        traced = torch.jit.trace(network, (example,), check_trace=False)
        checked = torch.jit.script(Checked(traced, example.shape[1], example.shape[2]).eval())
        torch.jit.save(checked, content, _extra_files={TEXTS: json.dumps(texts, ensure_ascii=False).encode()})
    except Exception as error:
        raise ModelError(
            f"the network cannot be written as TorchScript ({first_line(error)}). Write ONNX, or let the network "
            "compute with operations of PyTorch alone."
        ) from error
    return _clean(content.getvalue())


def opened(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the function that a file holds."""
    network: Callable[[Tensor], Tensor] = torch.jit.load(io.BytesIO(path.read_bytes()))
    return network


def _clean(content: bytes) -> bytes:
    """Take out what PyTorch notes of where each operation comes from: paths of files of this machine."""
    reader: Any = torch._C.PyTorchFileReader(io.BytesIO(content))
    cleaned = io.BytesIO()
    writer: Any = torch._C.PyTorchFileWriter(cleaned)
    for name in reader.get_all_records():
        if not name.endswith(_DEBUG):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return cleaned.getvalue()
