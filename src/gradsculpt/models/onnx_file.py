"""Networks as ONNX: written by PyTorch's exporter, and read again by ONNX Runtime."""

from collections.abc import Callable, Mapping
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
            f"the network's weights take {size_of(weights)}, and a file of ONNX holds less than 2 GiB. Write TorchScript, "
            "which has no such limit."
        )
    batch = torch.export.Dim(_BATCH)
    try:
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
        converted: Any = torch.onnx.export(
            program, opset_version=opset, input_names=[INPUT], output_names=[OUTPUT], verbose=False
        )
    except Exception as error:
        raise ModelError(
            f"the network cannot be written as ONNX ({_reason(error)}). Write TorchScript, or let the network compute "
            "with operations of PyTorch that do not depend on values or on the number of images."
        ) from error
    model = converted.model
    if model.opset_imports.get("") != opset:
        raise ArgumentError(
            f"opset={opset} cannot be had for this network, which stays at {model.opset_imports.get('')}; pass that."
        )
    _clean(model)
    model.metadata_props.update(texts)
    return bytes(converted.model_proto.SerializeToString())


def opened(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the function that a file holds."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return run


def _clean(model: Any) -> None:
    """Take out what the exporter notes of where each operation comes from: paths of files of this machine."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for node in graph.all_nodes():
            for each in (node, *node.outputs):
                each.metadata_props.clear()
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
        graph.metadata_props.clear()


def _reason(error: BaseException) -> str:
    """Return the first of what an error of the exporter was caused by, as its own message is about itself."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
