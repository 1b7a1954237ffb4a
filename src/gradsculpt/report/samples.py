"""The images that the page shows, and what a run's maps of them look like: clean, with noise, and attacked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gradsculpt.data import to_float
from gradsculpt.data.base import Bytes
from gradsculpt.evaluation import Protocol
from gradsculpt.evaluation.subject import Subject
from gradsculpt.models import Classifier
from gradsculpt.visualize import colour, plain
from gradsculpt.visualize.render import Picture

ATTACK = "robustness-attack"
"""The group of scores for which images are attacked."""


@dataclass(frozen=True)
class Sample:
    """An image that the page shows: uint8 [S, S, 3], its label and class, and the truth [S, S] if known."""

    pixels: Bytes
    label: int
    caption: str
    truth: Bytes | None


@dataclass(frozen=True)
class Maps:
    """What one run makes of the samples, an entry a sample.

    Args:
        clean: Maps of the images.
        disturbed: Maps of the images with noise.
        attacked: Maps of the attacked images; empty where the protocol attacks none.
        noisy_images: The images with noise.
        attacked_images: The images after the attack on this run's maps; empty where the protocol attacks none.
        predicted: Classes that the run predicts for the clean images.
        correct: Whether they are right.
    """

    clean: list[Picture]
    disturbed: list[Picture]
    attacked: list[Picture]
    noisy_images: list[Picture]
    attacked_images: list[Picture]
    predicted: list[str]
    correct: list[bool]


def sample_maps(classifier: Classifier, samples: Sequence[Sample], protocol: Protocol) -> Maps:
    """Read the samples' maps as the scorecard's protocol reads them, and attack them if it attacks any.

    The noise is that of the protocol's seed for a batch of these images alone, so it is the same for every run whose
    images have one size.

    Args:
        classifier: In eval mode.
        samples: At least one, of one size.
        protocol: How maps are read and disturbed.
    """
    images, labels = batch(samples), torch.tensor([sample.label for sample in samples])
    noise = protocol.noise(images.shape, protocol.generator())
    device = classifier.device
    subject = Subject(
        classifier,
        replace(protocol, attack_images=len(samples)),
        *(images.to(device), labels.to(device), None, noise.to(device)),
        start=0,
    )
    reading = subject.reading
    predicted = reading.logits.argmax(dim=1).tolist()
    attacked, attacked_images = [], []
    if ATTACK in protocol.groups:
        attacked = colour(subject.maps(subject.attacked))
        attacked_images = plain(classifier.space.denormalize(subject.attacked))
    return Maps(
        colour(reading.clean),
        colour(reading.disturbed),
        attacked,
        plain((images + noise).clamp(0, 1)),
        attacked_images,
        [classifier.classes[i] if i < len(classifier.classes) else str(i) for i in predicted],
        [sample.label == i for sample, i in zip(samples, predicted, strict=True)],
    )


def batch(samples: Sequence[Sample]) -> Tensor:
    """Return the samples' pixels as [N, 3, S, S] in [0, 1]."""
    return to_float(torch.from_numpy(np.stack([sample.pixels for sample in samples])).permute(0, 3, 1, 2))


def grey(values: Bytes) -> Picture:
    """Return a truth map [S, S] as a picture."""
    return np.repeat(values[..., None], 3, axis=2)
