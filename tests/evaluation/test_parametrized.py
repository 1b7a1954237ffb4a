"""Randomisation of weights that are computed, shared, frozen, or cannot be drawn; and of networks of many families."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from gradsculpt.attributions import Gradient
from gradsculpt.errors import ModelError
from gradsculpt.evaluation import find_stages, randomization
from gradsculpt.evaluation.layer_randomization import WHOLE, LayerStage, redraw, restore
from tests.evaluation.test_randomization import SEEN, Probe, changed, images


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def seeded(make: Callable[[], Any]) -> Any:
    """Build a network and make it look trained, by what training changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = make()
        for parameter in network.parameters():
            noise = 0.1 * torch.randn_like(parameter)  # the diagonal of what reflections are made of is no number
            parameter.data += noise.tril(-1) if parameter.ndim == 2 else noise
        return network.eval()


class Symmetric(nn.Module):
    """A parametrisation of one's own that cannot be inverted."""

    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).mT


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x

    def right_inverse(self, x: Tensor) -> Tensor:
        return x / 2


def old(wrap: Callable[..., nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def wrapped(layer: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return wrap(layer)

    return wrapped


def own(step: nn.Module) -> Callable[[nn.Module], nn.Module]:
    return lambda layer: parametrize.register_parametrization(layer, "weight", step, unsafe=True)


def pruned(layer: nn.Module) -> nn.Module:
    return prune.random_unstructured(layer, "weight", 0.5)


def orthonormal(matrix: Tensor) -> bool:
    narrow = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return torch.allclose(narrow @ narrow.T, torch.eye(len(narrow)), atol=1e-5)


def of_norm_1(matrix: Tensor) -> bool:
    return math.isclose(torch.linalg.matrix_norm(matrix, 2).item(), 1, abs_tol=1e-5)


def unlike(a: Tensor, b: Tensor) -> bool:
    """Return whether two matrices have nothing to do with one another off the diagonal, where rotations start at 1."""
    off = ~torch.eye(*a.shape, dtype=torch.bool) & (a != 0)
    return bool(torch.corrcoef(torch.stack([a[off], b[off]]))[0, 1].abs() < 0.1)


def as_linear(matrix: Tensor) -> bool:
    """Return whether weights are distributed as those of a fresh layer, uniform within 1 / sqrt(fan in)."""
    limit = 1 / math.sqrt(matrix.shape[1])
    reach, spread = float(matrix.abs().max()), float(matrix.std())
    return 0.9 * limit < reach <= limit and math.isclose(spread, limit / math.sqrt(3), rel_tol=0.1)


COMPUTED: dict[str, tuple[Callable[[nn.Module], nn.Module], Callable[[Tensor], bool]]] = {
    "none": (lambda layer: layer, as_linear),
    "orthogonal": (parametrizations.orthogonal, orthonormal),
    "orthogonal cayley": (
        lambda layer: parametrizations.orthogonal(layer, orthogonal_map="cayley", use_trivialization=False),
        orthonormal,
    ),
    "orthogonal householder": (
        lambda layer: parametrizations.orthogonal(layer, orthogonal_map="householder", use_trivialization=False),
        orthonormal,
    ),
    "spectral": (parametrizations.spectral_norm, of_norm_1),
    "spectral, old": (old(torch.nn.utils.spectral_norm), of_norm_1),
    "weight norm": (parametrizations.weight_norm, as_linear),
    "weight norm, old": (old(torch.nn.utils.weight_norm), as_linear),
    "own": (own(Doubled()), as_linear),
    "pruned": (pruned, lambda matrix: 0.4 < float((matrix == 0).float().mean()) < 0.6),
    "two": (lambda layer: own(Doubled())(parametrizations.spectral_norm(layer)), lambda w: of_norm_1(w / 2)),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(40, 50), (50, 40), (40, 40)])
@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights_are_drawn_as_such_weights(kind: str, shape: tuple[int, int], training: bool) -> None:
    wrap, holds = COMPUTED[kind]
    network = seeded(lambda: nn.Sequential(nn.Flatten(), wrap(nn.Linear(*shape)))).train(training)
    x = torch.randn(2, 1, 1, shape[0])
    before = network.eval()(x)
    learnt = network[1].weight.detach().clone()
    (stage,) = find_stages(network.train(training), x)
    assert stage == LayerStage("1", ("1",))
    source = seeded(lambda: nn.Sequential(nn.Flatten(), wrap(nn.Linear(*shape)))).train(training)
    source.load_state_dict(network.state_dict())
    redraw(network, stage, seed=1)
    network.eval()(x)
    weight = network[1].weight.detach().clone()
    assert holds(weight)
    assert unlike(weight, learnt)
    assert (network[1].bias - source[1].bias).abs().min() > 0
    redraw(network, stage, seed=1)
    network(x)
    torch.testing.assert_close(network[1].weight, weight)
    restore(network, stage, source)
    torch.testing.assert_close(network(x), before)


def test_what_has_no_way_back_has_its_originals_drawn() -> None:
    network = seeded(lambda: nn.Sequential(nn.Flatten(), own(Symmetric())(nn.Linear(40, 40))))
    learnt, x = network[1].weight.detach().clone(), torch.randn(2, 1, 1, 40)
    redraw(network, find_stages(network, x)[0], seed=0)
    weight = network[1].weight.detach()
    assert torch.equal(weight, weight.T)
    assert unlike(weight, learnt)


@pytest.mark.parametrize("kind", COMPUTED)
def test_a_cascade_through_computed_weights_leaves_the_network_as_it_is(kind: str) -> None:
    wrap, _ = COMPUTED[kind]
    network = seeded(lambda: nn.Sequential(wrap(nn.Conv2d(2, 3, 3)), nn.ReLU(), nn.Flatten(), wrap(nn.Linear(300, 3))))
    x = images()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logits = network(x)
    for independent in (False, True):
        result = randomization(network, Gradient(), x, independent=independent)
        assert result.stages == ("3", "0")
        assert result["blank"].max() < 0.5
        assert bool(result["magnitude"].isfinite().all() & (result["magnitude"] > 0).all())
        assert result["spearman"].max() < 0.95
    assert not changed(before, network.state_dict())
    assert torch.equal(network(x), logits)


def test_the_weights_of_a_whole_orthogonal_convolution_are_orthogonal() -> None:
    network = seeded(lambda: nn.Sequential(parametrizations.orthogonal(nn.Conv2d(4, 3, 5)), nn.Flatten()))
    redraw(network, find_stages(network, torch.randn(2, 4, 6, 6))[0], seed=0)
    matrices = network[0].weight.detach()  # [3, 4] batches of 5 x 5
    assert all(orthonormal(matrix) for matrix in matrices.flatten(0, 1))


class Tied(nn.Module):
    """Its first and its last layer have one weight, and a ParameterList holds another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 12), nn.Linear(12, 12)
        self.last.weight = self.first.weight
        self.scales = nn.ParameterList([torch.randn(12), torch.randn(12)])

    def forward(self, x: Tensor) -> Tensor:
        t = self.first(x.mean(1)) * self.scales[0]
        return self.last(t.relu() * self.scales[1]).mean(1)


def test_a_shared_weight_is_drawn_once_and_stays_shared() -> None:
    network, x = seeded(Tied), images()
    result = randomization(network, Probe(), x)
    assert result.stages == ("last", "first", WHOLE)
    for state in SEEN:
        assert torch.equal(state["first.weight"], state["last.weight"])
    assert changed(SEEN[0], SEEN[1]) == {"first.weight", "last.weight", "last.bias"}
    assert changed(SEEN[1], SEEN[2]) == {"first.bias"}
    assert changed(SEEN[2], SEEN[3]) == {"scales.0", "scales.1"}
    assert SEEN[1]["last.weight"].abs().max() <= 1 / math.sqrt(12)


class ZeroStart(nn.Linear):
    """Starts as the last layer of a branch often does."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


def test_weights_that_would_start_at_0_are_drawn_with_the_spread_that_they_had() -> None:
    network = seeded(lambda: nn.Sequential(nn.Flatten(), ZeroStart(288, 3)))
    network[1].weight.data.normal_(1, 3, generator=torch.Generator().manual_seed(0))
    result = randomization(network, Probe(), images())
    assert SEEN[-1]["1.weight"].std().item() == pytest.approx(3, rel=0.1)
    assert not result["blank"].any()


def test_frozen_batch_normalisation_forgets_too() -> None:
    frozen = torchvision.ops.FrozenBatchNorm2d
    network = seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 3), frozen(4), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3)))
    for buffer in network[1].buffers():
        buffer += torch.rand(4)
    assert randomization(network, Probe(), images()).stages == ("4", "1", "0")
    assert changed(SEEN[1], SEEN[2]) == {"1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert torch.equal(SEEN[2]["1.running_var"], torch.ones(4))


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


class Stuck(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.kept = weight.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        return self.kept + 0 * x


def quantised() -> nn.Module:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(288, 3), nn.ReLU(), nn.Linear(3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})


def traced() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(nn.Linear(288, 3), torch.randn(2, 288))
    return nn.Sequential(nn.Flatten(), scripted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "module 1 .LazyLinear. is lazy and was never run"),
        (quantised, "module 1 .Linear. is quantised"),
        (traced, "the module 1 is TorchScript .Linear., which hides"),
        (
            lambda: nn.Sequential(nn.Flatten(), _replaced(nn.Linear(288, 3), lambda w: Stuck(w))),
            r"weights 1\.weight are what they were",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        randomization(make().eval(), Gradient(), images(), torch.zeros(3, dtype=torch.long))
    assert "\n" not in str(error.value)


def _replaced(layer: nn.Linear, step: Callable[[Tensor], nn.Module]) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", step(layer.weight), unsafe=True)


def test_a_compiled_network_is_randomised_as_it_was_written() -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(300, 3)))
    expected = randomization(network, Gradient(), images())
    inside = nn.Sequential(torch.compile(network[0]), *network[1:])  # type: ignore[call-overload]
    for compiled in (torch.compile(network), inside):
        for independent in (False, True):
            result = randomization(compiled, Gradient(), images(), independent=independent)  # type: ignore[arg-type]
            assert result.stages == expected.stages
            assert torch.equal(result["ssim"][0], expected["ssim"][0])


