"""The scorecard against plain loops."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from gradsculpt.data import Batch
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation import Accuracy, Entry, Protocol, RobustnessRandom, Scorecard, Sparsity, evaluate
from gradsculpt.evaluation.results import entry
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import Score
from gradsculpt.models import Classifier
from tests.evaluation.cases import PROTOCOL, batches, network


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 64, 3))
    return Classifier(network, InputSpace((0.5,) * 3, (0.2, 0.25, 0.3)), ("a", "b", "c"), 8).eval()


def _batches(count: int, sizes: Sequence[int], attention: bool = True) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (count,), generator=generator)
    truth = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    truth[1:, :, 2:5, 2:5] = 102
    truth[1:, :, 3, 3:5] = 229
    parts = [torch.split(t, list(sizes)) for t in (images, labels, truth)]
    return [Batch(x, y, t if attention else None) for x, y, t in zip(*parts, strict=True)]


def _gini(values: npt.NDArray[np.float32]) -> float:
    values = np.sort(values.ravel())
    n = len(values)
    return float(sum((2 * (i + 1) - n - 1) * v for i, v in enumerate(values)) / (n * values.sum()))


def test_scores_equal_plain_loops(classifier: Classifier) -> None:
    batches = _batches(5, [2, 2, 1])
    card = evaluate(classifier, batches, Protocol())
    images, labels = torch.cat([b.images for b in batches]).float() / 255, torch.cat([b.labels for b in batches])
    truth = torch.cat([b.attention for b in batches if b.attention is not None])
    correct, ginis, mass = [], [], []
    for image, label, evidence in zip(images, labels, truth, strict=True):
        x = ((image - 0.5) / torch.tensor([0.2, 0.25, 0.3])[:, None, None])[None].requires_grad_()
        logits = classifier.network(x)
        correct.append(float(logits.argmax() == label))
        (gradient,) = torch.autograd.grad(logits[0, label], x)
        saliency = gradient[0].abs().sum(0).numpy()
        ginis.append(_gini(saliency))
        if evidence.any():
            mass.append(saliency[(evidence[0] == 229).numpy()].sum() / saliency.sum())
    assert card["accuracy"].mean == pytest.approx(np.mean(correct))
    assert card["gini"].mean == pytest.approx(np.mean(ginis), abs=1e-6)
    assert card["mass_on_evidence"].mean == pytest.approx(np.mean(mass), abs=1e-6)
    # The blank image has no evidence to find.
    assert (card["gini"].images, card["mass_on_evidence"].images, card["mass_on_evidence_all"].images) == (5, 4, 5)
    assert card["mass_on_evidence_all"].mean == pytest.approx(card["mass_on_evidence"].mean * 4 / 5)


def test_without_noise_every_map_survives(classifier: Classifier) -> None:
    card = evaluate(classifier, _batches(3, [3]), Protocol((RobustnessRandom(eps=0.0),)))
    for name in ("topk_intersection", "topk_dice", "ssim", "cosine"):
        assert card[name].mean == pytest.approx(1.0, abs=1e-6), name


def test_more_noise_leaves_less(classifier: Classifier) -> None:
    few, many = (evaluate(classifier, _batches(6, [6]), Protocol((RobustnessRandom(eps=eps),))) for eps in (4.0, 64.0))
    assert many["cosine"].mean < few["cosine"].mean < 1


def test_the_same_seed_gives_the_same_card_whatever_the_batches(classifier: Classifier) -> None:
    one = evaluate(classifier, _batches(6, [6]), Protocol(seed=3))
    assert one == evaluate(classifier, _batches(6, [6]), Protocol(seed=3))
    split = evaluate(classifier, _batches(6, [2, 4]), Protocol(seed=3))
    for name, wanted in one.entries.items():
        assert split[name].mean == pytest.approx(wanted.mean, abs=1e-5), name


def test_limit_and_missing_truth(classifier: Classifier) -> None:
    card = evaluate(classifier, _batches(6, [4, 2], attention=False), limit=5)
    assert card["accuracy"].images == 5
    assert not any("truth" in e.group for e in card.entries.values())


def test_a_scorecard_survives_being_saved(classifier: Classifier, tmp_path: Path) -> None:
    card = evaluate(classifier, _batches(4, [4]), settings={"data": "made up"})
    card.save(tmp_path / "scorecard.json")
    again = Scorecard.load(tmp_path / "scorecard.json")
    assert again.entries == card.entries
    assert again.settings["data"] == "made up"
    assert "accuracy" in str(again)


def test_damaged_and_missing_scorecards_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="gradsculpt evaluate"):
        Scorecard.load(tmp_path / "scorecard.json")
    (tmp_path / "scorecard.json").write_text("{")
    with pytest.raises(RunError, match="is no scorecard"):
        Scorecard.load(tmp_path / "scorecard.json")


def test_nothing_to_score_is_an_error(classifier: Classifier) -> None:
    with pytest.raises(ArgumentError, match="no images"):
        evaluate(classifier, [])


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    score = Score("x", 0.0, 1.0, "higher")
    entries = [entry("g", score, torch.rand(60, generator=generator), seed) for seed in range(200)]
    covered = sum(e.low <= 0.5 <= e.high for e in entries) / len(entries)
    assert 0.89 <= covered <= 0.99
    assert all(e.low <= e.mean <= e.high for e in entries)


def test_an_interval_is_that_of_95_per_cent() -> None:
    # Of 400 zeros and ones half and half, the mean has the standard error sqrt(1 / 4 / 400) = 0.025; 95% of a normal
    # distribution lie within 1.96 of them; 90% within 1.645. Then NumPy's resampling of other values.
    coin = entry("g", Score("x", 0.0, 1.0, "higher"), torch.arange(400) % 2, seed=0)
    assert coin.mean == 0.5
    assert coin.high - coin.low == pytest.approx(2 * 1.96 * 0.025, rel=0.08)
    values = np.random.default_rng(0).exponential(size=50)
    means = np.random.default_rng(1).choice(values, (20_000, 50)).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    skewed = [entry("g", Score("x", 0.0, 9.0, None), torch.from_numpy(values), seed) for seed in range(20)]
    assert np.mean([e.low for e in skewed]) == pytest.approx(low, abs=0.01)
    assert np.mean([e.high for e in skewed]) == pytest.approx(high, abs=0.01)
    assert skewed[0].low != skewed[1].low


def test_a_scorecard_of_an_earlier_version_still_loads() -> None:
    card = Scorecard.load(Path(__file__).parent / "earlier_scorecard.json")
    assert card["accuracy"] == Entry(
        "accuracy", Score("accuracy", 0.0, 1.0, "higher", "fraction"), 0.8557142857142858, 0.8378571428571429,
        0.8735892857142857, 1400,
    )  # fmt: skip
    assert card.settings["groups"] == ["accuracy", "sparsity", "robustness-random", "ground-truth"]
    assert card["negative_log_likelihood"].score.high == float("inf")
    assert (card.curves["noise_cosine"].x, card.curves["noise_cosine"].caption) == ((4.0, 16.0), "")
    assert len(card.plot().get_axes()) == 4  # from 0 to 1, in nats, the curve, and an empty place


def test_maps_that_are_zero_are_told_in_the_first_line(tmp_path: Path) -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 3)

    class Dark(nn.Module):
        """A network whose map is zero wherever the image is dark."""

        def forward(self, x: Tensor) -> Tensor:
            return ((x.mean(dim=(1, 2, 3)) - 0.5).relu()[:, None] + 1) * torch.tensor([[1.0, 2.0, 3.0]])

    images = torch.cat([torch.full((2, 3, 8, 8), 0.2), torch.full((3, 3, 8, 8), 0.9)])
    data = [(images, torch.zeros(5, dtype=torch.long))]
    protocol = Protocol((Accuracy(), Sparsity()))
    card = evaluate(Constant(), data, protocol, name="constant", folder=tmp_path)
    assert str(card).splitlines()[0].startswith("constant: ALL 5 MAPS ARE ZERO EVERYWHERE")
    card.save(tmp_path / "card.json")
    assert Scorecard.load(tmp_path / "card.json").warning == card.warning
    some = evaluate(Dark(), data, protocol)
    assert "2 OF 5 MAPS ARE ZERO EVERYWHERE" in str(some).splitlines()[0]
    assert some["zero_map"].mean == 0.4
    assert not evaluate(network(), batches(), PROTOCOL).warning
    assert not evaluate(Constant(), data, Protocol((Accuracy(),))).warning


def test_the_modes_of_the_parts_of_a_network_stay() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Dropout(0.5), network()).eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    model = Wrapper()  # in training itself, as every new module is
    card = evaluate(model, batches(), PROTOCOL)
    assert not any(module.training for module in model.inner.modules())
    expected = evaluate(model.eval(), batches(), PROTOCOL)
    assert {name: e.mean for name, e in card.entries.items()} == pytest.approx(
        {name: e.mean for name, e in expected.entries.items()}, abs=1e-6
    )


def test_progress_is_told_after_every_score_and_what_it_raises_ends_the_evaluation(classifier: Classifier) -> None:
    class StopError(Exception):
        pass

    data, told = _batches(4, [3, 1]), list[tuple[int, int | None]]()
    heard = evaluate(classifier, data, limit=4, progress=lambda *each: told.append(each))
    assert heard == evaluate(classifier, data, limit=4)
    done = [each for each, _ in told]
    assert done == sorted(done)
    assert set(told) == {(0, 4), (3, 4), (4, 4)}
    assert min(done.count(0), done.count(3)) > len(heard.entries)

    def stop(done: int, total: int | None) -> None:
        raise StopError

    passes: list[int] = []
    hook = classifier.network.register_forward_hook(lambda *_: passes.append(1))
    with pytest.raises(StopError):
        evaluate(classifier, data, progress=stop)
    hook.remove()
    assert len(passes) <= 1
