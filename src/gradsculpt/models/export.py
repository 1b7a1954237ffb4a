"""Classifiers in files for those who do not have this package: ONNX and TorchScript."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.accidents import check_new
from gradsculpt.errors import GradsculptError, ModelError, RunError, first_line
from gradsculpt.files import whole
from gradsculpt.isolation import own_randomness
from gradsculpt.models import onnx_file, torchscript_file
from gradsculpt.models.classifier import Classifier
from gradsculpt.models.plain import Plain, description, detached, trial
from gradsculpt.outputs import two_sided

ONNX_ENDINGS = (".onnx",)
TORCHSCRIPT_ENDINGS = (".pt", ".pth", ".ts")
"""What the names of files end in."""

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What ONNX needs besides PyTorch: the extra `onnx`."""

LOWEST_OPSET, HIGHEST_OPSET = 18, 23
"""The versions of ONNX's operators that PyTorch writes."""

TOLERANCE = 1e-4
"""How much a logit may differ, as a share of the largest one of all: the rounding of float32 in another order."""

_WIDEST = 4096  # pixels of a side, as of a run
_LOGS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")

Writer = Callable[[nn.Module, Tensor, Mapping[str, str]], bytes]


@dataclass(frozen=True)
class Exported:
    """A file that was written and read again, and how far its logits are from those of the classifier.

    Args:
        path: The file.
        image_size: Side in pixels of the images that it takes.
        difference: The greatest distance of a logit from the classifier's, over the images that were tried.
        largest: The largest magnitude of the classifier's logits over them.
        images: How many were tried.
    """

    path: Path
    image_size: int
    difference: float
    largest: float
    images: int

    def __str__(self) -> str:
        return (
            f"the logits of {self.path} differ from the network's by {self.difference:.1e} at most, on {self.images} "
            f"images in batches of 1, 2 and 5, where the largest is {self.largest:.3g}: a share of {TOLERANCE:g} of it "
            "is rounding"
        )


def export_onnx(
    classifier: Classifier,
    path: str | Path,
    *,
    opset: int = LOWEST_OPSET,
    image_size: int | None = None,
    source: str = "",
) -> Exported:
    """Write a classifier as ONNX, with its normalisation inside, and compare what the file gives with the classifier.

    The file has one input, `images`, float32 [N, C, S, S] in [0, 1] with any N, and one output, `logits` [N, K]; a
    network with a single logit gives two. Class names, image size, mean and standard deviation, source and version are
    in its metadata. It is there only when it was read again by ONNX Runtime, and gave the same logits for random and
    extreme images in batches of 1, 2 and 5, but for rounding: 1e-4 of the largest logit.

    Args:
        classifier: What to write; it is not changed, and may be on any device and in any precision.
        path: The file, which is not there yet and ends in .onnx; folders above it are made.
        opset: Version of ONNX's operators, from 18 to 23: the lower, the more programs read it.
        image_size: Side in pixels of the images that the file takes; by default that of the classifier.
        source: What the network is, for the metadata; by default the name of its class.

    Shape: images [N, C, S, S] in [0, 1] to logits [N, K].
    Returns: The file, and the greatest difference of a logit.
    Raises: ArgumentError if an argument is out of range; RunError if the file is there already or cannot be written;
        ModelError if a package is missing, or the network cannot be written, or the file would give other logits.
    Source: The exporter of PyTorch, torch.onnx.export, and the operators of ONNX, https://onnx.ai/onnx/operators.

    Example:
        >>> from gradsculpt.models import build
        >>> from gradsculpt.inputs import InputSpace
        >>> network = build("convnet", num_classes=2, image_size=16)
        >>> classifier = Classifier(network, InputSpace((0.5,) * 3, (0.25,) * 3), ("cat", "dog"), 16)
        >>> export_onnx(classifier, "cats.txt")
        Traceback (most recent call last):
            ...
        gradsculpt.errors.ArgumentError: cats.txt does not end in .onnx, by which others know ONNX; pass such a name, \
for instance cats.onnx.
    """
    checks.whole("opset", opset, LOWEST_OPSET)
    checks.within("opset", opset, LOWEST_OPSET, HIGHEST_OPSET)
    check_new(Path(path), ONNX_ENDINGS, "ONNX")
    check_packages()
    write = partial(onnx_file.written, opset=int(opset))
    return _export(classifier, Path(path), image_size, source, write, onnx_file.opened)


