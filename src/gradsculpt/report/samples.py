"""The images that the page shows, and what a run's maps of them look like: clean, with noise, and attacked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gradsculpt.data import ImageSet, to_float
from gradsculpt.data.base import Bytes
from gradsculpt.evaluation import Protocol, RobustnessRandom
from gradsculpt.models import Classifier
from gradsculpt.visualize import colour, overlay, plain
from gradsculpt.visualize.render import Picture


@dataclass(frozen=True)
class Sample:
    """An image that the page shows: uint8 [S, S, 3], its label and class, the truth [S, S] if known, and its name."""

    pixels: Bytes
    label: int
    caption: str
    truth: Bytes | None
    name: str = ""


@dataclass(frozen=True)
class Maps:
    """What one run makes of the samples, an entry a sample.

    `overlays` are the images with the clean maps over them, and `probability` is that of the predicted class.
    `attacked` are maps of `attacked_images`, those after the attack on this run's maps: both empty, and the size None,
    where the protocol attacks none. Sizes are half-widths in 8-bit levels. `correct` is None where no class is known.
    `explained` is the class that the maps are of, which need not be the predicted one, and `share` its probability.
    """

    clean: list[Picture]
    overlays: list[Picture]
    disturbed: list[Picture]
    attacked: list[Picture]
    noisy_images: list[Picture]
    attacked_images: list[Picture]
    predicted: list[str]
    probability: list[float]
    correct: Sequence[bool | None]
    noise_size: float
    attack_size: float | None
    explained: list[str]
    share: list[float]


def choose(images: ImageSet, count: int) -> list[Sample]:
    """Return images of every class in turn, the same ones for every run.

    Each class starts one image further into itself than the class before: in a set with a rhythm, such as the
    backgrounds of the cells, the first of every class would all be alike.
    """
    rank = np.array([(images.labels[:i] == label).sum() for i, label in enumerate(images.labels)])
    turn = (rank - images.labels) % np.bincount(images.labels)[images.labels]
    chosen = np.argsort(turn * len(images.classes) + images.labels, kind="stable")[:count]
    truth = [None] * len(images) if images.attention is None else images.attention
    labels = images.labels.tolist()
    return [Sample(images.images[i], labels[i], images.classes[labels[i]], truth[i], images.names[i]) for i in chosen]


def sample_maps(classifier: Classifier, samples: Sequence[Sample], protocol: Protocol) -> Maps:
    """Read the samples' maps as the scorecard's protocol reads them, and attack them if it attacks any.

    The noise is that of the protocol's seed for a batch of these images alone, so it is the same for every run whose
    images have one size. The classifier is in eval mode, and there is at least one sample.
    """
    images, labels = batch(samples), torch.tensor([sample.label for sample in samples])
    read = protocol.batch(classifier, images, labels, None, protocol.generator())
    eps = next((group for group in protocol.groups if isinstance(group, RobustnessRandom)), RobustnessRandom()).eps
    attacked, attacked_images, size = [], [], None
    if read.attack is not None:
        x, size = read.attacked(replace(read.attack, images=len(samples))), read.attack.size
        attacked, attacked_images = colour(read.maps_of(x)), plain(classifier.space.denormalize(x))
    probabilities = read.logits.softmax(dim=1)
    probability, best = probabilities.max(dim=1)
    classes, target = best.tolist(), read.target.tolist()
    predicted, explained = (
        [classifier.classes[i] if i < len(classifier.classes) else str(i) for i in chosen]
        for chosen in (classes, target)
    )
    correct = [sample.label == i for sample, i in zip(samples, classes, strict=True)]
    disturbed, noisy = colour(read.noisy_maps(eps)), plain(read.noisy(eps))
    overlays = list(overlay(images, read.maps))
    return Maps(
        *(colour(read.maps), overlays, disturbed, attacked, noisy, attacked_images),
        *(predicted, probability.tolist(), correct, eps, size),
        *(explained, probabilities.gather(1, read.target[:, None])[:, 0].tolist()),
    )


def batch(samples: Sequence[Sample]) -> Tensor:
    """Return the samples' pixels as [N, 3, S, S] in [0, 1]."""
    return to_float(torch.from_numpy(np.stack([sample.pixels for sample in samples])).permute(0, 3, 1, 2))


def grey(values: Bytes) -> Picture:
    """Return a truth map [S, S] as a picture."""
    return np.repeat(values[..., None], 3, axis=2)
