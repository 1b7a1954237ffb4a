"""Cascading randomisation: order of the stages, what is drawn, what is left alone, and the numbers that come out."""

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from gradsculpt.attributions import Attribution, Gradient
from gradsculpt.errors import ArgumentError, GradsculptError, ModelError
from gradsculpt.evaluation import data_randomization, find_stages, randomization
from gradsculpt.gradients import Model

SIDE = 12


def images(n: int = 3) -> Tensor:
    return torch.randn(n, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def seeded(make: Any, seed: int = 7) -> Any:
    """Build a network and make it look trained: every parameter and statistic moved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point():
                tensor.data += 0.1 * torch.rand_like(tensor)
        return network.eval()


def convolutional() -> nn.Sequential:
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(3 * (SIDE - 4) ** 2, 5))


class Odd(nn.Module):
    """Made in another order than called, with a bare parameter, and attention whose projection is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.embed = nn.Linear(2 * SIDE, 8)
        self.token = nn.Parameter(torch.randn(SIDE, 8))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.embed(x.permute(0, 2, 1, 3).flatten(2)) + self.token
        mixed, _ = self.attention(rows, rows, rows)
        logits: Tensor = self.head((rows + mixed).tanh().mean(dim=1))
        return logits


SEEN: list[dict[str, Tensor]] = []
"""States of the networks that a `Probe` was asked to read: the attribution is copied, so it cannot keep them."""


@dataclass(frozen=True)
class Probe(Attribution):
    """The gradient, which notes the state of the network."""

    base: Attribution = field(default_factory=Gradient)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        assert isinstance(model, nn.Module)
        SEEN.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return self.base(model, x, target, create_graph=create_graph)


@dataclass(frozen=True)
class Edges(Attribution):
    """A picture of the image that has nothing to do with the network."""

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return x.roll(1, dims=3) - x


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def changed(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    return {name for name in a if not torch.equal(a[name], b[name])}


def test_stages_go_from_the_output_to_the_input_as_they_are_called() -> None:
    assert [stage.name for stage in find_stages(convolutional(), images())] == ["6", "3", "1", "0"]
    odd = find_stages(Odd(), images())
    assert [stage.name for stage in odd] == ["head", "attention", "embed", "(network)"]
    assert set(odd[1].modules) == {"attention", "attention.out_proj"}
    assert odd[3].modules == ("",)


def test_hooks_are_removed_even_if_the_pass_fails() -> None:
    network = convolutional()
    with pytest.raises(ModelError, match="so many channels"):
        find_stages(network, images()[:, :1])
    find_stages(network, images())
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("make", [convolutional, Odd])
@pytest.mark.parametrize("training", [False, True])
def test_network_modes_and_random_state_are_left_alone(make: Any, training: bool) -> None:
    network = seeded(make).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random, x = torch.get_rng_state(), images()
    randomization(network, Gradient(), x)
    assert changed(before, network.state_dict()) == set()
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, images())
    assert all(module.training == training for module in network.modules())
    assert not any(parameter.grad is not None for parameter in network.parameters())


def test_a_cascade_adds_up_and_ends_with_nothing_learnt() -> None:
    network = seeded(convolutional)
    result = randomization(network, Probe(), images(), seed=3)
    assert result.stages == ("6", "3", "1", "0")
    original, *states = SEEN
    parts = [["6.weight", "6.bias"], ["3.weight", "3.bias"], ["1.weight", "1.bias", "1.running_mean", "1.running_var"]]
    parts.append(["0.weight", "0.bias"])
    so_far: set[str] = set()
    for before, after, names in zip([original, *states], states, parts, strict=False):
        assert changed(before, after) - {"1.num_batches_tracked"} == set(names)
        so_far |= set(names)
    assert changed(original, states[-1]) - {"1.num_batches_tracked"} == so_far
    assert torch.equal(states[-1]["1.running_mean"], torch.zeros(4))
    assert torch.equal(states[-1]["1.running_var"], torch.ones(4))
    # nn.Linear and nn.Conv2d start within 1 / sqrt(fan in).
    assert states[-1]["3.weight"].abs().max() <= 1 / np.sqrt(4 * 9)


def test_independent_stages_are_drawn_alike_and_one_at_a_time() -> None:
    network = seeded(convolutional)
    randomization(network, Probe(), images())
    cascade = SEEN[-1]
    SEEN.clear()
    randomization(network, Probe(), images(), independent=True)
    original, *states = SEEN
    for state, name in zip(states, ("6", "3", "1", "0"), strict=True):
        assert {each.partition(".")[0] for each in changed(original, state)} == {name}
        assert torch.equal(state[f"{name}.weight"], cascade[f"{name}.weight"])


def test_bare_parameters_keep_their_mean_and_spread() -> None:
    network = seeded(Odd)
    network.token.data = 5 + 2 * torch.randn(SIDE, 8, generator=torch.Generator().manual_seed(1))
    randomization(network, Probe(), images())
    token = SEEN[-1]["token"]
    assert "token" in changed(SEEN[0], SEEN[-1])
    assert token.mean().item() == pytest.approx(5, abs=0.6)
    assert token.std().item() == pytest.approx(2, abs=0.5)
    assert np.corrcoef(token.flatten(), network.token.detach().flatten())[0, 1] < 0.3
    assert {"attention.in_proj_weight", "attention.out_proj.weight"} <= changed(SEEN[0], SEEN[2])


def test_parameters_that_a_reset_does_not_reach_are_drawn_too() -> None:
    network = seeded(lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(288, 3))))
    randomization(network, Probe(), images())
    assert {name.rpartition(".")[2] for name in changed(SEEN[0], SEEN[-1])} == {"bias", "original0", "original1"}


