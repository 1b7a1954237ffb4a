"""The kernels of a GPU against plain functions in float64; where there is no GPU, Triton runs them in Python."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradsculpt.kernels import (
    Reading,
    Softplus,
    compared,
    comparison,
    convolution,
    gpu,
    primitives,
    quick_step,
    twice_differentiable,
)
from gradsculpt.objectives import AdversarialTraining, CrossEntropy, HessianNorm, LocalGradientAlignment, Objective
from gradsculpt.penalties import ElasticNet

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
SLACK = 1 if INTERPRETED else 5  # a GPU's exponentials and roots are approximate
there = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
computed = there if INTERPRETED else pytest.mark.cuda
LAST = torch.channels_last
SHAPES: list[tuple[tuple[int, ...], torch.memory_format]] = [
    ((3, 4, 3, 2), torch.contiguous_format),
    ((3, 4, 3, 2), LAST),
    ((1, 3, 7, 5), LAST),
    ((2, 1, 33, 35), torch.contiguous_format),
    ((2, 37, 3, 3), LAST),
    ((4, 6, 1, 1), LAST),
    ((5, 6), torch.contiguous_format),
    ((2, 3, 5), torch.contiguous_format),
    ((2, 3, 2, 3, 4), torch.contiguous_format),
]
# Derivatives below the last one are taken with a graph, by other kernels than the last one.
ORDERS = [(*SHAPES[1], 1), *((*each, 2) for each in SHAPES[:2]), *((*each, 3) for each in SHAPES[1:]), (*SHAPES[0], 4)]
orders = pytest.mark.parametrize(("shape", "layout", "order"), ORDERS, ids=str)
Number = Callable[..., Sequence[Tensor]]


@pytest.fixture(autouse=True)
def _used() -> Iterator[None]:
    with gpu.used():
        yield


def test_every_kernel_where_there_is_no_gpu() -> None:
    if INTERPRETED or find_spec("triton") is None:
        pytest.skip("this is the run in which Triton interprets, or there is no Triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def random(*shape: int, seed: int) -> Tensor:
    """Return normal numbers that float32 holds exactly."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def tower(function: Number, points: Sequence[Tensor], order: int, *, exact: bool) -> list[Tensor]:
    """Return what a function gives, and all its derivatives, order after order, of numbers made of those before."""
    dtype, device = (torch.float64, "cpu") if exact else (torch.float32, DEVICE)
    leaves = [t.to(device, dtype).requires_grad_() for t in points]
    values = list(function(*leaves))
    everything = list(values)
    for level in range(order):
        # Only the last derivative is taken without a graph, as in training.
        numbers = [((0.1 * v + random(*v.shape, seed=level + 7).to(v)) * v).sum() for v in values if v.requires_grad]
        number = torch.stack(numbers).sum()
        values = list(torch.autograd.grad(number, leaves, create_graph=level + 1 < order, materialize_grads=True))
        everything += values
    return everything


def agrees(ours: Number, plain: Number, points: Sequence[Tensor], order: int) -> None:
    found, expected = tower(ours, points, order, exact=False), tower(plain, points, order, exact=True)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        # Each is a sum of terms that are no larger than the largest entry by more than a few times.
        atol = SLACK * (2e-6 * float(b.abs().max()) + 1e-12)
        torch.testing.assert_close(a.double().cpu(), b, rtol=2e-5 * SLACK, atol=atol, msg=str(i))


def laid_out(layout: torch.memory_format, t: Tensor) -> Tensor:
    return t.contiguous(memory_format=layout) if t.ndim == 4 else t


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "softplus": (lambda z: F.softplus(z, 3.0), lambda z: (1 + (3 * z).exp()).log() / 3),
    "silu": (F.silu, lambda z: z / (1 + (-z).exp())),
    "silu in place": (lambda z: F.silu(1 * z, inplace=True), lambda z: z / (1 + (-z).exp())),
    "gelu": (F.gelu, lambda z: z * (1 + (z / 2**0.5).erf()) / 2),
}


@computed
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("shape", "layout", "order"), [ORDERS[0], ORDERS[2], *ORDERS[-7::3], ORDERS[-1]], ids=str)
def test_activations(name: str, shape: tuple[int, ...], layout: torch.memory_format, order: int) -> None:
    def ours(z: Tensor) -> list[Tensor]:
        with twice_differentiable(Reading()):
            result = ACTIVATIONS[name][0](z)
        assert "_Activation" in type(result.grad_fn).__name__
        return [result]

    z = laid_out(layout, 2 * random(*shape, seed=1))
    agrees(ours, lambda z: [ACTIVATIONS[name][1](z)], [z], order)


