"""The Softplus mode against the formula of each smooth function, written out in NumPy."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.kernels import softplus_for_relu

BETA = 2.5
Array = npt.NDArray[np.float64]


def soft(x: Array) -> Array:
    smooth: Array = np.logaddexp(0, BETA * x) / BETA
    return smooth


CASES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Array], Array]]] = {
    "relu": (F.relu, soft),
    "relu6": (F.relu6, lambda x: soft(x) - soft(x - 6)),
    "relu6 as a module": (nn.ReLU6(inplace=True), lambda x: soft(x) - soft(x - 6)),
    "relu6 as a hardtanh": (lambda t: F.hardtanh(t, 0, 6), lambda x: soft(x) - soft(x - 6)),
    "clamp": (lambda t: t.clamp(0, 4), lambda x: soft(x) - soft(x - 4)),
    "leaky": (lambda t: F.leaky_relu(t, 0.2), lambda x: 0.2 * x + 0.8 * soft(x)),
    "prelu": (lambda t: F.prelu(t, t.new_tensor([0.3])), lambda x: 0.3 * x + 0.7 * soft(x)),
}


@pytest.mark.parametrize("name", CASES)
def test_corners_are_rounded_where_they_are(name: str) -> None:
    function, formula = CASES[name]
    x = np.linspace(-4, 10, 57)
    with softplus_for_relu(BETA):
        found = function(torch.from_numpy(x.copy()))
    np.testing.assert_allclose(found.numpy(), formula(x), atol=1e-12)


def test_a_relu6_saturates_at_six_and_is_half_way_at_three() -> None:
    with softplus_for_relu(BETA):
        values = F.relu6(torch.tensor([-20.0, 3.0, 20.0], dtype=torch.float64))
    torch.testing.assert_close(values, torch.tensor([0.0, 3.0, 6.0], dtype=torch.float64), rtol=0, atol=1e-12)
