"""Fused copies against the network's own passes: whatever the network does, values and gradients are the same."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from gradsculpt.attributions import Attribution, IntegratedGradients, SmoothGrad
from gradsculpt.gradients import Recording, input_gradient
from gradsculpt.kernels import fused
from gradsculpt.kernels.fusion import Fused

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
        self.act = nn.ReLU()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
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


def normalised_looked_at(model: Layer, x: Tensor) -> Tensor:
    y = model.bn(model.conv(x))
    return F.relu(y) + y.tanh()


def changed_activation(model: Layer, x: Tensor) -> Tensor:
    y = F.relu6(model.bn(model.conv(x)))
    y += 1
    return y * x


def functional(model: Layer, x: Tensor) -> Tensor:
    y = F.conv2d(x, model.conv.weight, None, 1, "same")
    y = F.conv2d(input=y, weight=model.conv.weight, padding=1)
    return F.relu(F.batch_norm(input=y, running_mean=model.bn.running_mean, running_var=model.bn.running_var), True)


def made_weight(model: Layer, x: Tensor) -> Tensor:
    return F.relu(model.bn(F.conv2d(x, model.conv.weight * 2)))


def out_of_order(model: Layer, x: Tensor) -> Tensor:
    return F.relu(model.conv(model.bn(x)))


def checkpointed(model: Layer, x: Tensor) -> Tensor:
    result: Tensor = checkpoint(lambda t: F.relu(model.bn(model.conv(t))), x, use_reentrant=False)
    return result


def activation_kept(model: Layer, x: Tensor) -> Tensor:
    y = model.bn(model.conv(x))
    return model.act(y) * y


def viewed(model: Layer, x: Tensor) -> Tensor:
    y = model.bn(model.conv(x))
    return y.view(len(y), 3, -1).view(y.shape).relu()


Body = Callable[[Layer, Tensor], Tensor]


def branching(usual: Body, other: Body) -> Body:
    """Return a network that takes another branch for images whose mean is above 1, and for batches of two."""
    return lambda model, x: other(model, x) if float(x.detach().mean()) > 1 or len(x) == 2 else usual(model, x)


def plain(model: Layer, x: Tensor) -> Tensor:
    return model.act(model.bn(model.conv(x)))


def without_norm(model: Layer, x: Tensor) -> Tensor:
    return model.act(model.conv(x))


def other_norm(model: Layer, x: Tensor) -> Tensor:
    return model.act(model.other(model.conv(x)))


def in_a_list(model: Layer, x: Tensor) -> Tensor:
    y = model.conv(x)
    return torch.cat([model.bn(y)[:, :2], y], dim=1)[:, 1:4]


def by_hand(model: Layer, x: Tensor) -> Tensor:
    y = model.conv(x) - model.bn.running_mean.view(-1, 1, 1)  # type: ignore[union-attr]
    return model.act(y * (model.bn.running_var.view(-1, 1, 1) + 1).rsqrt())  # type: ignore[union-attr]


def written_to(model: Layer, x: Tensor) -> Tensor:
    y = model.conv(x)
    y += 1
    return model.act(model.bn(y))


def pre_activation_kept(model: Layer, x: Tensor) -> Tensor:
    y = model.bn(model.conv(x))
    return model.act(y) + y


def reweighted(model: Layer, x: Tensor) -> Tensor:
    kept = model.conv.weight
    model.conv.weight = nn.Parameter(2 * kept.detach())
    result = plain(model, x)
    model.conv.weight = kept
    return result


def written_and_put_back(model: Layer, x: Tensor) -> Tensor:
    with torch.no_grad():
        model.bn.running_mean += 1  # type: ignore[operator, assignment]
        y = plain(model, x)
        model.bn.running_mean -= 1  # type: ignore[operator, assignment]
    return x * y


def in_training_mode(model: Layer, x: Tensor) -> Tensor:
    model.bn.train()
    result = plain(model, x)
    model.bn.eval()
    return result


def apart(model: Layer, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = plain(model, x)
    return y * x


def detached(model: Layer, x: Tensor) -> Tensor:
    return model.act(model.bn(model.conv(x).detach())) * x


class Doubling(torch.autograd.Function):
    """A function that no mode sees."""

    @staticmethod
    def forward(ctx: object, t: Tensor) -> Tensor:
        return t * 2

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return g * 2


def own_function(model: Layer, x: Tensor) -> Tensor:
    doubled: Tensor = Doubling.apply(model.conv(x))
    return doubled


OTHER_WAYS: tuple[Body, ...] = (without_norm, other_norm, in_a_list, by_hand, written_to, pre_activation_kept)
OTHER_WAYS += (
    reweighted,
    written_and_put_back,
    in_training_mode,
    apart,
    detached,
    checkpointed,
    own_function,
    out_of_order,
    made_weight,
)
OTHER_WAYS += (functional, looked_at, twice_apart, normalised_looked_at)


def parametrised() -> nn.Module:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    parametrizations.weight_norm(layers[3])
    return network(*layers)


def tied() -> nn.Module:
    layers = (nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    layers[3].weight = layers[0].weight
    return network(*layers)


class Checkpointed(nn.Module):
    """A stage whose activations are computed again in the backward pass."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = checkpoint(self.stage, x, use_reentrant=False)
        return result