@computed
def test_what_is_overwritten_is_overwritten() -> None:
    z = random(2, 3, 4, 5, seed=1).float().to(DEVICE).requires_grad_()
    with twice_differentiable(Reading()):
        whole, part = 1 * z, 1 * z
        assert F.silu(whole, inplace=True) is whole
        F.silu(part[:, 1], inplace=True)  # shows a part of another tensor, which has to change as well
    expected = torch.stack([z[:, 0], F.silu(z[:, 1]), z[:, 2]], 1)
    for found, plain in ((whole, F.silu(z)), (part, expected)):
        torch.testing.assert_close(found, plain)
        torch.testing.assert_close(*(torch.autograd.grad(t.square().sum(), z)[0] for t in (found, plain)))


@computed
def test_the_other_gelu_is_left_alone() -> None:
    z = random(3, 4, seed=1).float().to(DEVICE).requires_grad_()
    with twice_differentiable(Reading()):
        found = F.gelu(z, approximate="tanh")
    torch.testing.assert_close(found, F.gelu(z, approximate="tanh"))


@computed
@pytest.mark.parametrize("beta", [0.5, 1.0, 20.0])
def test_softplus_keeps_all_digits_however_far_out(beta: float) -> None:
    z = torch.tensor([-80.0, -30.0, -3.0, -1e-4, 0.0, 1e-30, 1e-4, 3.0, 30.0, 200.0, 1e30, -1e30], device=DEVICE)
    with twice_differentiable(Reading()):
        value = F.softplus(z.requires_grad_(), beta)
    (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), z)
    t = beta * z.detach().double().cpu()
    s = t.sigmoid()
    expected = torch.where(t > 0, t, 0.0) + (-t.abs()).exp().log1p()
    for ours, exact in ((value, expected / beta), (slope, s), (curvature, beta * s * (-t).sigmoid())):
        # An exponential of a float32 loses as many digits as its argument has before the point.
        torch.testing.assert_close(ours.detach().double().cpu(), exact, rtol=2e-5, atol=1e-37)
    nan = torch.full((3,), torch.nan, device=DEVICE, requires_grad=True)
    with twice_differentiable(Reading()):
        assert bool(F.softplus(nan, beta).isnan().all())


NORMS: dict[str, Callable[..., Tensor]] = {
    "all": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-3),
    "no bias": lambda x, w, b: F.batch_norm(x, None, None, w, None, training=True, eps=1e-3) + 0 * b.sum(),
    "bare": lambda x, w, b: F.batch_norm(x, None, None, training=True, eps=1e-3) + 0 * (w + b).sum(),
}


def plain_norm(x: Tensor, w: Tensor, b: Tensor, *, kind: str = "all") -> Tensor:
    one = (1, -1, *[1] * (x.ndim - 2))
    y = primitives.standardised(x, (0, *range(2, x.ndim)), 1e-3)
    y = y * w.view(one) if kind != "bare" else y + 0 * w.sum()
    return y + b.view(one) if kind == "all" else y + 0 * b.sum()


@computed
@orders
def test_batch_normalisation(shape: tuple[int, ...], layout: torch.memory_format, order: int) -> None:
    def ours(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
        with twice_differentiable(Reading()):
            return [NORMS[kind](x, w, b)]

    weight = random(shape[1], seed=2)
    weight[-1] = 0
    x = laid_out(layout, 2 * random(*shape, seed=3) + 3)
    for kind in NORMS if (shape, order) == ((3, 4, 3, 2), 2) else ["all"]:
        agrees(ours, lambda *t, kind=kind: [plain_norm(*t, kind=kind)], [x, weight, random(shape[1], seed=4)], order)


@computed
def test_batch_normalisation_of_maps_far_from_zero() -> None:
    # A sum of products less a product of sums would have no digit left.
    def ours(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
        with twice_differentiable(Reading()):
            return [NORMS["all"](x, w, b)]

    x = (random(4, 3, 6, 5, seed=3) + 3e3).float().double()
    found, expected = (
        tower(f, [x, random(3, seed=2), random(3, seed=4)], 3, exact=exact)
        for f, exact in ((ours, False), (lambda *t: [plain_norm(*t)], True))
    )
    for a, b in zip(found, expected, strict=True):
        assert float((a.double().cpu() - b).abs().max()) < 2e-3 * SLACK * float(b.abs().max())


@computed
def test_running_statistics_are_updated_as_ever() -> None:
    ours, plain = nn.BatchNorm2d(3).to(DEVICE), nn.BatchNorm2d(3)
    x = random(4, 3, 2, 5, seed=0).float()
    with twice_differentiable(Reading()):
        ours(x.to(DEVICE).requires_grad_())
    plain(x)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name).cpu(), buffer)


