"""What users of other libraries of this field reported as wrong or as a crash, tried here on small networks."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.attributions import (
    LRP,
    Attribution,
    DeepLift,
    GradCAM,
    Gradient,
    GuidedBackprop,
    IntegratedGradients,
    SmoothGrad,
    heatmap,
)
from gradsculpt.errors import ModelError
from gradsculpt.evaluation import randomization

PROPAGATED: tuple[Attribution, ...] = (GuidedBackprop(), DeepLift(), LRP())


class Net(nn.Module):
    """Two convolutions and a linear layer; how the rectifier between them is called is the question."""

    def __init__(self, rectify: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(16, 3)
        self.relu, self.other = nn.ReLU(), nn.ReLU()
        self.rectify = rectify

    def forward(self, x: Tensor) -> Tensor:
        h = self.rectify(self, self.first(x))
        return self.head(self.rectify(self, self.second(h)).flatten(1))


def net(rectify: Callable[[Net, Tensor], Tensor] = lambda self, t: self.relu(t)) -> Net:
    torch.manual_seed(0)
    return Net(rectify).double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("attribution", PROPAGATED, ids=lambda each: type(each).__name__)
def test_a_rectifier_may_be_made_in_the_forward_pass_or_used_twice(attribution: Attribution, x: Tensor) -> None:
    # captum 1082 (another map, silently), 378, 578 and 934 (an error)
    expected = attribution(net(lambda self, t: F.relu(t)), x)
    for rectify in (
        lambda self, t: nn.ReLU()(t),
        lambda self, t: self.relu(t),
        lambda self, t: nn.ReLU(inplace=True)(t),
    ):
        torch.testing.assert_close(attribution(net(rectify), x), expected)


def test_contributions_add_up_where_the_network_is_rectified_only(x: Tensor) -> None:
    # captum 351: the error of DeepLIFT's sum was above 0 on a plain network
    model = net()
    maps = DeepLift()(model, x)
    change = model(x) - model(torch.zeros_like(x))
    torch.testing.assert_close(maps.sum((1, 2, 3)), change.gather(1, model(x).argmax(1)[:, None])[:, 0])


def test_a_layer_before_a_rectifier_in_place_is_read_before_it(x: Tensor) -> None:
    # captum 156
    inplace = net(lambda self, t: F.relu(t, inplace=True))
    torch.testing.assert_close(GradCAM("second")(inplace, x), GradCAM("second")(net(), x))


@pytest.mark.parametrize("attribution", [Gradient(), IntegratedGradients(3), SmoothGrad(2), *PROPAGATED, GradCAM()])
def test_a_network_that_pools_over_the_batch_is_refused(attribution: Attribution, x: Tensor) -> None:
    # captum 975: an index error deep inside
    class Pooling(Net):
        def forward(self, t: Tensor) -> Tensor:
            return super().forward(t).amax(dim=0, keepdim=True)

    torch.manual_seed(0)
    with pytest.raises(ModelError, match=r"a tensor \[1, 3\] for 3 images"):
        attribution(Pooling(lambda self, t: self.relu(t)).double(), x)


def test_relevance_is_conserved_through_a_residual_sum_written_anywhere(x: Tensor) -> None:
    # zennit 236: relevance doubled where the sum was a module made in the forward pass
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    maps = [LRP()(net(rectify), x) for rectify in (lambda self, t: Sum()(F.relu(t), t), lambda self, t: F.relu(t) + t)]
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps[0].sum((1, 2, 3)), torch.ones(3).double())


def test_relevance_through_a_normalisation_before_its_convolution(x: Tensor) -> None:
    # zennit 171 and 165: DenseNet's order of layers, left out by rules that merge the other way
    torch.manual_seed(0)
    dense = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3)).double()
    for _ in range(3):
        dense(x * 2 + 1)
    torch.testing.assert_close(LRP()(dense.eval(), x).sum((1, 2, 3)), torch.ones(3).double())


def test_a_map_that_is_cut_off_everywhere_is_zero_and_not_nan(x: Tensor) -> None:
    # torch-cam 186
    assert torch.equal(heatmap(torch.zeros(2, 1, 4, 4)), torch.zeros(2, 4, 4))


def test_a_network_in_data_parallel_is_the_network(x: Tensor) -> None:
    # grad-cam-pytorch 13, captum 335 and 469, grad-cam 340: hooks of replicas
    model = net()
    wrapped = nn.DataParallel(model)
    for attribution in (Gradient(), SmoothGrad(2), GradCAM(), *PROPAGATED):
        torch.testing.assert_close(attribution(wrapped, x), attribution(model, x))


def test_one_map_an_image_whatever_the_batch(x: Tensor) -> None:
    # grad-cam 322: a map for the batch
    for attribution in (GradCAM(), *PROPAGATED):
        alone = torch.cat([attribution(net(), image[None]) for image in x])
        torch.testing.assert_close(attribution(net(), x), alone)


def test_images_that_become_indices_are_named_as_the_cause(x: Tensor) -> None:
    # captum 1141: a tensor that was not used in the graph
    class Quantised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(256, 2), nn.Linear(2 * 108, 3)

        def forward(self, t: Tensor) -> Tensor:
            return self.head(self.table((t * 40 + 128).long().clamp(0, 255)).flatten(1))

    with pytest.raises(ModelError, match="calls long, which has no derivative"):
        Gradient()(Quantised().double(), x)


def test_a_method_that_predicts_without_gradients_is_named_as_the_cause(x: Tensor) -> None:
    # segmentation_models 365: "element 0 of tensors does not require grad"
    class Predicting(Net):
        @torch.no_grad()
        def predict(self, t: Tensor) -> Tensor:
            return self(t)

    model = Predicting(lambda self, t: self.relu(t)).double()
    with pytest.raises(ModelError, match=r"torch\.no_grad"):
        Gradient()(model.predict, x)


def test_every_kind_of_layer_is_randomised_and_maps_stay_finite(x: Tensor) -> None:
    # quanda 252: linear layers only, as others gave NaN
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 3)
    ).double()
    result = randomization(model.eval(), Gradient(), x)
    assert result.stages == ("5", "3", "2", "1", "0")
    assert all(bool(values.isfinite().all()) for values in result.values.values())


def test_frozen_networks_have_layers_to_weigh(x: Tensor) -> None:
    # captum 226
    torch.testing.assert_close(GradCAM()(net().requires_grad_(False), x), GradCAM()(net(), x))
