"""Groups and metrics of somebody's own: what they are given, where they show, and what is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attributions import Gradient, heatmap
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import (
    Accuracy,
    Column,
    CurveText,
    EvaluationBatch,
    MetricGroup,
    Point,
    Protocol,
    ScoreGroup,
    Sparsity,
    evaluate,
)
from gradsculpt.metrics import METRICS, Score, metric, stability
from tests.evaluation.cases import PROTOCOL, SMALL, SPACE, batches, levels, network


@dataclass(frozen=True)
class Strongest(ScoreGroup):
    """A group of somebody's own: the largest entries of maps after noise."""

    sizes: tuple[float, ...] = (1.0, 8.0)
    curves: ClassVar[dict[str, CurveText]] = {"strongest": CurveText("Strongest", "noise", "entry", "Low is better.")}

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield the largest entry of the clean map, and of noisy ones on a curve."""
        score = Score("strongest", 0.0, float("inf"), "lower")
        yield Column(score, batch.maps.abs().flatten(1).amax(dim=1))
        for size in self.sizes:
            yield Column(score, batch.noisy_maps(size).abs().flatten(1).amax(dim=1), Point("strongest", size))


def test_a_group_of_ones_own_joins_table_and_curves() -> None:
    card = evaluate(network(), batches(truth=levels()), PROTOCOL, space=SPACE)
    mine = evaluate(network(), batches(truth=levels()), Protocol((Strongest(), *SMALL)), space=SPACE)
    (images, labels), _ = batches(sizes=(5, 0))
    maps = Gradient()(network(), SPACE.normalize(images), labels)
    assert list(mine.entries.items())[:-1] == list(card.entries.items())
    assert mine["strongest"].group == "strongest"
    assert mine["strongest"].mean == pytest.approx(float(maps.abs().flatten(1).amax(dim=1).mean()), rel=1e-5)
    curve = mine.curves["strongest"]
    assert (curve.title, curve.x, curve.caption) == ("Strongest", (1.0, 8.0), "Low is better.")
    assert mine.settings["groups"]["strongest"] == {"sizes": (1.0, 8.0)}


@dataclass(frozen=True)
class Wrong(ScoreGroup):
    """A group that yields what is no column."""

    how: Literal["twice", "shape", "curve"]

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield it."""
        score, values = Score("gini" if self.how == "twice" else "new", 0.0, 1.0, None), torch.zeros(len(batch))
        point = Point("x", 1.0) if self.how == "curve" else None
        yield Column(score, values[None] if self.how == "shape" else values, point)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("twice", "gini is measured by sparsity and by wrong, and one would hide the other"),
        ("shape", r"wrong gives new as \[1, 3\] for a batch of 3 images; return one value an image"),
        ("curve", "wrong draws a curve x that its `curves` does not describe"),
    ],
)
def test_a_group_that_cannot_be_shown_is_refused(how: Literal["twice", "shape", "curve"], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        evaluate(network(), batches(), Protocol((Sparsity(), Wrong(how))), space=SPACE)


@pytest.mark.parametrize("one", METRICS, ids=lambda one: one.name)
def test_every_metric_is_a_group(one: Any) -> None:
    own = MetricGroup(one, {"eps": 0.5} if one.name == "linearization_error" else {})
    assert own.name == one.name
    found = evaluate(network(), batches(truth=levels()), Protocol((own,)), space=SPACE)
    names = [one.scores[0].name] if len(one.scores) == 1 else [f"{one.name}_{score.name}" for score in one.scores]
    assert set(found.entries) <= set(names)
    # Of two draws or probes nothing can be said of every image, but of one score something can.
    assert found.entries
    for entry in found.entries.values():
        assert entry.group == one.name
        assert entry.score.low - 1e-6 <= entry.mean <= entry.score.high + 1e-6


def test_what_a_metric_is_given() -> None:
    seen: dict[str, Any] = {}

    @metric(Score("seen", 0.0, 1.0, "higher"))
    def look(
        maps: Tensor, heat: Tensor, a: Tensor, b: Tensor, truth: Tensor, gaze: Tensor, x: Tensor, y: Tensor,
        labels: Tensor, model: nn.Module, attribution: Gradient, eps: Tensor, bounds: Any, seed: int, k: float = 0.5,
    ) -> Tensor:  # fmt: skip
        if not seen:  # later it is called with maps that know nothing, where they suit it
            seen.update(locals())
        return torch.zeros(len(x))

    (images, labels, truth), *_ = batches(sizes=(5,), truth=levels())
    model = network()
    protocol = Protocol((MetricGroup(look, {"k": 0.1}, eps=32.0),), target="predicted", seed=3)
    evaluate(model, [(images, labels, truth)], protocol, space=SPACE)
    x = SPACE.normalize(images)
    predicted = model(x).argmax(dim=1)
    assert not torch.equal(predicted, labels)
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(3)) * 2 - 1
    noisy = SPACE.normalize((images + noise * 32 / 255).clamp(0, 1))
    expected = {
        "maps": Gradient()(model, x, predicted), "a": Gradient()(model, x, predicted), "x": x, "y": predicted,
        "b": Gradient()(model, noisy, predicted), "labels": labels, "truth": truth / 255, "gaze": truth / 255,
        "heat": heatmap(Gradient()(model, x, predicted), clip=100.0), "eps": SPACE.pixels(32 / 255),
    }  # fmt: skip
    for name, value in expected.items():
        torch.testing.assert_close(seen[name], value, msg=name, check_dtype=False)
    assert (seen["model"], seen["attribution"], seen["seed"], seen["k"]) == (model, Gradient(), 3, 0.1)
    assert all(map(torch.equal, seen["bounds"], SPACE.bounds))

    @metric(Score("kept", 0.0, 1.0, "higher", "fraction"))
    def right(logits: Tensor, y: Tensor) -> Tensor:
        return (logits.argmax(dim=1) == y).float()

    both = Protocol((Accuracy(), MetricGroup(right)), target="predicted")
    found = evaluate(model, [(images, labels)], both, space=SPACE)
    assert found["kept"].mean == found["accuracy"].mean < 1


def test_a_metric_without_its_truth_is_left_out_and_one_that_cannot_be_fed_is_refused() -> None:
    gaze = next(one for one in METRICS if one.name == "gaze_overlap")
    found = evaluate(network(), batches(), Protocol((MetricGroup(gaze), Sparsity())), space=SPACE)
    assert {entry.group for entry in found.entries.values()} == {"sparsity"}

    @metric(Score("strange", 0.0, 1.0, None))
    def strange(maps: Tensor, moon: float) -> Tensor:
        return maps.flatten(1).mean(dim=1) * moon

    with pytest.raises(ArgumentError, match="strange needs moon, which an evaluation cannot supply"):
        MetricGroup(strange)
    assert MetricGroup(strange, {"moon": 0.0}).name == "strange"
    with pytest.raises(ArgumentError, match="strange has no argument 'sun'"):
        MetricGroup(strange, {"moon": 0.0, "sun": 1})
    with pytest.raises(ArgumentError, match="linearization_error needs eps"):
        MetricGroup(next(one for one in METRICS if one.name == "linearization_error"))
    with pytest.raises(ArgumentError, match="is no Metric"):
        MetricGroup(torch.mean)  # type: ignore[arg-type]
    two = evaluate(network(), batches(), Protocol((MetricGroup(stability),)), space=SPACE)
    assert list(two.entries) == ["stability_ssim", "stability_topk_dice"]