@computed
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("shape", [(3, 3, 5, 4), (1, 1, 1, 1), (2, 2100), (2, 3, 40, 41)], ids=str)
def test_distance_and_cosine(shape: tuple[int, ...], squared: bool) -> None:
    s = random(*shape, seed=1)
    o = laid_out(LAST, random(*shape, seed=2) + 0.4 * s)
    for order in (1, 2) if 1 < s[0].numel() < 1000 else (1,):
        agrees(
            lambda s, o: compared(s, o, squared=squared),
            lambda s, o: comparison._plain(s, o, squared),
            [s, o],
            order,
        )


@computed
@pytest.mark.parametrize("squared", [True, False])
def test_distance_and_cosine_of_zeros_and_of_the_same(squared: bool) -> None:
    s, o = random(4, 3, 2, 2, seed=1), random(4, 3, 2, 2, seed=2)
    s[0], o[1], o[2] = 0, 0, s[2]
    s[3], o[3] = 0, 0
    agrees(lambda s, o: compared(s, o, squared=squared), lambda s, o: comparison._plain(s, o, squared), [s, o], 1)


@computed
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x, w, b = random(4, 3, 5, 4, seed=1).to(DEVICE, dtype), random(3, seed=2).float(), random(3, seed=3).float()
    leaves = [x.requires_grad_(), w.to(DEVICE).requires_grad_(), b.to(DEVICE).requires_grad_()]
    with twice_differentiable(Reading()):
        y = F.softplus(NORMS["all"](*leaves), 3.0)
    exact = [t.detach().double().cpu().requires_grad_() for t in leaves]
    expected = F.softplus(plain_norm(*exact), 3.0)
    for value, points in ((y, leaves), (expected, exact)):
        (gradient,) = torch.autograd.grad(
            (value.float() if value is y else value).square().sum(), points[0], create_graph=True
        )
        points.extend(torch.autograd.grad(gradient.square().sum(), points[:3]))
    for ours, reference in zip(leaves[3:], exact[3:], strict=True):
        difference = (ours.double().cpu() - reference).abs().max() / reference.abs().max()
        assert float(difference) < 16 * torch.finfo(dtype).eps
    assert [t.dtype for t in leaves[3:]] == [dtype, torch.float32, torch.float32]


@computed
@pytest.mark.parametrize(("shape", "layout"), SHAPES[:2], ids=str)
def test_what_lies_otherwise_in_memory_is_copied(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    z = laid_out(layout, random(*shape, seed=1)).float().to(DEVICE)
    with twice_differentiable(Reading()):
        results = []
        for given in (z, z.repeat_interleave(2, -1)[..., ::2], z.transpose(0, 1).contiguous().transpose(0, 1)):
            leaf = given.detach().requires_grad_()
            y = F.softplus(NORMS["bare"](leaf, z, z), 3.0)
            (g,) = torch.autograd.grad(y, leaf, torch.ones((), device=DEVICE).expand(y.shape), create_graph=True)
            results.append([y, g, *torch.autograd.grad(g[0].square().sum(), leaf)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


POOLS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 6, 8), {"kernel_size": 2}),
    ((2, 3, 7, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 5, 7, 6), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((2, 2, 9, 8), {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0), "dilation": (2, 3)}),
    ((2, 1, 5, 5), {"kernel_size": [2, 3], "stride": [3, 1], "padding": [1, 1], "ceil_mode": True}),
    ((3, 4, 1, 1), {"kernel_size": 1}),
    ((1, 2, 20, 16), {"kernel_size": 16, "stride": 4}),
    ((1, 3, 40, 41), {"kernel_size": 2, "stride": 1}),
]
pools = pytest.mark.parametrize("layout", [torch.contiguous_format, LAST], ids=str)


@computed
@pools
@pytest.mark.parametrize(("shape", "how"), POOLS, ids=str)
def test_max_pooling(shape: tuple[int, ...], how: dict[str, Any], layout: torch.memory_format) -> None:
    def ours(x: Tensor) -> list[Tensor]:
        with twice_differentiable(Reading()):
            result = F.max_pool2d(x, **how)
        assert result.is_contiguous(memory_format=layout)
        assert result.grad_fn.saved_tensors[0].dtype is torch.uint8
        return [result]

    agrees(
        ours, lambda x: [F.max_pool2d(x, **how)], [laid_out(layout, random(*shape, seed=1))], 1 if shape[2] == 20 else 3
    )


