"""Slow, plain NumPy versions of what the networks compute, from the description of the layers."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def softplus(beta: float) -> Callable[[Array], Array]:
    return lambda x: np.logaddexp(0.0, beta * x) / beta


def convolve(x: Array, weight: Array, bias: Array) -> Array:
    """3 x 3, stride 1, one pixel of zeros around: [C, H, W] to [D, H, W]."""
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.empty((len(weight), height, width))
    for row in range(height):
        for column in range(width):
            window = padded[:, row : row + 3, column : column + 3]
            out[:, row, column] = (weight * window).sum(axis=(1, 2, 3)) + bias
    return out


def halve(x: Array) -> Array:
    """Keep the largest of each 2 x 2 block."""
    channels, height, width = x.shape
    blocks: Array = x.reshape(channels, height // 2, 2, width // 2, 2)
    largest: Array = blocks.max(axis=(2, 4))
    return largest


def lenet(x: Array, parameters: list[Array], activation: Callable[[Array], Array]) -> Array:
    """Conv 32, conv 32, pool, conv 64, conv 64, pool, linear 256, linear K; weight and bias of each in order."""
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    for index, (weight, bias) in enumerate(pairs[:4]):
        x = activation(convolve(x, weight, bias))
        if index in (1, 3):
            x = halve(x)
    hidden = activation(pairs[4][0] @ x.reshape(-1) + pairs[4][1])
    logits: Array = pairs[5][0] @ hidden + pairs[5][1]
    return logits
