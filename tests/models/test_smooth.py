from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.models import LeNet, build, to_softplus

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
RECTIFIERS = [
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.LeakyReLU(),
    nn.PReLU(),
    nn.RReLU(),
    nn.ELU(),
    nn.CELU(),
    nn.SELU(),
    nn.Hardswish(),
    nn.Threshold(0.0, 0.0),
    nn.Hardtanh(0.0, 6.0),
]
LEFT_ALONE = [nn.GELU(), nn.SiLU(), nn.Mish(), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.Hardsigmoid(), nn.Hardtanh()]


class Calls(nn.Module):
    """A network with one function in its own code."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layers(x)).mean(dim=(2, 3))


@pytest.mark.parametrize("activation", RECTIFIERS, ids=lambda module: type(module).__name__)
def test_swaps_each_rectifier(activation: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), activation)
    assert to_softplus(network, 2.0, example=X) == 1
    assert isinstance(network[1], nn.Softplus)
    assert network[1].beta == 2.0


@pytest.mark.parametrize("activation", LEFT_ALONE, ids=lambda module: type(module).__name__)
def test_leaves_smooth_and_bounded_activations(activation: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), activation)
    assert to_softplus(network, example=X) == 1
    assert network[2] is activation


def test_a_large_beta_is_relu() -> None:
    torch.manual_seed(0)
    network = build("resnet18-cifar", num_classes=4, image_size=32).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = network(x)
        assert to_softplus(network, 1e5) > 0
        torch.testing.assert_close(network(x), before, atol=1e-3, rtol=1e-3)
        torch.manual_seed(0)
        blunt = build("resnet18-cifar", num_classes=4, image_size=32, softplus=3.0).eval()
        assert (blunt(x) - before).abs().max() > 0.01


@pytest.mark.parametrize(("softplus", "curved"), [(None, False), (3.0, True)])
def test_logits_have_curvature_only_with_softplus(softplus: float | None, curved: bool) -> None:
    torch.manual_seed(0)
    network = build("lenet", num_classes=3, image_size=32, softplus=softplus)
    x = torch.randn(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0], x, create_graph=True)
    direction = torch.randn(x.shape)
    (second,) = torch.autograd.grad((gradient * direction).sum(), x, allow_unused=True, materialize_grads=True)
    assert bool(second.abs().max() > 1e-6) == curved


def test_what_was_shared_stays_shared_and_counts_once() -> None:
    act = nn.ReLU()
    network = nn.Sequential(nn.Conv2d(3, 4, 3), act, nn.Conv2d(4, 4, 3), act).eval()
    assert to_softplus(network, example=X) == 1
    assert network[1] is network[3]
    assert not network[1].training


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "torch_relu": torch.relu,
    "method": lambda x: x.relu(),
    "in_place": lambda x: x.clone().relu_(),
    "relu6": F.relu6,
    "leaky": F.leaky_relu,
    "elu": F.elu,
    "hardswish": F.hardswish,
    "threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0.0),
    "clip": lambda x: torch.clip(x, 0, 6),
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 6.0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "max": lambda x: torch.max(x, x.new_zeros(())),
    "unregistered module": lambda x: nn.ReLU()(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_refuses_rectifiers_in_the_code_and_puts_everything_back(name: str) -> None:
    network = Calls(FUNCTIONS[name])
    old = network.layers[1]
    with pytest.raises(ModelError, match="in its own code, where no swap can reach"):
        to_softplus(network, example=X)
    assert network.layers[1] is old


def test_names_the_line_of_the_call() -> None:
    line = Calls.forward.__code__.co_firstlineno + 1
    with pytest.raises(ModelError, match=rf"the network calls relu \({__name__}:{line}\)"):
        to_softplus(Calls(F.relu), example=X)


@pytest.mark.parametrize(
    "function",
    [
        F.gelu,
        F.softplus,
        lambda x: x.clamp(min=1e-3),
        lambda x: x.clamp(max=0),
        lambda x: torch.maximum(x, x.roll(1)),
        lambda x: x + torch.max(0 * x),
        lambda x: x * (x.int().clamp(min=0) >= 0),
        lambda x: F.normalize(x),
    ],
)
def test_other_functions_pass(function: Callable[[Tensor], Tensor]) -> None:
    assert to_softplus(Calls(function), example=X) == 1


@pytest.mark.parametrize("name", ["torchvision:densenet121", "torchvision:googlenet"])
def test_refuses_torchvision_networks_that_call_relu(name: str) -> None:
    with pytest.raises(ModelError, match=rf"{name} with Softplus: the network calls relu \(torchvision\.models\."):
        build(name, num_classes=3, image_size=32, softplus=3.0)


@pytest.mark.parametrize("function", [F.relu, torch.relu])
def test_sees_a_function_kept_by_a_transformer_layer(function: Callable[[Tensor], Tensor]) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=function, batch_first=True)
    with pytest.raises(ModelError, match="the network calls relu in its own code"):
        to_softplus(layer, example=torch.randn(2, 4, 8))


def test_transformer_layers_agree_between_inference_and_training() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation=nn.ReLU(), batch_first=True)
    x = torch.randn(2, 4, 8)
    assert to_softplus(layer, example=x) == 1
    training = layer.train()(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), training)


def test_finds_an_example_by_itself() -> None:
    assert to_softplus(LeNet(image_size=64)) == 5
    with pytest.raises(ModelError, match=r"could not be run.*\[2, 3, 32, 32\]: RuntimeError.*example="):
        to_softplus(nn.Sequential(nn.Linear(5, 5), nn.ReLU()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_network_of_any_precision_is_tried_in_its_own(dtype: torch.dtype) -> None:
    for network in (LeNet(3, 32), build("resnet18-cifar", num_classes=3, image_size=32)):
        assert to_softplus(network.to(dtype)) > 0
        assert network(torch.zeros(2, 3, 32, 32, dtype=dtype)).dtype == dtype


def test_refuses_where_there_is_nothing_to_swap() -> None:
    with pytest.raises(ModelError, match="nothing to swap"):
        to_softplus(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU()), example=X)
    with pytest.raises(ModelError, match="calls relu in its own code"):
        to_softplus(nn.ReLU(), example=X)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_refuses_torchscript() -> None:
    trace: Callable[[nn.Module, Tensor], nn.Module] = torch.jit.trace
    network = nn.Sequential(nn.Conv2d(3, 4, 3), trace(nn.ReLU(), X))
    with pytest.raises(ModelError, match="TorchScript"):
        to_softplus(network, example=X)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_refuses_a_beta_that_is_not_positive(beta: float) -> None:
    with pytest.raises(ArgumentError, match="beta"):
        to_softplus(LeNet(), beta)