@computed
@pools
def test_max_pooling_of_equal_entries_infinities_and_nan(layout: torch.memory_format) -> None:
    numbers = torch.tensor([0.0, 1.0, torch.nan, torch.inf, -torch.inf, -torch.inf, -torch.inf])
    which = torch.randint(7, (3, 5, 9, 8), generator=torch.Generator().manual_seed(0))
    which[0], which[1] = which[0] % 2, 4
    x = laid_out(layout, numbers[which])
    kinds: list[dict[str, Any]] = [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}]
    for kind in kinds:
        found = []
        for t, mode in ((x.to(DEVICE), twice_differentiable(Reading())), (x, nullcontext())):
            leaf = t.clone().requires_grad_()
            with mode:
                y = F.max_pool2d(leaf, **kind)
            g = torch.arange(1.0, y.numel() + 1).view(y.shape).to(y.device)
            found.append([y.detach().cpu(), torch.autograd.grad(y, leaf, g)[0].cpu()])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@computed
def test_what_max_pooling_refuses_and_leaves() -> None:
    x = random(1, 1, 18, 17, seed=1).float().to(DEVICE).requires_grad_()
    with twice_differentiable(Reading()):
        with pytest.raises(RuntimeError, match="pad should be at most half of"):
            F.max_pool2d(x, 2, padding=2)
        large = F.max_pool2d(x, (16, 17))
        holes = F.max_pool2d(x[..., :1, :1], 2, stride=1, padding=1, dilation=2)  # of which no window meets the map
    assert torch.equal(large, F.max_pool2d(x, (16, 17)))
    assert bool(holes.isneginf().all())
    g = torch.ones_like(holes, requires_grad=True)
    (first,) = torch.autograd.grad(holes, x, g, create_graph=True)
    assert not bool(first.any())
    assert not bool(torch.autograd.grad(first, g, torch.ones_like(x))[0].any())


@computed
def test_max_pooling_keeps_how_a_part_of_maps_lies_in_memory() -> None:
    x = random(2, 8, 6, 6, seed=1).float().to(DEVICE).contiguous(memory_format=LAST).requires_grad_()
    with twice_differentiable(Reading()):
        found = F.max_pool2d(x[:, :3], 2)
    assert found.is_contiguous(memory_format=LAST)
    for a, b in zip(
        *((t, torch.autograd.grad(t.square().sum(), x)[0]) for t in (found, F.max_pool2d(x[:, :3], 2))), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@computed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "layout"), [each for each in SHAPES if len(each[0]) == 4], ids=str)
