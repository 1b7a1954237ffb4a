"""How the output of a layer is laid out: which of its dimensions are places of the image, and which are channels."""

import re
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from gradsculpt.errors import ModelError
from gradsculpt.graph import Between, history

Layout = Literal["nchw", "nhwc", "tokens"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""Maps [N, C, h, w]; maps [N, h, w, C]; tokens [N, T, C] or [T, N, C], row by row, with or without others around."""

Grid = tuple[int, int]
"""How many places there are in height and width."""

_OTHERS = 5
"""How many tokens may be none of a place, where the network does not say: one of the class, and four registers."""


class Reading(NamedTuple):
    """How an output is to be read.

    Attributes:
        layout: What its dimensions are.
        grid: How many places there are.
        first: The number of the first token that is a place.
        tokens_first: Whether tokens come before images.
    """

    layout: Layout
    grid: Grid
    first: int = 0
    tokens_first: bool = False

    def maps(self, t: Tensor) -> Tensor:
        """Return an output, or its gradient, as maps [N, C, h, w]."""
        if self.layout == "tokens":
            t = t.transpose(0, 1) if self.tokens_first else t
            places: Tensor = t[:, self.first : self.first + self.grid[0] * self.grid[1]]
            return places.reshape(len(t), *self.grid, -1).permute(0, 3, 1, 2)
        return t if self.layout == "nchw" else t.permute(0, 3, 1, 2)


class Reader:
    """Reads the outputs of a pass, by what their dimensions may be and by what computed them.

    Args:
        images: How many images there are.
        size: Their height and width.
        shapes: Of the outputs of all modules; grids are looked for among them.
        others: How many tokens of a network are none of a place, as far as the network says.
        graph: Of the pass.
    """

    def __init__(self, images: int, size: Grid, shapes: Iterable[torch.Size], others: set[int], graph: Between) -> None:
        self._images, self._image, self._others, self._graph = images, size, others, graph
        grids = {grid for shape in shapes if len(shape) == 4 for grid in self._plausible(shape).values()}
        self._grids = grids - {(1, 1)}

    def read(self, t: Tensor, node: Any, layout: Layout | None = None) -> Reading | None:
        """Return how an output is read that a node computed; None if it has no places.

        Raises:
            ModelError: If there is more than one way.
        """
        if t.ndim != (3 if layout == "tokens" else 4 if layout else t.ndim):
            return None
        if t.ndim == 3:
            return self._tokens(t, node, layout)
        if t.ndim != 4:
            return None
        if layout is not None:
            return Reading(layout, _grid(t.shape, layout))
        grids, told = self._plausible(t.shape), self._channels(node, 4)
        if told == "first":  # by a convolution, say, whose maps may have any shape
            return Reading("nchw", _grid(t.shape, "nchw"))
        if told == "neither":
            return None
        if told == "last":
            grids.pop("nchw", None)
        if len(grids) > 1:
            raise self._ambiguous(t, "nchw or nhwc")
        return next((Reading(layout, grid) for layout, grid in grids.items()), None)

    def _plausible(self, shape: torch.Size) -> dict[Layout, Grid]:
        """Return the layouts in which the places of an output have the shape of the image, and their grids."""
        height, width = self._image
        grids: dict[Layout, Grid] = {layout: _grid(shape, layout) for layout in LAYOUTS[:2]}
        # Padding and rounding add or take away a place in each dimension alike.
        slack = 0 if height == width else 2 * max(height, width)
        return {
            layout: (h, w)
            for layout, (h, w) in grids.items()
            if h <= height and w <= width and abs(h * width - w * height) <= slack
        }

    def _tokens(self, t: Tensor, node: Any, layout: Layout | None) -> Reading | None:
        tokens_first = len(t) != self._images
        told, (grids, certain) = self._channels(node, 3), self._token_grids(t.shape[0 if tokens_first else 1])
        if layout is None and (told in ("first", "neither") or not grids):
            return None
        rivals, alike = self._token_grids(t.shape[2])
        if layout is None and told is None and rivals and alike >= certain:
            raise self._ambiguous(t, f"{t.shape[1]} or {t.shape[2]} tokens")
        if len(grids) != 1:
            kinds = " or ".join(f"{h} x {w}" for h, w in sorted(grids)) or "no grid"
            raise self._ambiguous(t, f"{kinds} of tokens")
        (grid,) = grids
        others = t.shape[0 if tokens_first else 1] - grid[0] * grid[1]
        return Reading("tokens", grid, others if self._before(node) else 0, tokens_first)

    def _token_grids(self, tokens: int) -> tuple[set[Grid], bool]:
        """Return the grids that so many tokens may be of, and whether maps of the network have them, or patches may."""
        others = {0, *self._others} if self._others else set(range(_OTHERS + 1))

        def fitting(grids: Iterable[Grid]) -> set[Grid]:
            return {(h, w) for h, w in grids if tokens - h * w in others}

        seen = fitting(self._grids)
        return seen or fitting(_divisions(*self._image)), bool(seen)

    def _before(self, node: Any) -> bool:
        """Return whether tokens that are none of a place stand before the others, as they do unless put after them."""
        sides = set()
        for each in history(node):
            if each.name() == "CatBackward0" and _signed(each._saved_dim, 3) < 2:
                of_images = [following in self._graph for following, _ in each.next_functions]
                if sum(of_images) == 1 and len(of_images) > 1:
                    sides |= {side for side, end in (("before", of_images[-1]), ("after", of_images[0])) if end} or {""}
        if len(sides) > 1 or "" in sides:
            raise ModelError(
                "the layer has tokens of no place both before and after those of the image, so which is which cannot "
                "be told; name a layer with maps, such as the patch embedding."
            )
        return sides != {"after"}

    def _channels(self, node: Any, dimensions: int) -> str | None:
        """Return where the channels of what a node computed stand, by the operations behind it."""
        told: set[str] = set()
        waiting, seen = [(node, False)], set()
        while waiting:
            node, turned = waiting.pop()
            if (node, turned) in seen or node not in self._graph:
                continue
            seen.add((node, turned))
            name = re.sub(r"Backward\w*$", "", node.name())
            answer = _told(name, node, dimensions)
            if answer == "turned":
                turned = not turned
            elif answer is not None:
                told.add(_TURNED[answer] if turned else answer)
            if answer == "turned" or (answer is None and _keeps(name, node, dimensions)):
                waiting += [(following, turned) for following, _ in self._graph.before(node)]
        return told.pop() if len(told) == 1 else None

    def _ambiguous(self, t: Tensor, kinds: str) -> ModelError:
        return ModelError(
            f"the output of the layer has shape {list(t.shape)} for images of {self._image[0]} x {self._image[1]}, "
            f"which may be {kinds}, so its places are unknown; pass layout='nchw', 'nhwc' or 'tokens', or name another "
            "layer."
        )


_TURNED = {"first": "last", "last": "first", "neither": "neither"}
_MAPS = re.compile(
    r".*Convolution.*|.*BatchNorm|NativeGroupNorm|.*(Max|Avg)Pool\dD.*|Upsample.*|PixelShuffle|ReflectionPad.*"
)
_KEEPING = re.compile(
    r"Add|Addcmul|Sub|Rsub|Mul|Div|Neg|Relu|LeakyRelu|PreluKernel|Threshold|Hardtanh|Hardswish|Hardsigmoid|Elu|Gelu|Silu|Mish"
    r"|Softplus|Sigmoid|Tanh|Clamp\w*|Clone|ToCopy|NativeDropout|Native(Group|Layer)Norm|Alias|Exp|Pow|Sqrt|Rsqrt|Where"
    r"|MaskedFill|Cat|Slice|ConstantPadNd|Maximum|Minimum|Abs"
)


def _told(name: str, node: Any, dimensions: int) -> str | None:
    """Return what an operation says about its output: where channels are, or that it changes their place."""
    if _MAPS.fullmatch(name):
        return "first"
    if name in ("Softmax", "LogSoftmax"):
        return "neither"
    if name in ("View", "UnsafeView") and "BatchNorm" in node.next_functions[0][0].name():
        return "first"  # of an instance normalisation, which is one of all channels of all images
    if name == "NativeLayerNorm":
        return "last" if len(node._saved_normalized_shape) == 1 else None
    if name in ("View", "UnsafeView") and node.next_functions[0][0].name() in ("AddmmBackward0", "MmBackward0"):
        return "last"
    if name == "Permute":
        dims = tuple(_signed(dim, len(node._saved_dims)) for dim in node._saved_dims)
        return {(0, 2, 3, 1): "last", (0, 3, 1, 2): "first", (0, 2, 1): "turned"}.get(dims)
    if name == "Transpose" and dimensions == 3:
        dims = tuple(sorted(_signed(dim, 3) for dim in (node._saved_dim0, node._saved_dim1)))
        return "turned" if dims == (1, 2) else None if dims == (0, 1) else "neither"
    return None


def _keeps(name: str, node: Any, dimensions: int) -> bool:
    """Return whether the output of an operation has its channels where its inputs have them."""
    if name in ("View", "UnsafeView"):  # tokens [N, C, h w] of a map [N, C, h, w], or [N, h w, C] of one [N, h, w, C]
        return dimensions == 3 and len(node._saved_self_sym_sizes) in (3, 4)
    return bool(_KEEPING.fullmatch(name)) or (name == "Transpose" and dimensions == 3)


def _grid(shape: torch.Size, layout: Layout) -> Grid:
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    return height, width


def _divisions(height: int, width: int) -> set[Grid]:
    """Return the grids of square patches that an image divides into, exactly, or else with a rest."""
    strides = range(1, max(height, width) + 1)
    exact = {(height // s, width // s) for s in strides if height % s == 0 == width % s}
    return {grid for grid in exact if grid != (1, 1)}


def _signed(dim: int, dimensions: int) -> int:
    """Return a dimension counted from the front; graphs keep negative ones as they are, as unsigned numbers."""
    return (dim - 2**64 if dim >= 2**63 else dim) % dimensions
