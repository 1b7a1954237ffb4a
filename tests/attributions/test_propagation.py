"""The engine: what it sees, what it leaves behind, and what it refuses; through the members that use it."""

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from tests.networks import batch, network
from torch import Tensor, nn

from gradsculpt.attributions import LRP, Attribution, DeepLift, GradCAM, GuidedBackprop
from gradsculpt.errors import ModelError
from gradsculpt.kernels import Softplus

MEMBERS: list[Attribution] = [GuidedBackprop(), GuidedBackprop("slope"), DeepLift(), LRP()]
members = pytest.mark.parametrize("attribution", MEMBERS, ids=lambda member: type(member).__name__)


class Written(nn.Module):
    """A network whose activation and sum are written in a given way."""

    def __init__(
        self, activate: Callable[[Tensor], Tensor], add: Callable[[Tensor, Tensor], Tensor] = torch.add
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.last = nn.Linear(4 * 36, 3)
        self.activate, self.add = activate, add
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activate(self.first(x))
        x = self.activate(self.add(self.second(x), x))
        return self.last(x.flatten(1))


def statement(x: Tensor) -> Tensor:
    x.relu_()
    return x


def in_parts(x: Tensor) -> Tensor:
    x[:, :2].relu_()
    F.relu(x[:, 2:], inplace=True)
    return x


def add_as_statement(a: Tensor, b: Tensor) -> Tensor:
    a.add_(b)
    return a


def add_to(a: Tensor, b: Tensor) -> Tensor:
    a += b
    return a


WAYS = [
    torch.relu, Tensor.relu, torch.relu_, nn.ReLU(), nn.ReLU(inplace=True), F.relu_, statement, in_parts,
    lambda x: x.clamp(min=0), lambda x: x.clamp_(0), lambda x: torch.clip(x, 0), lambda x: x.clamp_min(0),
    lambda x: F.leaky_relu(x, 0.0, True), lambda x: F.hardtanh(x, 0, 1e9), lambda x: F.threshold(x, 0, 0),
]  # fmt: skip


@members
@pytest.mark.parametrize("way", WAYS)
def test_an_activation_is_seen_however_it_is_written(attribution: Attribution, way: Callable[[Tensor], Tensor]) -> None:
    x, y = batch()
    torch.testing.assert_close(attribution(Written(way), x, y), attribution(Written(F.relu), x, y))


@members
@pytest.mark.parametrize("add", [add_as_statement, add_to, lambda a, b: a + b, lambda a, b: a.sub(b, alpha=-1)])
def test_a_sum_is_seen_however_it_is_written(attribution: Attribution, add: Callable[[Tensor, Tensor], Tensor]) -> None:
    x, y = batch()
    torch.testing.assert_close(attribution(Written(F.relu, add), x, y), attribution(Written(F.relu), x, y))


@members
def test_logits_may_be_overwritten_last(attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch()

    def halved(t: Tensor) -> Tensor:
        logits: Tensor = model(t)
        logits.mul_(0.5)
        return logits

    torch.testing.assert_close(attribution(halved, x, y), attribution(lambda t: 0.5 * model(t), x, y))


@members
def test_dropout_in_place_is_nothing_in_evaluation_mode(attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch()
    expected = attribution(model, x, y)
    model[3] = nn.Dropout(0.5, inplace=True)
    torch.testing.assert_close(attribution(model.eval(), x, y), expected)


@members
def test_the_softplus_of_this_package_is_the_one_of_pytorch(attribution: Attribution) -> None:
    x, y = batch()
    torch.testing.assert_close(
        attribution(Written(Softplus(3.0)), x, y), attribution(Written(nn.Softplus(3.0, 1e9)), x, y)
    )


@members
def test_hooks_of_others_are_run_and_stay(attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch()
    expected, calls = attribution(model, x, y), []
    model[2].register_forward_hook(lambda *_: calls.append("forward"))
    model[2].register_full_backward_hook(lambda *_: calls.append("backward"))
    torch.testing.assert_close(attribution(model, x, y), expected)
    assert "forward" in calls
    assert len(model[2]._forward_hooks) == len(model[2]._backward_hooks) == 1


@pytest.mark.parametrize("attribution", [GuidedBackprop(), LRP()], ids=lambda member: type(member).__name__)
def test_what_no_gradient_goes_through_is_left_to_the_network(attribution: Attribution) -> None:
    model, (x, y), passes = network().eval(), batch(), torch.zeros(())

    def counted(t: Tensor) -> Tensor:
        passes.add_(1)
        with torch.no_grad():
            passes.add_(t.clone().relu_().sum() * 0)
        return model(t)

    torch.testing.assert_close(attribution(counted, x, y), attribution(model, x, y))
    assert passes == 1


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return 2 * g


@members
def test_a_function_that_cannot_be_seen_into_is_refused(attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch()
    with pytest.raises(ModelError, match=r"function of its own \(Doubled\)"):
        attribution(lambda t: model(Doubled.apply(t)), x, y)


@members
def test_a_failing_model_leaves_nothing_behind(attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch()
    model.append(nn.Linear(99, 3).double())
    with pytest.raises(ModelError, match="of this size"):
        attribution(model, x, y)
    del model[-1]
    model(x.requires_grad_()).sum().backward()
    assert x.grad is not None


@members
@pytest.mark.parametrize("create_graph", [False, True])
def test_no_graph_outlives_its_map(attribution: Attribution, create_graph: bool) -> None:
    model, (x, y) = network().eval(), batch()
    kept: list[weakref.ref[Tensor]] = []

    def watched(t: Tensor) -> Tensor:
        t = model[0](t)
        kept.append(weakref.ref(t))
        return model[1:](t)

    maps = attribution(watched, x, y, create_graph=create_graph)
    del maps
    gc.collect()
    assert all(reference() is None for reference in kept)


@pytest.mark.parametrize("attribution", [*MEMBERS, GradCAM()], ids=lambda member: type(member).__name__)
def test_under_autocast_maps_are_about_the_same(attribution: Attribution) -> None:
    model, (x, y) = network().eval().float(), batch()
    expected = attribution(model, x.float(), y)
    with torch.autocast("cpu", torch.bfloat16):
        found = attribution(model, x.float(), y)
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found.flatten(1), expected.flatten(1)).min() > 0.98


def mixed() -> nn.Module:
    """Return a network of which each of the members sees something: in place, pooling, normalisation, a shortcut."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(72, 3)).eval()


@pytest.mark.parametrize("attribution", [*MEMBERS, GradCAM(), GradCAM("0")], ids=repr)
def test_threads_do_not_meet(attribution: Attribution) -> None:
    network = mixed()
    batches = [torch.randn(1 + i % 3, 3, 6, 6) for i in range(64)]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = [attribution(network, x) for x in batches]
    with ThreadPoolExecutor(8) as pool:
        maps = list(pool.map(partial(attribution, network), batches))
    assert all(torch.equal(one, other) for one, other in zip(maps, expected, strict=True))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