def export_torchscript(
    classifier: Classifier, path: str | Path, *, image_size: int | None = None, source: str = ""
) -> Exported:
    """Write a classifier as TorchScript, with its normalisation inside, and compare as `export_onnx` does.

    `torch.jit.load` returns a module from images [N, C, S, S] in [0, 1] to logits [N, K]; images of another size are
    an error. What `export_onnx` has in the metadata is JSON in the extra file `metadata.json`. PyTorch calls
    TorchScript deprecated, and still reads it.

    Args:
        classifier: What to write; it is not changed, and may be on any device and in any precision.
        path: The file, which is not there yet and ends in .pt, .pth or .ts; folders above it are made.
        image_size: Side in pixels of the images that the file takes; by default that of the classifier.
        source: What the network is; by default the name of its class.

    Shape: images [N, C, S, S] in [0, 1] to logits [N, K].
    Returns: The file, and the greatest difference of a logit.
    Raises: As `export_onnx`, and ModelError if the network calls a function of Python's that is differentiated by hand.
    Source: The tracer of PyTorch, torch.jit.trace.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from gradsculpt.models import build
        >>> from gradsculpt.inputs import InputSpace
        >>> network = build("convnet", num_classes=2, image_size=16)
        >>> classifier = Classifier(network, InputSpace((0.5,) * 3, (0.25,) * 3), ("cat", "dog"), 16)
        >>> with TemporaryDirectory() as folder:
        ...     exported = export_torchscript(classifier, f"{folder}/cats.pt")
        ...     torch.jit.load(exported.path)(torch.rand(5, 3, 16, 16)).shape
        torch.Size([5, 2])
    """
    check_new(Path(path), TORCHSCRIPT_ENDINGS, "TorchScript")
    return _export(classifier, Path(path), image_size, source, torchscript_file.written, torchscript_file.opened)


def check_packages() -> None:
    """Raise `ModelError` if what ONNX needs is not installed."""
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise ModelError(
            f"ONNX needs the packages {', '.join(missing)}, which are not installed; install them with: pip install "
            "'gradsculpt[onnx]', or write TorchScript."
        )


def _export(
    classifier: Classifier,
    path: Path,
    image_size: int | None,
    source: str,
    write: Writer,
    opened: Callable[[Path], Callable[[Tensor], Tensor]],
) -> Exported:
    """Write a file under a name of its own, compare, and give it its name."""
    checks.of_type("classifier", classifier, Classifier)
    checks.of_type("source", source, str)
    size = classifier.image_size if image_size is None else image_size
    checks.whole("image_size", size, 1)
    checks.within("image_size", size, 1, _WIDEST)
    size = int(size)
    with _quietly():
        copied, batches = detached(classifier), trial(len(classifier.space.mean), size)
        ours = _logits(copied, batches)
        content = write(Plain(copied), batches[1], description(classifier, size, source))
        try:
            with whole(path) as draft:
                draft.write_bytes(content)
                theirs = _read(opened, draft, batches)
                exported = _compared(path, size, ours, theirs)
        except OSError as error:
            raise RunError(
                f"{path} cannot be written ({error.strerror or error}), so there is no file. Choose a folder that can "
                "be written to and has room."
            ) from error
    return exported


def _logits(classifier: Classifier, batches: Sequence[Tensor]) -> list[Tensor]:
    size = batches[0].shape[-1]
    try:
        logits = [two_sided(classifier(images)) for images in batches]
    except Exception as error:
        if isinstance(error, GradsculptError) and size == classifier.image_size:
            raise
        raise ModelError(
            f"the network cannot take {size} x {size} images ({first_line(error)}). Pass the image size that it was "
            f"built for, {classifier.image_size}."
        ) from error
    if not all(bool(each.isfinite().all()) for each in logits):
        raise ModelError(
            "the network's logits are not finite for images in [0, 1], so that nothing could be compared; train it "
            "again, or take another epoch of it."
        )
    return logits


def _read(opened: Callable[[Path], Callable[[Tensor], Tensor]], path: Path, batches: Sequence[Tensor]) -> list[Tensor]:
    try:
        network = opened(path)
        return [network(images) for images in batches]
    except OSError:
        raise
    except Exception as error:
        raise ModelError(
            f"what was written cannot be run on batches of {', '.join(str(len(each)) for each in batches)} images "
            f"({first_line(error)}), so it is not kept. {_MEND}"
        ) from error


_MEND = (
    "Let the network compute the same for an image whatever else is in its batch and whatever was drawn, and take the "
    "number of images from x.shape[0] instead of len(x); or write the other of ONNX and TorchScript."
)


def _compared(path: Path, size: int, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Exported:
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            raise ModelError(
                f"what was written gives logits {list(b.shape)} where the network gives {list(a.shape)}, so it is not "
                f"kept. {_MEND}"
            )
    largest = max(float(each.abs().max()) for each in ours)
    difference = max(float((a - b).abs().nan_to_num(nan=torch.inf).max()) for a, b in zip(ours, theirs, strict=True))
    if difference > TOLERANCE * largest:
        raise ModelError(
            f"what was written gives logits that differ by {difference:.2g} from the network's, the largest of which "
            f"is {largest:.3g}, so it is not kept. {_MEND}"
        )
    return Exported(path, size, difference, largest, sum(map(len, ours)))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporters from telling about themselves, and from leaving a trace in the random state or a graph."""
    logs = [logging.getLogger(name) for name in _LOGS]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), own_randomness(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
