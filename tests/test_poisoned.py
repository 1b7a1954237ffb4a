"""An image that is not finite never changes what its batch mates get, and gets nothing that could be believed."""

import pytest
import torch

from tests.odd import plain
from tests.test_odd_networks import RUNS, images, outcome

ALONE = [name for name in RUNS if not name.startswith(("objective", "group"))]
"""What computes something for each image by itself."""

POISONED = 2


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ALONE)
def test_batch_mates_are_left_alone(name: str, value: float) -> None:
    net, (x, y) = plain(), images(4)
    poisoned = x.clone()
    poisoned[POISONED, 0, 0, 0] = value
    expected = RUNS[name](net, x, y)
    found = outcome(RUNS[name], net, poisoned, y)
    if isinstance(found, str):
        assert "NaN or infinite" in found
        return
    if len(found) != 4:  # several scores of four images, one after the other
        found, expected = found.view(-1, 4).T, expected.view(-1, 4).T
    mates = [0, 1, 3]
    assert torch.equal(found[mates], expected[mates])
    assert not found[POISONED].isfinite().all()
    if "Attack" not in name and "Manipulation" not in name and "Perturbation" not in name:
        assert found[POISONED].isnan().all()


@pytest.mark.parametrize("scale", [0.0, 1e4, -1e4])
@pytest.mark.parametrize("name", ALONE)
def test_flat_images_and_huge_logits_give_finite_values_or_one_line(name: str, scale: float) -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = plain()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x) * (scale or 1.0)

    x, y = images(4)
    if not scale:
        x = torch.full_like(x, 0.5)
    found = outcome(RUNS[name], Scaled(), x, y)
    assert isinstance(found, str) or found.isfinite().all()
