from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attributions import Gradient
from gradsculpt.devices import at_hand, placed
from gradsculpt.objectives import CrossEntropy
from gradsculpt.penalties import L1, ElasticNet, Harmonization

X, Y = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Tanh(), nn.Linear(3, 3))
TRANSFORMED: dict[str, Callable[[Tensor], Tensor]] = {
    "attribution": lambda x: Gradient()(NETWORK, x, Y, create_graph=True).square().sum(),
    "proximal map": lambda x: ElasticNet(0.1, 0.2).prox(x, x.abs().mean() + 1).sum(),
    "size": lambda x: L1(x.abs().mean()).value(x).sum(),
    "attention": lambda x: Harmonization(1.0, positive=True).given(X[:, :1]).conjugate_prox(x, 1.0).square().sum(),
    "objective": lambda x: CrossEntropy()(NETWORK, x, Y).loss,
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_what_is_looked_at_may_be_transformed_by_torch_func(name: str) -> None:
    function = TRANSFORMED[name]
    point = X.clone().requires_grad_()
    if name not in ("objective", "attribution"):  # whose passes have leaves of their own
        (expected,) = torch.autograd.grad(function(point), point)
        torch.testing.assert_close(torch.func.grad(function)(X), expected)
    assert torch.func.grad(function)(X).shape == X.shape


def test_values_of_every_kind_are_at_hand() -> None:
    negative = torch.complex(torch.ones(2), -torch.ones(2)).conj().imag
    for t in (torch.ones(2), torch.ones(2, dtype=torch.bfloat16), torch.ones(2).half(), torch.ones(2).long(), negative):
        values = at_hand(t.requires_grad_() if t.is_floating_point() and t.is_leaf else t)
        assert values is not None
        assert values.tolist() == [1, 1]
    assert at_hand(torch.ones(2, device="meta")) is None
    seen = torch.vmap(lambda row: row * float(at_hand(row)[0, 1]))(torch.tensor([[1.0, 2.0]]))  # type: ignore[index]
    assert seen.tolist() == [[2.0, 4.0]]


def test_a_setting_goes_to_another_device_once() -> None:
    value, like = torch.ones(2), torch.ones(2, device="meta")
    assert placed(value, like) is placed(value, like)
    assert placed(value, like.double()).dtype == torch.float64
    assert placed(value, value) is value