def test_values_equal_plain_numpy_scipy_and_scikit_image() -> None:
    network, x = seeded(convolutional), images()
    y = torch.tensor([0, 3, 4])
    result = randomization(network, Probe(), x, y, k=0.3, keep=2)

    def picture(s: int, i: int) -> np.ndarray:
        copied = convolutional().eval()
        copied.load_state_dict(SEEN[s])
        point = x[i : i + 1].clone().requires_grad_()
        copied(point)[0, y[i]].backward()
        assert point.grad is not None
        if i < 2:
            kept = result.maps[s - 1, i] if s else result.original[i]
            torch.testing.assert_close(point.grad[0], kept)
        return point.grad[0].abs().sum(dim=0).double().numpy()

    def top(values: np.ndarray) -> set[int]:
        count = int(0.3 * np.count_nonzero(values) + 0.5)
        return set(np.argsort(-values.ravel(), kind="stable")[:count].tolist())

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    for s in range(4):
        for i in range(3):
            a, b = picture(0, i), picture(s + 1, i)
            expected = structural_similarity(a / a.max(), b / b.max(), **options)  # type: ignore[no-untyped-call]
            assert result["ssim"][s, i].item() == pytest.approx(expected, abs=1e-4)
            assert result["spearman"][s, i].item() == pytest.approx(spearmanr(a.ravel(), b.ravel())[0], abs=1e-4)
            share = len(top(a) & top(b)) / len(top(a))
            assert result["topk_intersection"][s, i].item() == pytest.approx(share, abs=0.03)
            assert result["magnitude"][s, i].item() == pytest.approx(b.mean() / a.mean(), rel=1e-4)
            assert result["blank"][s, i].item() == pytest.approx((b == 0).mean(), abs=1e-6)
    assert torch.equal(result.means()["ssim"], result["ssim"].mean(dim=1))


def test_a_map_of_the_image_alone_never_changes_and_a_gradient_does() -> None:
    network = seeded(convolutional)
    edges, gradient = (randomization(network, each, images()) for each in (Edges(), Gradient()))
    for name in ("ssim", "spearman", "topk_intersection", "magnitude"):
        torch.testing.assert_close(edges[name], torch.ones(4, 3), atol=1e-5, rtol=0)
    assert gradient["spearman"].max() < 0.95
    assert gradient["spearman"][-1].abs().max() < 0.6


def test_neither_batches_nor_the_choice_of_stages_change_what_is_drawn() -> None:
    network = seeded(convolutional)
    whole = randomization(network, Gradient(), images(5))
    parts = randomization(network, Gradient(), images(5), batch_size=2)
    two = randomization(network, Gradient(), images(5), stages=2)
    named = randomization(network, Gradient(), images(5), stages=["0", "6"], independent=True)
    alone = randomization(network, Gradient(), images(5), independent=True)
    assert (two.stages, named.stages) == (("3", "0"), ("6", "0"))
    for name in whole.values:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-4, rtol=1e-4)
        assert torch.equal(two[name], whole[name][[1, 3]])
        assert torch.equal(named[name], alone[name][[0, 3]])


