"""The scorecard against plain loops."""

import numpy as np
import pytest
import torch
from torch import nn

from gradsculpt.data import Batch
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation import Protocol, Scorecard, evaluate
from gradsculpt.evaluation.entries import entry
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import Score
from gradsculpt.models import Classifier


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 64, 3))
    return Classifier(network, InputSpace((0.5,) * 3, (0.2, 0.25, 0.3)), ("a", "b", "c"), 8).eval()


def _batches(count, sizes, attention=True):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (count,), generator=generator)
    truth = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    truth[1:, :, 2:5, 2:5] = 102
    truth[1:, :, 3, 3:5] = 229
    parts = [torch.split(t, sizes) for t in (images, labels, truth)]
    return [Batch(x, y, t if attention else None) for x, y, t in zip(*parts, strict=True)]


def _gini(values):
    values = np.sort(values.ravel())
    n = len(values)
    return sum((2 * (i + 1) - n - 1) * v for i, v in enumerate(values)) / (n * values.sum())


def test_scores_equal_plain_loops(classifier):
    batches = _batches(5, [2, 2, 1])
    card = evaluate(classifier, batches, Protocol())
    images, labels = torch.cat([b.images for b in batches]).float() / 255, torch.cat([b.labels for b in batches])
    truth = torch.cat([b.attention for b in batches])
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


def test_without_noise_every_map_survives(classifier):
    card = evaluate(classifier, _batches(3, [3]), Protocol(eps=0.0))
    for name in ("topk_intersection", "topk_dice", "ssim", "cosine"):
        assert card[name].mean == pytest.approx(1.0, abs=1e-6), name


def test_more_noise_leaves_less(classifier):
    few, many = (evaluate(classifier, _batches(6, [6]), Protocol(eps=eps)) for eps in (4.0, 64.0))
    assert many["cosine"].mean < few["cosine"].mean < 1


def test_the_same_seed_gives_the_same_card_whatever_the_batches(classifier):
    one = evaluate(classifier, _batches(6, [6]), Protocol(seed=3))
    assert one == evaluate(classifier, _batches(6, [6]), Protocol(seed=3))
    split = evaluate(classifier, _batches(6, [2, 4]), Protocol(seed=3))
    for name, wanted in one.entries.items():
        assert split[name].mean == pytest.approx(wanted.mean, abs=1e-5), name


def test_limit_and_missing_truth(classifier):
    card = evaluate(classifier, _batches(6, [4, 2], attention=False), limit=5)
    assert card["accuracy"].images == 5
    assert not any("truth" in e.group for e in card.entries.values())


def test_a_scorecard_survives_being_saved(classifier, tmp_path):
    card = evaluate(classifier, _batches(4, [4]), settings={"data": "made up"})
    card.save(tmp_path / "scorecard.json")
    again = Scorecard.load(tmp_path / "scorecard.json")
    assert again.entries == card.entries
    assert again.settings["data"] == "made up"
    assert "accuracy" in str(again)


def test_damaged_and_missing_scorecards_say_what_to_do(tmp_path):
    with pytest.raises(RunError, match="gradsculpt evaluate"):
        Scorecard.load(tmp_path / "scorecard.json")
    (tmp_path / "scorecard.json").write_text("{")
    with pytest.raises(RunError, match="is no scorecard"):
        Scorecard.load(tmp_path / "scorecard.json")


def test_nothing_to_score_is_an_error(classifier):
    with pytest.raises(ArgumentError, match="no images"):
        evaluate(classifier, [])


def test_intervals_cover_the_mean_as_often_as_they_say():
    generator = torch.Generator().manual_seed(0)
    score = Score("x", 0.0, 1.0, "higher")
    entries = [entry("g", score, torch.rand(60, generator=generator), seed) for seed in range(200)]
    covered = sum(e.low <= 0.5 <= e.high for e in entries) / len(entries)
    assert 0.89 <= covered <= 0.99
    assert all(e.low <= e.mean <= e.high for e in entries)
