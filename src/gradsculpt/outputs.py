"""What a network returns, read as one row of logits an image."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor

from gradsculpt.diagnosis import explained
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Model
from gradsculpt.wording import counted

Key = str | int
"""The name of an output, or its position."""

_USUAL = "logits"


def logits_at(model: Model, x: Tensor) -> Tensor:
    """Return the logits [N, K] that a model gives for images [N, C, H, W].

    Raises: ModelError as `logits_of`, if the network overwrites its images, or if PyTorch refuses to compute it.
    """
    version = None if x.is_inference() else x._version
    with explained():
        output = model(x)
    if version is not None and x._version != version:
        raise ModelError(
            "the network overwrites the images that it is given, so that whatever is computed next would be of others. "
            "Let its first operation work out of place (x = x - mean instead of x -= mean)."
        )
    return logits_of(output, len(x))


def logits_of(output: object, images: int, key: Key | None = None) -> Tensor:
    """Find the logits in what a network returned for so many images, where there is one reading of it.

    Args:
        output: Logits [N, K]; or a single logit an image, [N] or [N, 1]; or a tuple, list, mapping, named tuple or
            dataclass, of which the entry called `logits` counts, or else the only one of such a shape.
        images: The number N of images.
        key: The name or position of the entry that counts, if it is not to be guessed.

    Returns:
        The logits, [N, K], with their graph; [N, 1] for a single logit, of which `two_sided` makes two.

    Raises: ModelError if there is no such entry, or more than one.

    Example:
        >>> logits_of({"logits": torch.zeros(2, 3), "features": torch.zeros(2, 8)}, images=2).shape
        torch.Size([2, 3])
    """
    if key is None and isinstance(output, Tensor):
        if (output.ndim == 2 or output.ndim == 1) and output.shape[0] == images and output.numel():
            if not output.is_floating_point():
                raise _unreadable(output, images, f"has dtype {output.dtype}, which is no logit")
            return output if output.ndim == 2 else output[:, None]
        raise _unreadable(output, images, "is not one row of class scores an image")
    entries = _entries(output)
    wanted = key if key is not None else _USUAL
    if wanted in entries:
        return logits_of(entries[wanted], images)
    if key is not None:
        raise _unreadable(output, images, f"has no entry {key!r}; it has {', '.join(map(repr, entries)) or 'none'}")
    likely = [value for value in _distinct(entries) if _is_logits(value, images)]
    if len(likely) != 1:
        raise _unreadable(output, images, f"has {len(likely) or 'no'} entries that may be the logits")
    return logits_of(likely[0], images)


def two_sided(logits: Tensor) -> Tensor:
    """Return logits [N, K] of at least two classes: a single logit z is that of class 1 against class 0.

    It becomes (-z / 2, z / 2), whose softmax is the sigmoid of z for class 1, and which treats the classes alike.

    Example:
        >>> two_sided(torch.tensor([[2.0]])).softmax(dim=1)[0, 1] == torch.tensor(2.0).sigmoid()
        tensor(True)
    """
    return torch.cat([-logits / 2, logits / 2], dim=1) if logits.shape[1] == 1 else logits


def class_logits(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logit of each image's class, [N]; a single logit is the one there is, whatever the class."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.gather(1, classes[:, None])[:, 0]


def predicted(logits: Tensor) -> Tensor:
    """Return the class of each image, [N], by its logits [N, K]."""
    return two_sided(logits).argmax(dim=1)


def _entries(output: object) -> dict[Key, object]:
    """Return what an output holds, by name and, where it has an order, by position too."""
    if isinstance(output, Mapping):
        return dict(output)
    named = output._asdict() if hasattr(output, "_asdict") else {}
    if is_dataclass(output) and not isinstance(output, type):
        named = {each.name: getattr(output, each.name) for each in fields(output)}
    if isinstance(output, Sequence) and not isinstance(output, str):
        named |= dict(enumerate(output))
    if not named and hasattr(output, _USUAL):
        named = {_USUAL: getattr(output, _USUAL)}
    return named


def _distinct(entries: Mapping[Key, object]) -> list[object]:
    return list({id(value): value for value in entries.values()}.values())


def _is_logits(value: object, images: int) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[0] == images > 0 and value.is_floating_point()


def _unreadable(output: object, images: int, fact: str) -> ModelError:
    return ModelError(
        f"the model returns {_told(output)} for {counted(images, 'images')}, which {fact}; logits [{images}, K] "
        "are needed. Wrap "
        "it: gradsculpt.models.OutputOf(model, output_key=...) with the name or position of the logits, or a module "
        "that returns them."
    )


def _told(value: object, deep: bool = True) -> str:
    """Return what something is, in a few words."""
    if isinstance(value, Tensor):
        return f"{'a tensor ' if deep else ''}{list(value.shape)}"
    kind, entries = type(value).__name__, _entries(value)
    if not deep or not entries:
        return f"a {kind}" if deep else kind
    shown = [f"{name}: {_told(entry, deep=False)}" for name, entry in list(entries.items())[:5]]
    return f"a {kind} of {', '.join(shown)}{', ...' if len(entries) > 5 else ''}"