class Parallel(nn.Module):
    """A checkpointed stage beside an activation, which would overwrite what the stage is computed again from."""

    def __init__(self, recompute: bool) -> None:
        super().__init__()
        self.conv, self.act, self.recompute = nn.Conv2d(4, 4, 1), nn.ReLU(), recompute
        self.stage = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        # Handed over by closure, where nothing checks whether it was overwritten.
        z = checkpoint(lambda: self.stage(y), use_reentrant=False) if self.recompute else self.stage(y)
        return z + self.act(y)


def shared() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    return network(nn.Conv2d(3, 3, 3), norm, nn.ReLU(), nn.Conv2d(3, 3, 1), norm)


BODIES: tuple[Body, ...] = (
    twice,
    twice_apart,
    looked_at,
    normalised_looked_at,
    changed_activation,
    functional,
    made_weight,
)
BODIES += (out_of_order, checkpointed, activation_kept, viewed)


class SamePadded(nn.Conv2d):
    """A convolution that pads its images by itself, as TensorFlow's do."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride, self.padding, self.dilation)


class Standardised(nn.Conv2d):
    """A convolution with standardised weights, which merged ones must not be put in the place of."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias, self.stride, self.padding)


class Doubled(nn.Conv2d):
    """A convolution that does more to its output."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def of_subclass(cls: type[nn.Conv2d]) -> nn.Module:
    return network(cls(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "inverted bottleneck": lambda: stem(Block(), Block(), act=nn.ReLU6()),
    "residual, in place": lambda: stem(Residual(), Residual()),
    "in place after the norm": lambda: stem(act=nn.ReLU6(inplace=True)),
    "hardtanh": lambda: stem(act=nn.Hardtanh(-0.5, 0.5)),
    "softplus": lambda: stem(Residual(), act=nn.Softplus()),
    "no norm": lambda: network(nn.Conv2d(3, 4, 3), nn.ReLU()),
    "parametrised": parametrised,
    "shared": shared,
    "padding by itself": lambda: of_subclass(SamePadded),
    "standardised weights": lambda: of_subclass(Standardised),
    "more than a convolution": lambda: of_subclass(Doubled),
    **{body.__name__: (lambda body=body: network(Layer(body))) for body in BODIES},  # type: ignore[misc]
    "tied": tied,
    "checkpointed stage": lambda: stem(Checkpointed(Residual()), Residual()),
    "checkpointed beside an activation": lambda: stem(Parallel(recompute=True)),
}
MERGED = {"inverted bottleneck": 7, "residual, in place": 5, "in place after the norm": 1, "hardtanh": 1, "softplus": 3}
MERGED |= {"twice": 1, "viewed": 1, "parametrised": 1, "shared": 1, "padding by itself": 2}
"""How many normalisations are merged."""


def gradient(model: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    return input_gradient(lambda t: model(t).square().sum(dim=1), x)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_pass_is_that_of_the_network(name: str) -> None:
    model, before = NETWORKS[name](), NETWORKS[name]().state_dict()
    expected = [gradient(model, images() + i) for i in range(3)]
    with fused(model, images()) as faster:
        found = [gradient(faster, images() + i) for i in range(3)]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.state_dict().keys() == before.keys()


@pytest.mark.parametrize("other", OTHER_WAYS, ids=lambda body: body.__name__)
def test_a_network_that_goes_another_way_later_is_followed(other: Body) -> None:
    model, same = (network(Layer(branching(plain, other))) for _ in range(2))
    batches = [images(), images() + 2, images(2), images() - 1, images(1)]
    expected = [gradient(same, x) for x in batches]
    with fused(model, batches[0]) as faster:
        assert isinstance(faster, Fused)
        found = [gradient(faster, x) for x in batches]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(model.state_dict(), same.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("attribution", [SmoothGrad(samples=3), IntegratedGradients(steps=4)])
def test_a_network_that_recomputes_its_activations_gives_its_own_maps(attribution: Attribution) -> None:
    recomputing, kept = (stem(Parallel(recompute)) for recompute in (True, False))
    x, target = images(), torch.tensor([0, 1, 2])
    torch.testing.assert_close(attribution(recomputing, x, target), attribution(kept, x, target), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MERGED)
def test_what_can_be_merged_is(name: str) -> None:
    model = NETWORKS[name]()
    with fused(model, images()) as faster:
        assert isinstance(faster, Fused)
        gradient(faster, images())
        assert faster.merged == MERGED[name]


@pytest.mark.parametrize("name", ["no norm", "looked_at", "twice_apart", "checkpointed"])
def test_what_cannot_be_fused_is_the_network_itself(name: str) -> None:
    model = NETWORKS[name]()
    with fused(model, images()) as faster:
        assert faster is model


def test_single_precision_and_batches_of_every_size() -> None:
    model = stem(Block(), Residual(), act=nn.ReLU6()).float()
    for count in (1, 3, 20, 0):
        x = images(count, dtype=torch.float32)
        with fused(model, x) as faster:
            assert (faster is model) == (count == 0)
            torch.testing.assert_close(gradient(faster, x), gradient(model, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_images_are_not_overwritten_by_an_activation_that_comes_first(layout: torch.memory_format) -> None:
    model, x = trained(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())), images()
    with fused(model, x.to(memory_format=layout)) as faster, torch.no_grad():
        assert faster is not model
        for each in (torch.contiguous_format, torch.channels_last):
            given = x.to(memory_format=each, copy=True)
            torch.testing.assert_close(faster(given), model(x))
            assert torch.equal(given, x)


def test_a_network_in_training_mode_and_functions_are_left_as_they_are() -> None:
    model = stem(Residual()).train()
    before = [buffer.clone() for buffer in model.buffers()]
    with fused(model, images()) as faster:
        assert faster is model
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    with fused(torch.relu, images()) as function:
        assert function is torch.relu


@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_hooks_are_given_what_their_layers_compute(kind: str) -> None:
    model, seen = stem(Residual()), []
    if kind == "forward":
        model.get_submodule("0").register_forward_hook(lambda module, args, result: seen.append(result))
    else:
        model.get_submodule("1").register_full_backward_hook(lambda module, before, after: seen.append(before))
    with fused(model, images()) as faster:
        assert faster is model
        gradient(faster, images())
    assert len(seen) == 1


def test_maps_under_autocast_are_those_of_autocast() -> None:
    model, x = stem(Residual()).float(), images(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16), fused(model, x) as faster:
        assert faster is model


def test_a_network_that_cannot_be_copied_is_used_as_it_is() -> None:
    class Single(nn.Sequential):
        def __deepcopy__(self, memo: object) -> "Single":
            raise RuntimeError("there is one of me")

    model = trained(Single(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    with fused(model, images()) as faster:
        assert faster is model


def test_together_with_the_kernels_for_second_derivatives() -> None:
    model = stem(Residual(), act=nn.Softplus())
    expected = Recording(model, images())
    first = expected.gradient(expected.output.square().sum(), create_graph=True)
    with fused(model, images()) as faster:
        recording = Recording(faster, images())
    again = recording.gradient(recording.output.square().sum(), create_graph=True)
    torch.testing.assert_close(again, first, rtol=1e-10, atol=1e-12)
    second = [r.hessian_product(g, images()) for r, g in ((recording, again), (expected, first))]
    torch.testing.assert_close(*second, rtol=1e-10, atol=1e-12)


def test_the_random_state_and_the_counters_of_a_network_are_untouched() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls: Tensor
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x + torch.rand(()) * 0

    model = stem(Counting())
    torch.manual_seed(0)
    before, calls = torch.get_rng_state(), [b.clone() for b in model.buffers()]
    with fused(model, images()):
        pass
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(calls, model.buffers(), strict=True))


def test_the_copy_does_not_outlive_the_block() -> None:
    model = stem(Residual())
    with fused(model, images()) as faster:
        kept = weakref.ref(faster)
        assert faster is not model
    del faster
    gc.collect()
    assert kept() is None
