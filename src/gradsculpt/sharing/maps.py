"""The picture of maps that a card shows."""

import io

from PIL import Image
from torch import Tensor

from gradsculpt.attributions import Gradient
from gradsculpt.models import Classifier
from gradsculpt.models.imagenet import in_words
from gradsculpt.visualize import colour, contact_sheet, overlay, plain

MOST = 300_000
"""Bytes of the picture."""

_SMALLER = 0.85


def picture_of(classifier: Classifier, images: Tensor) -> bytes:
    """Return a PNG of images, of their gradients, and of one over the other, with what the network says of each.

    The maps are of the class that is predicted, each scaled by itself. The picture has `MOST` bytes at most.

    Args:
        classifier: In eval mode.
        images: Pixels in [0, 1], [N, C, S, S].
    """
    images = images.to(classifier.device)
    probability, target = classifier.probabilities(images).max(dim=1)
    maps = Gradient()(classifier.network, classifier.space.normalize(images), target)
    said = [
        f"{in_words(classifier.classes[index])} ({share:.0%})"
        for index, share in zip(target.tolist(), probability.tolist(), strict=True)
    ]
    rows = list(zip(plain(images), colour(maps), overlay(images, maps), strict=True))
    captions = [(each, "", "") for each in said]
    headings = ["image", "gradient", "gradient on image"]
    return fitted(contact_sheet(rows, headings, [""] * len(rows), captions=captions, bar="absolute"))


def fitted(picture: bytes, most: int = MOST) -> bytes:
    """Return a PNG made smaller until it has so many bytes at most."""
    while len(picture) > most:
        image, stream = Image.open(io.BytesIO(picture)), io.BytesIO()
        width, height = (max(1, round(_SMALLER * side)) for side in image.size)
        image.resize((width, height), Image.Resampling.LANCZOS).save(stream, "PNG", optimize=True)
        picture = stream.getvalue()
    return picture
