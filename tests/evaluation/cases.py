"""A tiny network, images and groups of scores for the tests of scorecards, and the laws of groups."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradsculpt.evaluation import (
    Accuracy,
    EvaluationBatch,
    Fidelity,
    GroundTruth,
    MetricGroup,
    Protocol,
    RobustnessAttack,
    RobustnessRandom,
    Sanity,
    ScoreGroup,
    Sparsity,
)
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import stability
from gradsculpt.models import Classifier

SMALL = (
    Accuracy(),
    Sparsity(),
    RobustnessRandom(rps_levels=(4.0, 16.0), draws=2),
    RobustnessAttack(levels=(0.5, 2.0), steps=2, images=3),
    Fidelity(steps=4),
    GroundTruth(),
    Sanity(images=3),
)
NAMES = ("accuracy", "sparsity", "robustness-random", "robustness-attack", "fidelity", "ground-truth", "sanity")
PROTOCOL = Protocol(SMALL)
SPACE = InputSpace((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def network(activation: type[nn.Module] = nn.Softplus) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), activation(), nn.Flatten(), nn.Linear(4 * 64, 3)).eval()


def batches(sizes: Sequence[int] = (3, 2), truth: Tensor | None = None) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    count = sum(sizes)
    images = torch.rand(count, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    given = (images, labels) if truth is None else (images, labels, truth)
    return list(zip(*(torch.split(values, list(sizes)) for values in given), strict=True))


def levels(count: int = 5) -> Tensor:
    truth = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    truth[1:, :, 2:5, 2:5] = 102
    truth[1:, :, 3, 3:5] = 229
    return truth


GROUPS: tuple[ScoreGroup, ...] = (*SMALL, MetricGroup(stability))
"""One of every kind, which the laws are tried on."""


def measurable(count: int = 5) -> EvaluationBatch:
    """Return a batch with everything that a group may want."""
    images, labels = (values[:count] for values in batches(sizes=(5,))[0])
    classifier = Classifier(network(), SPACE, ("a", "b", "c"), 8).eval()
    return PROTOCOL.batch(classifier, images, labels, levels()[:count] / 255, PROTOCOL.generator())


def gives_one_value_an_image_in_range(group: ScoreGroup) -> None:
    """Each score and point has one name, values in its range, and a point has a curve with words on it."""
    columns = list(group.measure(measurable()))
    names = [column.point or column.score.name for column in columns]
    assert columns
    assert len(set(names)) == len(names)
    for column in columns:
        values = column.values
        assert values.ndim == 1
        assert 0 < len(values) <= 5
        if column.point is None:
            known = values[~values.isnan()]
            assert (known >= column.score.low - 1e-5).all()
            assert (known <= column.score.high + 1e-5).all()
        else:
            assert all(group.curves[column.point.curve])
    assert set(group.curves) == {column.point.curve for column in columns if column.point}


def does_not_look_at_batch_mates(group: ScoreGroup) -> None:
    """The values of an image are the same without the images after it."""
    whole, fewer = (list(group.measure(measurable(count))) for count in (5, 2))
    assert [(column.score, column.point) for column in whole] == [(column.score, column.point) for column in fewer]
    for one, other in zip(whole, fewer, strict=True):
        torch.testing.assert_close(one.values[:2], other.values[:2], rtol=1e-3, atol=1e-4, equal_nan=True)


def changes_nothing(group: ScoreGroup) -> None:
    """Images, maps, weights and the random state stay what they were, and a second time gives the same."""
    batch = measurable()
    given = [batch.images, batch.labels, batch.noise, batch.maps, batch.heat, *batch.network.state_dict().values()]
    before, state = [values.clone() for values in given], torch.get_rng_state()
    once, twice = (list(group.measure(batch)) for _ in range(2))
    assert all(map(torch.equal, given, before))
    assert torch.equal(state, torch.get_rng_state())
    for one, other in zip(once, twice, strict=True):
        torch.testing.assert_close(one.values, other.values, rtol=0, atol=0, equal_nan=True)