def small_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3)


def small_swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=3)


CONVOLUTIONAL = ("test_resnet", "test_convnext2", "test_efficientnet")
OTHERS = ("test_vit", "test_maxvit", "test_vit_relpos", "test_nfnet", "test_byobnet", "test_mambaout")
FAMILIES: dict[str, tuple[Callable[[], Any], int]] = {
    "mobilenet": (lambda: torchvision.models.mobilenet_v3_small(num_classes=3), 64),
    "densenet": (lambda: torchvision.models.DenseNet(4, (2, 2), 8, num_classes=3), 64),
    "vision transformer": (small_vit, 32),
    "swin": (small_swin, 32),
    **{name: (partial(timm.create_model, name, num_classes=3), 64) for name in CONVOLUTIONAL},
    **{name: (partial(timm.create_model, name, num_classes=3), 160) for name in OTHERS},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_learnt_is_left_in_networks_of_any_family(family: str) -> None:
    make, size = FAMILIES[family]
    network, x = seeded(make), torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    stages = find_stages(network, x)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for stage in stages:
        redraw(network, stage, seed=0)
    after = network.state_dict()
    kept = {name for name, tensor in before.items() if tensor.is_floating_point() and torch.equal(tensor, after[name])}
    assert {name for name in kept if before[name].numel() > 1 and before[name].std() > 0} == set()
    assert all(bool(tensor.isfinite().all()) for tensor in after.values())
    assert Gradient()(network, x).any()
