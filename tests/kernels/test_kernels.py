"""Each kernel against PyTorch's own function: values, and derivatives of the first, second and third order."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.gradients import Recording
from gradsculpt.kernels import Reading, Softplus, compared, twice_differentiable

F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def normalised(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Batch normalisation out of plain operations, which can be differentiated to any order."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    scaled = (x - mean) / (variance + 1e-5).sqrt()
    return scaled * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


Function = Callable[..., Tensor]
CASES: dict[str, tuple[Function, Function, tuple[Tensor, ...]]] = {
    "convolution": (F.conv2d, F.conv2d, (randn(2, 3, 6, 5), randn(4, 3, 3, 3, seed=1), randn(4, seed=2))),
    "strided, grouped, dilated convolution": (
        lambda x, w: F.conv2d(x, w, None, stride=(2, 1), padding=(1, 2), dilation=2, groups=2),
        lambda x, w: F.conv2d(x, w, None, stride=(2, 1), padding=(1, 2), dilation=2, groups=2),
        (randn(2, 4, 7, 6), randn(6, 2, 3, 2, seed=1)),
    ),
    "softplus": (lambda x: F.softplus(x, 3.0), lambda x: (1 + (3 * x).exp()).log() / 3, (randn(2, 3, 4, 4),)),
    "batch normalisation": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        normalised,
        (randn(3, 2, 4, 3), torch.tensor([1.3, -0.4], dtype=F64), randn(2, seed=3)),
    ),
    "batch normalisation with a weight of 0": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        normalised,
        (randn(3, 2, 4, 3), torch.tensor([1.3, 0.0], dtype=F64), randn(2, seed=3)),
    ),
    "max pooling": (
        lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
        lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
        (randn(2, 3, 6, 5),),
    ),
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
cases = pytest.mark.parametrize("case", CASES)
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def tower(function: Function, arguments: tuple[Tensor, ...], order: int) -> list[Tensor]:
    """Return all derivatives, order after order, of one number made of the function's value."""
    leaves = [argument.clone().requires_grad_() for argument in arguments]
    value = (function(*leaves) + 0.3 * function(*leaves).square()).sin().sum()
    found = [value]
    for level in range(order):
        gradients = torch.autograd.grad(value, leaves, create_graph=level + 1 < order, materialize_grads=True)
        found += gradients
        value = sum(((gradient * gradient.detach().cos()).sum() for gradient in gradients), torch.zeros((), dtype=F64))
    return found


@cases
@layouts
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_are_those_of_the_plain_function(case: str, layout: str, order: int) -> None:
    function, plain, arguments = CASES[case]
    first = arguments[0].contiguous(memory_format=LAYOUTS[layout])
    with twice_differentiable(Reading()):
        # Backward passes are inside as well, which a network's never are; they must not care.
        found = tower(function, (first, *arguments[1:]), order)
    for ours, expected in zip(found, tower(plain, arguments, order), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@cases
def test_the_kernel_is_what_runs(case: str) -> None:
    function, _, arguments = CASES[case]
    with twice_differentiable(Reading()):
        result = function(*(argument.clone().requires_grad_() for argument in arguments))
    assert type(result.grad_fn).__module__.startswith("torch.autograd.function") or "Backward" in str(result.grad_fn)
    assert type(result.grad_fn).__name__.startswith("_")


@cases
@layouts
def test_the_memory_format_is_kept(case: str, layout: str) -> None:
    function, _, arguments = CASES[case]
    form = LAYOUTS[layout]
    x = arguments[0].contiguous(memory_format=form).requires_grad_()
    with twice_differentiable(Reading()):
        result = function(x, *arguments[1:])
    assert result.is_contiguous(memory_format=form)
    (gradient,) = torch.autograd.grad(result.square().sum(), x, create_graph=True)
    assert gradient.is_contiguous(memory_format=form)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert second.is_contiguous(memory_format=form)


def test_running_statistics_are_updated_as_ever() -> None:
    ours, plain = nn.BatchNorm2d(2).double(), nn.BatchNorm2d(2).double()
    with twice_differentiable(Reading()):
        ours(randn(3, 2, 4, 3).requires_grad_())
    plain(randn(3, 2, 4, 3))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer)


