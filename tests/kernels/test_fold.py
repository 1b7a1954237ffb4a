"""Folded passes against the network's own: whatever the network does, the values and gradients are the same."""

import gc
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.gradients import Recording, input_gradient, repeated
from gradsculpt.kernels import Folded

F64 = torch.float64


def images(n: int = 3, side: int = 8, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(n, 3, side, side, dtype=dtype, generator=torch.Generator().manual_seed(5))


def trained(model: nn.Module) -> nn.Module:
    """Return a network in float64 and evaluation mode whose statistics and parameters are not those of a new one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator) * (0.1 if tensor.ndim < 2 else 0.3)
                tensor.copy_(1 + noise.abs() if name.endswith(("var", "bn.weight")) else noise)
    return model.double().eval()


class Block(nn.Module):
    """Inverted bottleneck with padding outside the convolution, as in EfficientNet."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.expand, self.bn0 = nn.Conv2d(width, 6, 1, bias=False), nn.BatchNorm2d(6, eps=1e-3)
        self.depth, self.bn1 = nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.BatchNorm2d(6)
        self.project, self.bn2 = nn.Conv2d(6, width, 1), nn.BatchNorm2d(width)
        self.cut = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        y = self.cut(self.bn0(self.expand(x)))
        y = self.cut(self.bn1(self.depth(F.pad(y, (1, 1, 1, 1)))))
        return self.bn2(self.project(y)) + x


class Residual(nn.Module):
    """A block whose sum and activations are done in place, as in torchvision."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width, affine=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x
        return self.relu(y)


class Layer(nn.Module):
    """A convolution and a normalisation, put together by a function."""

    def __init__(self, body: Callable[["Layer", Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.body, self.calls, self.kept = body, 0, []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.body(self, x)


def network(*blocks: nn.Module) -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(5))
    model = nn.Sequential(*blocks, *head)
    with torch.no_grad():
        model(images(1, dtype=torch.float32))
    return trained(model)


def stem(*blocks: nn.Module, act: nn.Module | None = None) -> nn.Module:
    return network(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), act or nn.ReLU(), *blocks)


def twice(model: Layer, x: Tensor) -> Tensor:
    return F.relu(model.bn(model.conv(F.relu(model.bn(model.conv(x))))))


def twice_apart(model: Layer, x: Tensor) -> Tensor:
    return F.relu(model.other(model.conv(F.relu(model.bn(model.conv(x))))))


def looked_at(model: Layer, x: Tensor) -> Tensor:
    y = model.conv(x)
    return F.relu(model.bn(y)) + y.tanh()


def looked_at_later(model: Layer, x: Tensor) -> Tensor:
    y = model.conv(x)
    z = F.relu(model.bn(y))
    return z if model.calls < 3 else z + y.tanh()


def sometimes_before(model: Layer, x: Tensor) -> Tensor:
    y = model.conv(x)
    return F.relu(model.bn(y if model.calls < 3 else y.sin()))


def normalised_looked_at(model: Layer, x: Tensor) -> Tensor:
    y = model.bn(model.conv(x))
    return F.relu(y) + y.tanh()


def another_activation(model: Layer, x: Tensor) -> Tensor:
    y = model.bn(model.conv(x))
    return F.relu(y) if model.calls < 3 else F.relu6(y).tanh()


def changed_input(model: Layer, x: Tensor) -> Tensor:
    x = x + 1
    y = model.conv(x)
    if model.calls > 2:
        with torch.no_grad():
            x.mul_(2)
        return y.tanh()
    return F.relu(model.bn(y))


def changed_activation(model: Layer, x: Tensor) -> Tensor:
    y = F.relu6(model.bn(model.conv(x)))
    y += 1
    return y * x


def other_norm_later(model: Layer, x: Tensor) -> Tensor:
    return F.relu((model.bn if model.calls < 3 else model.other)(model.conv(x)))


def interleaved(model: Layer, x: Tensor) -> Tensor:
    with torch.no_grad():
        first, second = model.conv(x), model.conv(x + 1)
        a = model.bn(first)
        a = F.relu(a) if model.calls < 3 else a.tanh()
        return a + F.relu(model.bn(second)) + x * 0


def functional(model: Layer, x: Tensor) -> Tensor:
    y = F.conv2d(x, model.conv.weight, None, 1, "same")
    y = F.conv2d(input=y, weight=model.conv.weight, padding=1)
    return F.relu(F.batch_norm(input=y, running_mean=model.bn.running_mean, running_var=model.bn.running_var), True)


def made_weight(model: Layer, x: Tensor) -> Tensor:
    return F.relu(model.bn(F.conv2d(x, model.conv.weight * model.calls)))


def kept(model: Layer, x: Tensor) -> Tensor:
    model.kept = [*model.kept[-1:], model.conv(x)]
    before = model.kept[0].detach().tanh().mean() if model.calls > 1 else 0.0
    return F.relu(model.bn(model.kept[-1])) * before


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "inverted bottleneck": lambda: stem(Block(), Block(), act=nn.ReLU6()),
    "residual, in place": lambda: stem(Residual(), Residual()),
    "in place after the norm": lambda: stem(act=nn.ReLU6(inplace=True)),
    "hardtanh": lambda: stem(act=nn.Hardtanh(-0.5, 0.5)),
    "softplus": lambda: stem(Residual(), act=nn.Softplus()),
    "no norm": lambda: network(nn.Conv2d(3, 4, 3), nn.ReLU()),
    **{
        body.__name__: (lambda body=body: network(Layer(body)))
        for body in (
            twice,
            twice_apart,
            looked_at,
            looked_at_later,
            sometimes_before,
            normalised_looked_at,
            another_activation,
            changed_activation,
            other_norm_later,
            functional,
            interleaved,
            made_weight,
            kept,
        )
    },
}
FOLDED = {"inverted bottleneck": 7, "residual, in place": 5, "in place after the norm": 1, "hardtanh": 1, "softplus": 3}


def reset(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, Layer):
            module.calls, module.kept = 0, []


def gradients(model: nn.Module, passes: int, *, folded: bool = True) -> list[tuple[Tensor, Tensor]]:
    """Return values and input gradients of several passes."""
    reset(model)
    scope = repeated(model)
    found = []
    for i in range(passes):
        if folded:
            with scope:
                found.append(input_gradient(lambda t: model(t).square().sum(dim=1), images() + i))
        else:
            found.append(input_gradient(lambda t: model(t).square().sum(dim=1), images() + i))
    return found


def folded_in(scope: Folded) -> int:
    return sum(link.folded is not None for link in scope._links.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_pass_is_that_of_the_network(name: str) -> None:
    model = NETWORKS[name]()
    torch.testing.assert_close(gradients(model, 4), gradients(model, 4, folded=False), rtol=1e-10, atol=1e-12)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", FOLDED)
def test_what_can_be_folded_is(name: str) -> None:
    model = NETWORKS[name]()
    scope = Folded(model)
    for _ in range(2):
        with scope:
            input_gradient(lambda t: model(t).sum(dim=1), images())
    assert folded_in(scope) == FOLDED[name]


def test_single_precision_and_batches_of_every_size_on_one_thread() -> None:
    model, threads = stem(Block(), Residual(), act=nn.ReLU6()).float(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for count in (1, 3, 20, 0):
            x, scope = images(count, dtype=torch.float32), Folded(model)
            expected = input_gradient(lambda t: model(t).sum(dim=1), x)
            for _ in range(2):
                with scope:
                    found = input_gradient(lambda t: model(t).sum(dim=1), x)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    finally:
        torch.set_num_threads(threads)


def test_an_input_that_is_changed_before_anybody_sees_what_was_made_of_it() -> None:
    model = network(Layer(changed_input))
    reset(model)
    with torch.no_grad():
        expected = [model(images()) for _ in range(4)]
        reset(model)
        scope = Folded(model)
        for value in expected:
            with scope:
                torch.testing.assert_close(model(images()), value, rtol=1e-10, atol=1e-12)


def learnt(model: nn.Module) -> Folded:
    scope = Folded(model)
    for _ in range(2):
        with scope:
            input_gradient(lambda t: model(t).sum(dim=1), images())
    assert folded_in(scope)
    return scope


def check(model: nn.Module, scope: Folded) -> None:
    expected = input_gradient(lambda t: model(t).sum(dim=1), images())
    for _ in range(2):
        with scope:
            torch.testing.assert_close(input_gradient(lambda t: model(t).sum(dim=1), images()), expected)


@pytest.mark.parametrize("kind", ["weight", "bias", "running_var", "running_mean"])
def test_a_network_that_is_changed_between_passes(kind: str) -> None:
    for index in (0, 1):
        model = stem(Residual())
        scope = learnt(model)
        tensor = getattr(model[index], kind, None)
        if tensor is not None:
            with torch.no_grad():
                tensor.mul_(1.5).add_(0.1)
            check(model, scope)


def test_a_network_that_goes_to_training_mode() -> None:
    model = stem(Residual())
    scope = learnt(model)
    before = [buffer.clone() for buffer in model.buffers()]
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    check(model, scope)


def test_hooks_are_given_what_their_layers_compute() -> None:
    model, seen = stem(Residual()), []
    scope = learnt(model)
    handle = model[0].register_forward_hook(lambda module, args, result: seen.append(result))
    check(model, scope)
    handle.remove()
    expected = F.conv2d(images(), model[0].weight, model[0].bias, 2, 1)
    assert len(seen) == 3
    assert all(torch.allclose(maps, expected) for maps in seen)


def test_hooks_for_the_way_back_are_run_around_their_layers() -> None:
    model, seen = stem(Residual()), []
    scope = learnt(model)
    handle = model[1].register_full_backward_hook(lambda module, before, after: seen.append(before[0]))
    check(model, scope)
    handle.remove()
    assert len(seen) == 3
    assert all(torch.allclose(gradient, seen[0]) for gradient in seen)
    check(model, scope)


def test_maps_under_autocast_are_those_of_autocast() -> None:
    model, x = stem(Residual()).float(), images(dtype=torch.float32)
    scope = Folded(model)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(x)
        for _ in range(2):
            with scope:
                assert torch.equal(model(x), expected)
    assert folded_in(scope) == 0


@pytest.mark.parametrize("folded_outside", [True, False])
def test_together_with_the_kernels_for_second_derivatives(folded_outside: bool) -> None:
    model = stem(Residual(), act=nn.Softplus())
    scope = learnt(model)

    def function(x: Tensor) -> Tensor:
        with scope:
            return model(x)

    expected = Recording(model, images())
    gradient = expected.gradient(expected.output.square().sum(), create_graph=True)
    second = expected.hessian_product(gradient, images())
    if folded_outside:
        with scope:
            found = Recording(model, images())
    else:
        found = Recording(function, images())
    again = found.gradient(found.output.square().sum(), create_graph=True)
    torch.testing.assert_close(again, gradient, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.hessian_product(again, images()), second, rtol=1e-10, atol=1e-12)


def test_nothing_is_kept_of_the_network_or_its_maps() -> None:
    model = stem(Residual())
    scope = learnt(model)
    assert not scope._ahead
    with pytest.raises(RuntimeError), scope:
        model(images(dtype=torch.float32))
    assert not scope._ahead
    del model
    scope._modules.clear()
    gc.collect()
    assert len(scope._links) == 0


def test_networks_that_view_their_maps() -> None:
    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.head = nn.Linear(4 * 36, 2)

        def forward(self, x: Tensor) -> Tensor:
            maps = self.features(x)
            return self.head(maps.view(len(maps), -1))

    model, x = trained(Viewed()), images()
    values, gradient = input_gradient(lambda t: model(t)[:, 0], x)
    for _ in range(3):
        with repeated(model):
            found = [input_gradient(lambda t: model(t)[:, 0], x) for _ in range(2)]
        for one in found:
            torch.testing.assert_close(one, (values, gradient))
