"""Networks as ONNX: written by PyTorch's exporter, and read again by ONNX Runtime."""

import io
import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError, ModelError, first_line
from gradsculpt.wording import size_of

MOST = 2_000_000_000
"""Bytes of weights: a file of ONNX, which is one message of Protocol Buffers, has 2 GiB at most."""

INPUT, OUTPUT = "images", "logits"
_BATCH = "batch"


def written(network: nn.Module, example: Tensor, texts: Mapping[str, str], opset: int) -> bytes:
    """Return the content of a file; raise `ModelError` or `ArgumentError` if there can be none.

    Args:
        network: Maps images [N, C, S, S] to logits [N, K].
        example: Two images or more.
        texts: What the metadata shall hold.
        opset: The version of ONNX's operators.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if weights > MOST:
        raise ModelError(
            f"the network's weights take {size_of(weights)}, and a file of ONNX holds less than 2 GiB. Write "
            "TorchScript, which has no such limit."
        )
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT]}
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # on which PyTorch prints what it refuses
            program = _program(network, example)
            converted: Any = torch.onnx.export(program, opset_version=opset, dynamo=True, verbose=False, **names)
    except Exception as error:
        raise ModelError(
            f"the network cannot be written as ONNX ({_reason(error)}). Write TorchScript, or let the network compute "
            "with operations of PyTorch that depend neither on values nor on the number of images."
        ) from error
    proto = converted.model_proto
    version = next(each.version for each in proto.opset_import if not each.domain)
    if version != opset:
        raise ArgumentError(f"opset={opset} cannot be had for this network, which stays at {version}; pass that.")
    _clean(proto.graph, proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param)
    proto.ClearField("metadata_props")
    for key, text in texts.items():
        proto.metadata_props.add(key=key, value=text)
    return bytes(proto.SerializeToString())


def opened(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the function that a file holds."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return run


def _program(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """Return the operations of a network for any number of images; raise what PyTorch does if there are none."""
    shapes = ({0: torch.export.Dim(_BATCH)},)
    try:
        return torch.export.export(network, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        # A network that takes len(x), a number of Python's, is open to other numbers only where its code is read.
        with suppress(Exception):
            return torch.export.export(network, (example,), dynamic_shapes=shapes, strict=True)
        raise error from error.__cause__


def _clean(graph: Any, axis: str) -> None:
    """Take out where each operation comes from, paths of files of this machine, and call an axis by its name."""
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _clean(inner, axis)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.ClearField("metadata_props")
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.dim_param = re.sub(rf"\b{axis}\b", _BATCH, dim.dim_param)
    for tensor in graph.initializer:
        tensor.ClearField("metadata_props")
    graph.ClearField("metadata_props")


def _reason(error: BaseException) -> str:
    """Return the first of what an error of the exporter was caused by, as its own message is about itself."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
