"""What a caller hands in to be scored: batches of images in one of three units, read as images in [0, 1]."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.data import to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.fingerprint import fingerprint
from gradsculpt.inputs import InputSpace, as_images
from gradsculpt.models import Classifier

_ROUNDING = 1e-3
_OVERSHOOT = 1e-2  # of pixels that were normalised, in half precision for instance
_BEYOND = 0.5  # so far from [0, 1] that no resampling led there
_CHUNK = 64


class Given(NamedTuple):
    """A batch to be scored: images [N, C, H, W] in [0, 1], labels, truth [N, 1, H, W] if known, digests if wanted."""

    images: Tensor
    labels: Tensor
    truth: Tensor | None
    digests: list[str]


def as_classifier(module: nn.Module, space: InputSpace | None, images: Tensor) -> Classifier:
    """Return a module as a classifier of images in [0, 1], such as these."""
    if isinstance(module, Classifier):
        return module
    space = space or InputSpace((0.0,) * images.shape[1], (1.0,) * images.shape[1])
    classifier = Classifier(module, space, (), images.shape[-1])
    classifier.training = module.training  # of the wrapper alone: parts of a network may have other modes
    return classifier


@dataclass
class Units:
    """Reads images of batches as [0, 1], by what was told of them: what they cannot be is refused, and nothing guessed.

    Args:
        space: How images in floating point are normalised, if they are.
        normalized: Whether they are: True or False; None lets the values tell, which have to leave no doubt.
    """

    space: InputSpace | None
    normalized: bool | None
    _before: bool | None = field(default=None, init=False)

    @classmethod
    def of(cls, module: nn.Module, space: InputSpace | None, normalized: bool | None) -> "Units":
        """Return the units of batches for a module; raise `ArgumentError` if what was told contradicts itself."""
        checks.of_type("classifier", module, nn.Module)
        checks.of_type("space", space, InputSpace | None)
        checks.of_type("normalized", normalized, bool | None)
        if isinstance(module, Classifier):
            if space not in (None, module.space):
                raise ArgumentError(
                    f"space={space} is not that of the classifier, {module.space}, so one of the two would be wrong; "
                    "leave space away, or pass classifier.network."
                )
            space = module.space if normalized else space
        if normalized and space is None:
            raise ArgumentError(
                "normalized=True does not say by what, so that noise and attacks could not be given in pixels; pass "
                "space=InputSpace(mean, std) as well."
            )
        return cls(space, normalized)

    def read(self, images: Tensor) -> Tensor:
        """Return a batch [N, C, H, W] in [0, 1]; raise `ArgumentError` if it is not what was told."""
        if images.dtype == torch.uint8:
            if self.normalized:
                raise ArgumentError("images are in 8 bits, so they are not normalised; leave normalized=True away.")
            images = to_float(images)
        checks.images("images", images)
        if not bool(images.isfinite().all()):
            raise _refused(images, "not all of them finite, so that nothing can be computed; leave these images out")
        self._before = normalized = self._is_normalized(images)
        if not normalized or self.space is None:
            return images
        pixels = self.space.denormalize(images)
        if not _within(pixels, _OVERSHOOT):
            low, high = (float(end) for end in (self.space.bounds[0].min(), self.space.bounds[1].max()))
            raise _refused(
                images,
                f"while {self.space} takes images in [0, 1] to {low:.3g} to {high:.3g}; pass the space that they were "
                "normalised by, or images in 8 bits or in [0, 1], and cut resampled ones off there: clamp(0, 1)",
            )
        return pixels.clamp(0, 1)

    def _is_normalized(self, images: Tensor) -> bool:
        if self.normalized:
            return True
        if _within(images, _ROUNDING):
            return self.normalized is None and bool(self._before)
        if self.space is None or self.normalized is False:
            raise _refused(
                images,
                "which is neither 8 bits (torch.uint8) nor [0, 1]; divide by 255 what goes up to 255, cut resampled "
                "images off by clamp(0, 1), or say of normalised ones space=InputSpace(mean, std), normalized=True",
            )
        if _within(images, _BEYOND):
            raise _refused(images, "normalised or resampled; say normalized=True, or cut them off by clamp(0, 1)")
        if self._before is False:
            raise _refused(
                images,
                "normalised therefore, while batches before were within [0, 1] and were read as pixels; say "
                "normalized=True if all of them are",
            )
        return True


def batches(
    data: Iterable[Any], module: nn.Module, units: Units, limit: int | None, *, digest: bool
) -> Iterator[Given]:
    """Yield what is to be scored, no more than `limit` images in all."""
    done = 0
    for batch in _apart(data):
        rest = slice(None if limit is None else limit - done)
        given, labels, *more = [part for part in _parts(batch) if part is not None]
        images = as_images(module, given)
        pixels = units.read(images[rest])
        classes = checks.labels(labels, len(images))[rest]
        raw = [images[rest], classes, *(checks.tensor("truth", each)[rest] for each in more)]
        truth = _shares(raw[2]) if more else None
        digests = [fingerprint(*image) for image in zip(*raw, strict=False)] if digest else []
        yield Given(pixels, classes, truth[:, None] if truth is not None and truth.ndim == 3 else truth, digests)
        done += len(classes)
        if done == limit:
            return


def _apart(data: Iterable[Any]) -> Iterator[Any]:
    """Yield batches; a whole set, given as a pair of images and labels, comes as several."""
    if isinstance(data, Tensor | np.ndarray | str | Mapping) or not isinstance(data, Iterable):
        raise _strange(data)
    if not isinstance(data, tuple | list) or [getattr(each, "ndim", 0) == 4 for each in data[:2]] != [True, False]:
        yield from data
        return
    images, labels, *more = _parts(data)
    labels = checks.labels(labels, len(images))
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        yield images[part], labels[part], *(each[part] for each in more if each is not None)


def _parts(batch: Any) -> tuple[Any, ...]:
    """Return images, labels, and truth if there is any."""
    if not isinstance(batch, tuple | list) or len(batch) < 2 or any(each is None for each in batch[:2]):
        raise _strange(batch)
    return tuple(batch[:3])


def _strange(batch: Any) -> ArgumentError:
    return ArgumentError(
        f"a batch is {checks.told(batch)}, in which images and labels are not to be told apart; pass batches as tuples "
        "(images, labels) or (images, labels, truth), as DataLoader(dataset, batch_size=64) gives them, or one pair of "
        "all images and labels."
    )


def _shares(values: Tensor) -> Tensor:
    return to_float(values) if values.dtype == torch.uint8 else values.float() if values.dtype == torch.bool else values


def _within(images: Tensor, slack: float) -> bool:
    return images.numel() == 0 or -slack <= float(images.min()) <= float(images.max()) <= 1 + slack


def _refused(images: Tensor, why: str) -> ArgumentError:
    return ArgumentError(f"images have values from {float(images.min()):g} to {float(images.max()):g}, {why}.")