def test_names_may_be_those_of_containers() -> None:
    network = seeded(lambda: nn.Sequential(convolutional()[:4], nn.Flatten(), nn.Linear(192, 3)))
    result = randomization(network, Probe(), images(), stages=["0"])
    assert result.stages == ("0",)
    assert {name[0] for name in changed(SEEN[0], SEEN[-1])} == {"0"}
    assert randomization(network, Gradient(), images(), stages=["(network)"]).stages == ("(network)",)


def test_the_seed_decides() -> None:
    network = seeded(convolutional)
    first, again, other = (randomization(network, Gradient(), images(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first["ssim"], again["ssim"])
    assert not torch.equal(first["ssim"], other["ssim"])


def test_classes_are_those_that_were_predicted_before() -> None:
    network, x = seeded(convolutional), images(6)
    predicted = network(x).argmax(dim=1)
    assert torch.equal(
        randomization(network, Gradient(), x)["ssim"], randomization(network, Gradient(), x, predicted)["ssim"]
    )


@dataclass(frozen=True)
class OfLayer(Attribution):
    """Refers to a layer of the network: its weight tells whether the copy's layer is meant."""

    layer: nn.Conv2d

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return self.layer.weight.detach()[:1, :1].expand(len(x), 1, 3, 3)


def test_an_attribution_may_refer_to_a_layer() -> None:
    network = seeded(convolutional)
    values = randomization(network, OfLayer(network[0]), images())["spearman"]
    torch.testing.assert_close(values[:3], torch.ones(3, 3))
    assert values[3].max() < 0.95


def test_progress_counts_the_stages() -> None:
    heard: list[tuple[int, int]] = []
    randomization(seeded(convolutional), Gradient(), images(), progress=lambda *told: heard.append(told))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"stages": ["7"]}, ArgumentError, r"stages=\['7'\]: \['7'\] names no module of the Sequential"),
        ({"stages": ["2"]}, ArgumentError, "names no module"),
        ({"stages": []}, ArgumentError, "names no module"),
        ({"stages": "6"}, ArgumentError, "Pass a list of names from 6, 3, 1, 0"),
        ({"stages": 0}, ArgumentError, "stages=0 is out of range"),
        ({"y": torch.zeros(2, dtype=torch.long)}, ArgumentError, "class indices"),
        ({"seed": -1}, ArgumentError, "seed=-1"),
        ({"x": torch.zeros(2, 5, 5)}, ArgumentError, "x has shape"),
        ({"model": lambda x: x.flatten(1)}, ModelError, "is no torch module"),
        ({"model": nn.Flatten()}, ModelError, "Flatten has no parameters"),
    ],
)
def test_errors_say_what_is_wrong(arguments: dict[str, Any], error: type[GradsculptError], message: str) -> None:
    good = {"model": convolutional().eval(), "attribution": Gradient(), "x": images()}
    with pytest.raises(error, match=message):
        randomization(**{**good, **arguments})


def test_a_network_that_cannot_be_copied_is_named() -> None:
    linear = nn.Linear(288, 3)
    network = nn.Sequential(nn.Flatten(), linear)
    network.__dict__["kept"] = threading.Lock()
    with pytest.raises(ModelError, match="Sequential cannot be copied"):
        randomization(network, Gradient(), images())


def test_data_randomization_of_a_network_that_gives_one_answer_is_blank() -> None:
    network, constant = seeded(convolutional), seeded(convolutional)
    constant[6].weight.data.zero_()
    scores = data_randomization(network, constant, Gradient(), images(), batch_size=2)
    assert scores["blank"].tolist() == [1, 1, 1]
    for name in ("spearman", "topk_intersection", "magnitude"):
        assert scores[name].tolist() == [0, 0, 0]
    assert scores["ssim"].max() < 0.2
    same = data_randomization(network, network, Gradient(), images())
    for name in ("ssim", "spearman", "topk_intersection", "magnitude"):
        torch.testing.assert_close(same[name], torch.ones(3), atol=1e-5, rtol=0)
    zeros = data_randomization(constant, constant, Gradient(), images())
    assert zeros["magnitude"].tolist() == [1, 1, 1]


def test_data_randomization_reads_the_classes_of_the_first_network() -> None:
    network, other, x = seeded(convolutional), seeded(convolutional, 11), images(6)
    predicted = network(x).argmax(dim=1)
    expected = data_randomization(network, other, Gradient(), x, predicted)
    assert torch.equal(data_randomization(network, other, Gradient(), x)["ssim"], expected["ssim"])