def test_what_has_no_kernel_is_left_alone() -> None:
    x = randn(2, 3, 6, 5).requires_grad_()
    with twice_differentiable(Reading()):
        same = F.conv2d(x, randn(4, 3, 3, 3), padding="same")
        single = F.conv2d(x[0], randn(4, 3, 3, 3))
        evaluated = F.batch_norm(x, torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64), training=False)
        values, indices = F.max_pool2d(x, 2, return_indices=True)
    assert same.shape == (2, 4, 6, 5)
    assert single.shape == (4, 4, 3)
    torch.testing.assert_close(evaluated, x / (1 + 1e-5) ** 0.5)
    assert values.shape == indices.shape == (2, 3, 3, 2)


@pytest.mark.parametrize("beta", [1.0, 3.0, 20.0])
def test_softplus_is_exact_far_out(beta: float) -> None:
    z = torch.tensor([-200.0, -30.0, -3.0, -1e-4, 0.0, 1e-4, 3.0, 30.0, 200.0], requires_grad=True)
    value = Softplus(beta)(z)
    exact = torch.logaddexp(beta * z.detach().double(), torch.zeros(9, dtype=F64)) / beta
    torch.testing.assert_close(value.double(), exact, rtol=2e-7, atol=1e-7 / beta)
    (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), z)
    exact_slope = (beta * z.detach().double()).sigmoid()
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(curvature.double(), beta * exact_slope * (1 - exact_slope), rtol=1e-5, atol=1e-6 * beta)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Softplus(3.0), nn.Flatten(), nn.Linear(4 * 16, 2))
    return nn.Sequential(*layers).double()


def test_reading_input_gradients_computes_no_gradient_of_weights() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    masks: list[list[bool]] = []

    class Masks(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is torch.ops.aten.convolution_backward.default:
                masks.append(list(args[-1]))
            return func(*args, **(kwargs or {}))

    recording = Recording(network(), randn(2, 3, 6, 6))
    with Masks():  # type: ignore[no-untyped-call]
        gradient = recording.gradient(recording.output[:, 0], create_graph=True)
    assert masks == [[True, False, False]]
    masks.clear()
    with Masks():  # type: ignore[no-untyped-call]
        gradient.square().sum().backward()
    # The first layer's weights twice, by the gradient and by the value it was read at; its input never.
    assert sorted(masks) == [[False, True, False], [False, True, True]]


def test_no_kernel_asks_a_tensor_for_its_values() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Refuse(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            assert func.overloadpacket._qualified_op_name.split("::")[1] not in ("_local_scalar_dense", "is_nonzero")
            return func(*args, **(kwargs or {}))

    model, x = network(), randn(2, 3, 6, 6)
    with torch.no_grad():
        next(model[1].parameters())[0] = 0
    with Refuse(), warnings.catch_warnings():  # type: ignore[no-untyped-call]
        warnings.simplefilter("ignore")  # of denormal numbers
        recording = Recording(model, x)
        gradient = recording.gradient(recording.output[:, 0], create_graph=True)
        distance, cosine = compared(gradient, x, squared=False)
        product = recording.hessian_product(gradient, torch.ones_like(gradient))
        (distance.sum() + cosine.sum() + product.square().sum()).backward()


def test_a_pass_recorded_for_two_derivatives_refuses_the_third() -> None:
    recording = Recording(network(), randn(2, 3, 6, 6), order=2)
    gradient = recording.gradient(recording.output[:, 0], create_graph=True)
    with pytest.raises(RuntimeError, match="recorded for second derivatives"):
        recording.hessian_product(gradient, torch.ones_like(gradient))


def test_autocast_reaches_the_kernels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Softplus(3.0), nn.Flatten(), nn.Linear(4 * 16, 2))
    x = randn(2, 3, 6, 6).float()
    with torch.autocast("cpu", torch.bfloat16):
        recording = Recording(model, x)
        assert recording.output.dtype == torch.bfloat16
        gradient = recording.gradient(recording.output[:, 0].float(), create_graph=True)
    assert gradient.dtype == torch.float32
    gradient.square().sum().backward()
    assert all(parameter.grad is None or parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_training_with_denormal_numbers_is_warned_of_once() -> None:
    layer, x = Softplus(3.0), torch.zeros(1)
    with pytest.warns(UserWarning, match=r"Call gradsculpt\.prepare_process\(\)"):
        layer(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x)
        Softplus(3.0).eval()(x)
        torch.set_flush_denormal(True)
        Softplus(3.0)(x)