def test_sums_of_channels(shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype) -> None:
    from gradsculpt.kernels.gpu import moments

    maps = laid_out(layout, random(*shape, seed=1) + 1).to(dtype)
    for given in (maps, maps[:, :, :1].expand(shape)):
        found, expected = moments.totals(given.to(DEVICE)), given.double().sum((0, 2, 3))
        assert found.dtype is dtype
        torch.testing.assert_close(found.double().cpu(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


def first_order(trained: Callable[[str], bool], *, checkpointed: bool = False, **kinds: Any) -> list[list[Tensor]]:
    """Return the gradients of a network under plain functions, and in the mode of recorded steps."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, bias=False), nn.Conv2d(6, 5, 2, 2, groups=1)
    ).to(DEVICE)
    x = random(2, 3, 10, 8, seed=1).float().to(DEVICE).requires_grad_(trained("x"))
    results = []
    for mode in (nullcontext(), quick_step()):
        parameters = [p.requires_grad_(trained(name)) for name, p in network.named_parameters()]
        with mode, torch.autocast(DEVICE, **kinds) if kinds else nullcontext():
            run = partial(checkpoint, network, use_reentrant=False) if checkpointed else network
            loss = run(x).float().square().sum()
        wanted = [t for t in (*parameters, x) if t.requires_grad]
        results.append([loss.detach(), *torch.autograd.grad(loss, wanted)])
    return results


TRAINED: dict[str, Callable[[str], bool]] = {
    "all": lambda name: True,
    "parameters": lambda name: name != "x",
    "inputs": lambda name: name == "x",
    "biases": lambda name: "bias" in name,
    "no biases": lambda name: "bias" not in name,
}


@computed
@pytest.mark.parametrize("trained", TRAINED)
def test_recorded_steps_are_those_of_plain_functions(trained: str) -> None:
    for a, b in zip(*first_order(TRAINED[trained]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(*first_order(TRAINED[trained], dtype=torch.bfloat16), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2 * float(b.abs().max()))


@computed
def test_what_is_computed_anew_is_left_alone() -> None:
    for a, b in zip(*first_order(TRAINED["all"], checkpointed=True), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@computed
def test_sums_of_gradients_are_those_of_biases_alone_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sums: list[Tensor] = []

    def noted(g: Tensor) -> Tensor:
        sums.append(g.sum((0, 2, 3)))
        return sums[-1]

    monkeypatch.setattr(convolution, "channel_sums", noted)
    conv, x = nn.Conv2d(3, 4, 3).to(DEVICE), torch.ones(1, 3, 5, 5, device=DEVICE, requires_grad=True)
    with quick_step():
        y = conv(x)
    torch.autograd.grad(y.sum(), x, retain_graph=True)
    assert not sums
    torch.autograd.grad(y.sum(), list(conv.parameters())[1], retain_graph=True)
    y.sum().backward()
    assert len(sums) == 2


@computed
def test_further_derivatives_in_recorded_steps() -> None:
    conv, x = nn.Conv2d(3, 4, 3).to(DEVICE), random(2, 3, 6, 6, seed=1).float().to(DEVICE).requires_grad_()
    results = []
    for mode in (nullcontext(), quick_step()):
        with mode:
            y = F.max_pool2d(conv(x), 2).square()
        (g,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(g.square().sum(), [x, *conv.parameters()]))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), Softplus(3.0)
        self.second, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + self.last(self.second(self.act(self.norm(self.first(x))))))
        return y


OBJECTIVES: dict[str, Objective] = {
    "cross entropy": CrossEntropy(),
    "adversarial": AdversarialTraining(ElasticNet(0.01, 0.01)),
    "alignment": CrossEntropy() + LocalGradientAlignment(l2=0.1, cosine=1.0, eps=0.1),
    "alignment of both": CrossEntropy()
    + LocalGradientAlignment(l2=0.1, cosine=1.0, eps=0.1, detach_source=False, squared=False, noise="gradient"),
    "hessian": CrossEntropy() + HessianNorm(0.1),
}


@computed
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_training_step_is_that_of_plain_functions(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Softplus(3.0), nn.MaxPool2d(3, 2, 1), Residual())
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 9, 3)).to(DEVICE).to(memory_format=LAST)
    x = random(4, 3, 8, 8, seed=1).float().to(DEVICE).contiguous(memory_format=LAST)
    y = torch.tensor([0, 1, 2, 0], device=DEVICE)
    results = []
    runs = gpu.runs
    for kernels, mode in ((False, nullcontext()), (True, nullcontext()), (True, quick_step())):
        monkeypatch.setattr(gpu, "runs", runs if kernels else lambda *tensors: False)
        network.zero_grad()
        with mode:
            losses = OBJECTIVES[objective](network, x, y, generator=torch.Generator(DEVICE).manual_seed(3))
            losses.loss.backward()
        results.append([losses.loss.detach(), *(p.grad for p in network.parameters())])
    for found in results[1:]:
        for a, b in zip(found, results[0], strict=True):
            torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-5)


def test_steps_that_are_taken_one_by_one_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_suits", lambda t: True)
    monkeypatch.setattr(gpu, "_works", lambda device: True)
    assert gpu.runs(torch.zeros(1))
    monkeypatch.setattr(gpu._Use, "blocks", 0)
    assert not gpu.runs(torch.zeros(1))
    with quick_step(modes=False):
        assert gpu.runs(torch.zeros(1))
    assert not gpu.runs(torch.zeros(1))


def test_without_a_gpu_nothing_imports_triton() -> None:
    code = (
        "import sys, torch; from gradsculpt.kernels.softplus import softplus; softplus(torch.zeros(2), 1.0);"
        "sys.exit('triton' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_where_triton_fails_the_plain_form_runs_and_one_line_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    from gradsculpt.kernels.gpu import curve

    def fail(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one.")

    monkeypatch.setattr(curve, "value", fail)
    gpu._works.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"Triton cannot run on cpu \(Failed to find C compiler.\), so that"):
            assert not gpu._works(torch.device("cpu"))
    finally:
        gpu._works.cache_clear()
