"""The page: self-contained, complete, escaped, and small enough to send."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradsculpt.data import Batch
from gradsculpt.evaluation import Protocol, evaluate
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier
from gradsculpt.report import RunView, Sample, read_curve, render, sample_maps, sheet

CELLS = 3
"""Lines of a sample: clean, noisy, attacked."""


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links, self.alternatives = [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[key] for key in ("src", "href", "srcset", "data") if key in values]
        if tag == "img":
            self.alternatives.append(values["alt"])
        if tag not in ("img", "br", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


PROTOCOL = replace(
    Protocol.quick(), attack_steps=2, attack_images=2, attack_levels=(1.0, 2.0), draws=2, steps=4, sanity_images=2
)


def _classifier(seed, side=8):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 8), nn.Softplus(), nn.Linear(8, 2))
    return Classifier(network, InputSpace((0.5,) * 3, (0.2,) * 3), ("a", "b"), side).eval()


def _samples(count, side=8):
    random = np.random.default_rng(0)
    return [
        Sample(
            random.integers(0, 256, (side, side, 3), np.uint8),
            i % 2,
            f"class <{i}>",
            np.full((side, side), 102, np.uint8),
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def report():
    samples = _samples(3)
    views = []
    for seed, name in enumerate(("one", "two & more")):
        classifier = _classifier(seed)
        images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        batch = Batch(images, torch.tensor([0, 1, 0, 1]), None)
        card = evaluate(classifier, [batch], PROTOCOL, name=name, settings={"data": "toy", "split": "test"})
        curve = [{"epoch": "1", "val_accuracy": "0.5", "val_gini": "0.4"}]
        views.append(RunView(name, "L1(0.01)", card, curve, sample_maps(classifier, samples, PROTOCOL)))
    return views, samples


@pytest.fixture(scope="module")
def page(report):
    return render(*report, note="A note.")


def _read(page):
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    return tags


def test_the_page_is_well_formed_and_has_no_outside_links(page):
    tags = _read(page)
    kinds = [link.partition(",")[0] for link in tags.links]
    assert set(kinds) == {"data:image/png;base64", "data:image/svg+xml;base64"}
    # for each of three samples its truth, and an image and two runs' maps in each of three lines
    assert kinds.count("data:image/png;base64") == 3 * (1 + CELLS * (1 + 2))
    # noise, two of the top-k attack, insertion, deletion, cascade; accuracy against sparsity; two of training
    assert kinds.count("data:image/svg+xml;base64") == 9
    assert all(tags.alternatives)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert "url(" not in page


def test_the_plots_are_svg_with_words_and_load_nothing(page):
    links = [link for link in _read(page).links if "svg" in link]
    words = []
    for link in links:
        root = ElementTree.fromstring(base64.b64decode(link.partition(",")[2]))
        names = [value for element in root.iter() for key, value in element.attrib.items() if key.endswith("href")]
        assert all(name.startswith("#") for name in names)
        words += [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for label in (
        "one",
        "two & more",
        "epoch",
        "half-width of the noise (8-bit levels)",
        "probability of the class (%)",
        "accuracy (%)",
    ):
        assert label in words


def test_names_are_escaped_and_scores_are_shown(page):
    assert "two &amp; more" in page
    assert "class &lt;1&gt;" in page
    for word in ("accuracy", "gini", "ssim", "A note.", "attacked", "insertion", "randomized"):
        assert word in page


def test_nothing_is_attacked_where_the_protocol_does_not_say_so(report):
    views, samples = report
    maps = sample_maps(_classifier(0), samples, Protocol())
    assert maps.attacked == maps.attacked_images == []
    card = replace(views[0].card, settings={**views[0].card.settings, "groups": Protocol().groups}, curves={})
    page = render([RunView("one", "", card, [], maps)], samples)
    tags = _read(page)
    assert len(tags.alternatives) == 3 * (1 + 2 * (1 + 1))
    for absent in ("attacked for this run", "▲ better and", "<h2>Plots</h2>"):
        assert absent not in page


def test_the_attack_of_the_samples_is_that_of_the_protocol(report):
    samples = report[1]
    for eps in (0.0, 4.0):
        maps = sample_maps(_classifier(0), samples, replace(PROTOCOL, attack_eps=eps))
        found = [
            np.abs(after.astype(int) - sample.pixels).max()
            for after, sample in zip(maps.attacked_images, samples, strict=True)
        ]
        # Every image of the page, whatever the number that the scorecard attacks.
        assert len(found) == 3
        assert max(found) <= eps
        assert (max(found) > 0) == (eps > 0)
        noisy = np.stack(maps.noisy_images).astype(int) - np.stack([sample.pixels for sample in samples])
        assert 0 < np.abs(noisy).max() <= PROTOCOL.eps + 1


def test_samples_say_what_each_run_takes_them_for(report):
    views, samples = report
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples])).permute(0, 3, 1, 2) / 255
        predicted = _classifier(1)(pixels).argmax(dim=1).tolist()
    assert views[1].maps.predicted == ["ab"[i] for i in predicted]
    assert views[1].maps.correct == [i == sample.label for i, sample in zip(predicted, samples, strict=True)]


def test_runs_of_one_name_stay_apart(report):
    views, samples = report
    page = render([views[0], replace(views[1], name="one")], samples)
    assert "one (2)" in page


def test_large_images_are_made_smaller_until_the_page_can_be_sent():
    samples, classifier = _samples(3, side=224), _classifier(0, side=224)
    batch = Batch(torch.zeros(2, 3, 224, 224), torch.tensor([0, 1]), None)
    card = evaluate(classifier, [batch], Protocol())
    maps = sample_maps(classifier, samples, replace(PROTOCOL, attack_steps=1))
    views = [RunView(f"run {i}", "", card, [], maps) for i in range(6)]
    page = render(views, samples)
    assert len(page) < 3_000_000
    sizes = {
        Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))).size
        for link in _read(page).links
        if "png" in link
    }
    assert len(sizes) == 1
    assert 64 <= min(sizes)[0] < 224


def test_the_sheet_has_a_column_a_run_and_one_for_the_truth_if_it_is_known(report):
    views, samples = report
    whole, blind = (
        Image.open(io.BytesIO(sheet(views, shown))) for shown in (samples, [replace(s, truth=None) for s in samples])
    )
    assert whole.width > blind.width
    assert abs(whole.height - blind.height) < 30


def test_a_run_without_metrics_has_no_curve(tmp_path):
    assert read_curve(tmp_path) == []
