"""Images as the Fourier coefficients of decorrelated colours."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError

Colours = tuple[tuple[float, ...], ...]
"""C rows of C numbers: a matrix whose product with its own transpose is the covariance of the colours."""

IMAGENET_COLOURS: Colours = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Those of the pictures of ImageNet, as Lucid has them (github.com/tensorflow/lucid, lucid/optvis/param/color.py): the
columns are bright against dark, red against blue, and green against the other two."""


@dataclass(frozen=True)
class Spectrum:
    """Images in [0, 1], written as the Fourier coefficients of decorrelated colours.

    A coefficient of frequency f counts as 1 / f^decay, as in natural pictures, and planes are mixed into colours that
    vary together as theirs do. Equal steps in every coefficient then make large, coherent forms out of what equal steps
    in every pixel turn into noise. A sigmoid keeps the pixels within bounds.

    Where all coefficients have standard deviation 1, the planes have variance 1, at any side.

    Args:
        side: Height and width of the images.
        colours: How planes are mixed; only the proportions matter, as the longest column is scaled to length 1.
        decay: Exponent of the frequency; 0 for white noise.

    Shape:
        Coefficients [N, *shape] to images [N, C, side, side].

    Source: Olah et al., Distill 2017 (Feature Visualization).

    Example:
        >>> spectrum = Spectrum(side=8)
        >>> spectrum.images(torch.zeros(2, *spectrum.shape)).unique()
        tensor([0.5000])
    """

    side: int
    colours: Colours = IMAGENET_COLOURS
    decay: float = 1.0

    def __post_init__(self) -> None:
        checks.each_at_least(self, side=2, decay=0.0)
        if not self.colours or any(len(row) != len(self.colours) for row in self.colours):
            raise ArgumentError(
                f"colours={self.colours!r} is no square matrix, so planes cannot be mixed; pass C rows of C numbers."
            )
        checks.positive("the longest column of colours", torch.tensor(self.colours).norm(dim=0).max())

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of one image's coefficients, [C, side, side // 2 + 1, 2]; real and imaginary parts come last."""
        return len(self.colours), self.side, self.side // 2 + 1, 2

    @cached_property
    def weights(self) -> Tensor:
        """What the coefficient of each frequency counts, [side, side // 2 + 1]."""
        across = torch.fft.fftfreq(self.side, dtype=torch.float64)
        # The mean has frequency 0; it counts as much as the lowest frequency that there is.
        counts = torch.hypot(across[:, None], across).clamp_min(1 / self.side) ** -self.decay
        # Real and imaginary parts both vary, hence the 2.
        counts /= (2 * counts.square().mean()).sqrt()
        # In these columns a coefficient and its mirror image stand both, and half of their variation cancels.
        counts[:, [0, self.side // 2] if self.side % 2 == 0 else [0]] *= math.sqrt(2)
        return counts[:, : self.side // 2 + 1]

    def images(self, coefficients: Tensor) -> Tensor:
        """Return the images [N, C, side, side] in [0, 1] of coefficients."""
        scaled = torch.view_as_complex((coefficients * self.weights.to(coefficients)[..., None]).contiguous())
        planes = torch.fft.irfft2(scaled, s=(self.side, self.side), norm="ortho")
        mix = planes.new_tensor(self.colours)
        mix = mix / mix.norm(dim=0).max()
        # A sum of products and no matrix product, which autocast would turn into bfloat16.
        coloured: Tensor = (mix[:, :, None, None] * planes[:, None]).sum(dim=2)
        return coloured.sigmoid()


def colour_matrix(images01: Tensor) -> Colours:
    """Return the colours of images [N, C, H, W] in [0, 1]: the principal axes of their pixels.

    Returns:
        The square root of the covariance of the channels over all pixels, the longest axis in the first column; an
        `ArgumentError` if all pixels are alike.

    Example:
        >>> grey = torch.rand(4, 1, 8, 8).expand(-1, 3, -1, -1)
        >>> [[round(abs(value / row[0]), 3) for value in row] for row in colour_matrix(grey)]
        [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    checks.images("images01", images01)
    pixels = images01.detach().double().transpose(0, 1).flatten(1).cpu()
    pixels = pixels - pixels.mean(dim=1, keepdim=True)
    values, axes = torch.linalg.eigh(pixels @ pixels.T / max(1, pixels.shape[1]))
    if not bool(values.max() > 0):
        raise ArgumentError(
            "all pixels of images01 are alike, so their colours have no spread; pass more images, or IMAGENET_COLOURS."
        )
    # An axis has no sign of its own: its largest entry is made positive.
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    return tuple(tuple(row) for row in (axes * values.clamp_min(0).sqrt()).flip(1).tolist())
