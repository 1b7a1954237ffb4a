"""Many altered copies of a batch, drawn and read a few at a time: what smoothing and integrating have in common."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import Gradient
from gradsculpt.attributions.memory import IMAGES, images_per_pass
from gradsculpt.gradients import Model, differentiable
from gradsculpt.inputs import Bounds
from gradsculpt.isolation import undisturbed
from gradsculpt.kernels import fused
from gradsculpt.numerics import wide
from gradsculpt.outputs import logits_at, predicted


@contextmanager
def arithmetic(create_graph: bool) -> Iterator[None]:
    """Give tensors computed inside the block a graph if it is wanted and none otherwise, whatever the caller set."""
    with torch.inference_mode(False), torch.set_grad_enabled(create_graph):
        yield


@dataclass(frozen=True)
class Passes:
    """A network for many passes, and how many images each of them may have.

    With `split`, a batch that is larger itself goes in several pieces.
    """

    model: Model
    images: int
    split: bool

    def groups(self, copies: int, images: int) -> Iterator[range]:
        """Split so many copies of so many images into groups of one pass each, but for batches that are larger."""
        return groups(copies, images, self.images)

    def by_pieces(self, work: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """Return the work on tensors with a row an image each, all at once or by the pieces that a pass may have."""
        if not self.split or len(rows[0]) <= self.images:
            return work(*rows)
        return torch.cat([work(*piece) for piece in zip(*(t.split(self.images) for t in rows), strict=True)])

    def read(self, base: Attribution, points: Tensor, target: Tensor, *, create_graph: bool) -> Tensor:
        """Return the maps of copies [S, N, C, H, W] of a batch with classes [N], at least in float32."""

        def maps(images: Tensor, classes: Tensor) -> Tensor:
            return base(self.model, images, classes, create_graph=create_graph)

        return shaped(self.by_pieces(maps, points.flatten(0, 1), target.repeat(len(points))), points)


@contextmanager
def passes(
    base: Attribution,
    model: Model,
    x: Tensor,
    create_graph: bool,
    *,
    copies: int | None = None,
    batch_size: int | None = None,
) -> Iterator[Passes]:
    """Give a network whose passes cost less, if they are many plain ones and leave no graph, and how large they may be.

    `base` is what each pass computes, of `copies` of the batch if their number is known. A `batch_size` is taken as it
    is; None has as many images as the memory has room for, and splits the batch itself too, unless its statistics are
    used or all of its graph is kept anyway.
    """
    while not isinstance(base, Gradient) and isinstance(inner := getattr(base, "base", None), Attribution):
        base = inner
    plain = isinstance(base, Gradient) and not create_graph
    several = copies is None or len(list(groups(copies, len(x), batch_size or IMAGES))) > 1
    with fused(model, x) if plain and several else nullcontext(model) as network:
        if batch_size is not None or create_graph:
            yield Passes(network, batch_size or IMAGES, split=False)
        else:
            yield Passes(network, images_per_pass(network, x), split=_by_itself(model))


def _by_itself(model: Model) -> bool:
    """Return whether the map of an image certainly does not depend on the others of its batch."""
    return isinstance(model, nn.Module) and not any(module.training for module in model.modules())


def source(x: Tensor, create_graph: bool) -> Tensor:
    """Return the images that maps are computed from: with their history if the maps shall have a graph."""
    checks.images("x", x)
    return differentiable(x) if create_graph else differentiable(x).detach()


def clean_classes(model: Model, x: Tensor, target: Tensor | None) -> Tensor:
    """Return the class indices [N] of a batch: those given, or the classes predicted for the images as they are."""
    if target is not None:
        return checks.labels(target, len(x)).to(x.device)
    with undisturbed(model), torch.no_grad():
        classes = predicted(logits_at(model, x.detach()))
    if torch.is_autocast_enabled(x.device.type):
        # Some versions of PyTorch would use the weights that were cast without a graph again, in passes that need one.
        torch.clear_autocast_cache()
    return classes


def groups(count: int, images: int, batch_size: int) -> Iterator[range]:
    """Split `count` copies of a batch into groups of at most `batch_size` images, but at least one copy."""
    size = max(1, batch_size // max(1, images))
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def noise_level(x: Tensor, sigma: float, bounds: Bounds | None = None) -> Tensor:
    """Return sigma times the range of each image, its largest minus its smallest entry, [N, 1, 1, 1], or of bounds."""
    if bounds is not None:
        low, high = (torch.as_tensor(edge) for edge in bounds)
        return sigma * (high - low).to(x)
    axes = (1, 2, 3)
    return sigma * (x.amax(dim=axes, keepdim=True) - x.amin(dim=axes, keepdim=True))


def noise(
    like: Tensor, parts: Iterable[range], generator: torch.Generator, draw: Callable[..., Tensor] = torch.randn
) -> Iterator[Tensor]:
    """Yield noise [S, 1, C, H, W], the same for every image of a batch, for each group of draws."""
    for group in parts:
        # One by one, since what a generator gives for two at once is not what it gives one after the other.
        draws = [draw(like.shape[1:], generator=generator, dtype=torch.float32) for _ in group]
        yield torch.stack(draws).to(like)[:, None]


def read(base: Attribution, model: Model, points: Tensor, target: Tensor, *, create_graph: bool) -> Tensor:
    """Return the maps of copies [S, N, C, H, W] of a batch with classes [N], all in one pass, at least in float32."""
    return shaped(base(model, points.flatten(0, 1), target.repeat(len(points)), create_graph=create_graph), points)


def shaped(maps: Tensor, points: Tensor) -> Tensor:
    """Return maps of copies [S, N, C, H, W] of a batch, one after the other, as [S, N, ...], at least in float32."""
    return wide(maps).reshape(*points.shape[:2], *maps.shape[1:])
