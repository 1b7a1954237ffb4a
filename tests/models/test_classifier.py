import numpy as np
import pytest
import torch
from torch import nn

from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier

SPACE = InputSpace(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.1))


def test_normalises_then_calls_the_network() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    classifier = Classifier(network, SPACE, ["cat", "dog"], 2)
    images = torch.rand(4, 3, 2, 2)
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (SPACE.mean, SPACE.std))
    flat = ((images.numpy() - mean) / std).reshape(4, 12)
    weight, bias = (parameter.detach().numpy() for parameter in network.parameters())
    np.testing.assert_allclose(classifier(images).detach().numpy(), flat @ weight.T + bias, atol=1e-5)
    assert classifier.classes == ("cat", "dog")
    assert (classifier.network, classifier.space, classifier.image_size) == (network, SPACE, 2)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(3, 2, 2), "batch"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), "float"),
        (torch.zeros(1, 1, 2, 2), r"\[N, 3, H, W\]"),
    ],
)
def test_refuses_what_is_no_batch_of_images(images: torch.Tensor, words: str) -> None:
    classifier = Classifier(nn.Flatten(), SPACE, ("a",), 2)
    with pytest.raises(ArgumentError, match=words):
        classifier(images)
