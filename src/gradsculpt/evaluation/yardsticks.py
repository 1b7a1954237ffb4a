"""What a score is held against: what maps that know nothing of the image score, and what guessing gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from torch import Tensor

from gradsculpt.attributions import Attribution
from gradsculpt.evaluation.batch import EvaluationBatch, MapAttack
from gradsculpt.evaluation.groups.base import Column, ScoreGroup
from gradsculpt.gradients import Model

Kind = Literal["random_map", "chance"]
"""Independent noise in every pixel; or the map's own values, put in random places."""

KINDS: tuple[Kind, ...] = get_args(Kind)

TRIALS = 32
"""For how many images, the first ones, maps are replaced: enough for a yardstick, and little beside the scores."""


_COMPUTED = ("x", "logits", "maps")


@dataclass(eq=False)
class _Ignorant(Attribution):
    """Maps that know nothing of an image, drawn anew at every call and for every image by itself.

    Both kinds have the shape and the strength of the clean maps, so that scores in units of maps have a yardstick too.
    """

    kind: Kind
    clean: Tensor
    sources: Sequence[torch.Generator]
    asked: bool = False

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return one map an image, of the first images of the batch or of several copies of them."""
        self.asked = True
        places = [i % len(self.clean) for i in range(len(x))]
        maps = torch.stack([self._drawn(self.clean[i], self.sources[i]) for i in places]).to(x)
        # A zero slope, for groups that differentiate maps.
        return maps + 0 * x.flatten(1).sum(dim=1).view(-1, *[1] * (maps.ndim - 1)) if create_graph else maps

    def __deepcopy__(self, memo: object) -> "_Ignorant":
        return self  # refers to no layer that a copy of a network would have as well

    def _drawn(self, values: Tensor, source: torch.Generator) -> Tensor:
        if self.kind == "chance":
            pixels = values.flatten(-2)
            return pixels[..., torch.randperm(pixels.shape[-1], generator=source).to(values.device)].view_as(values)
        size = values.double().square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
        return torch.randn(values.shape, generator=source).to(values) * size.to(values)


@dataclass(eq=False)
class _Unmoved(EvaluationBatch):
    """A batch whose images no attack moves: maps that do not depend on the image leave it nothing to follow."""

    def attacked(self, attack: MapAttack) -> Tensor:
        """Return the first images as they are, [M, C, H, W]."""
        return self.x[: self.first(attack.images)]


def trial(batch: EvaluationBatch, count: int = TRIALS) -> EvaluationBatch:
    """Return the images of a batch that are among the first ones, with the maps that it has."""
    given = {each.name: getattr(batch, each.name) for each in fields(batch) if each.init}
    cut = slice(batch.first(count))
    images = {name: given[name] for name in ("images", "labels", "ground_truth", "noise")}
    fewer = EvaluationBatch(**given | {key: None if value is None else value[cut] for key, value in images.items()})
    vars(fewer).update({name: getattr(batch, name)[cut] for name in _COMPUTED if name in vars(batch)})
    return fewer


def ignorant(group: ScoreGroup, kind: Kind, batch: EvaluationBatch) -> list[Column]:
    """Return what a group gives in its table for maps of a kind in place of the network's; nothing if it reads none.

    Whatever it scores, these are the yardsticks of its scores. The maps depend on the kind, the seed of the batch and
    the number of the image alone.

    A group that these maps do not suit, as it wants an attribution of a certain class, has no yardsticks, and is
    otherwise what it was.
    """
    given = {each.name: getattr(batch, each.name) for each in fields(batch) if each.init}
    seeds = [batch.seed + len(KINDS) * (batch.start + i) + KINDS.index(kind) for i in range(len(batch))]
    attribution = _Ignorant(kind, batch.maps, [torch.Generator().manual_seed(seed) for seed in seeds])
    stand_in = _Unmoved(**given | {"attribution": attribution})
    vars(stand_in).update({name: getattr(batch, name) for name in ("x", "logits")})  # which are not of the maps
    try:
        columns = [each for each in group.measure(stand_in) if each.point is None]
    except Exception:  # of whatever kind: somebody's own group has done its work by now
        return []
    return columns if attribution.asked else []


def guessing(labels: Tensor) -> Mapping[str, float]:
    """Return what an answer that looks at no image scores: for every image the shares of the classes, by score.

    Shape: true classes [N].

    Example:
        >>> guessed = guessing(torch.tensor([0, 0, 0, 1]))
        >>> guessed["accuracy"], guessed["brier"], round(guessed["negative_log_likelihood"], 3)
        (0.75, 0.375, 0.562)
    """
    counts = torch.bincount(labels).double()
    shares = counts[counts > 0] / counts.sum()
    return {
        "accuracy": float(shares.max()),
        "confidence": float(shares.max()),
        "brier": float(1 - shares.square().sum()),
        "negative_log_likelihood": float(-(shares * shares.log()).sum()),
        "calibration_error": 0.0,  # it says how often it is right, so that a small error alone proves nothing
    }
