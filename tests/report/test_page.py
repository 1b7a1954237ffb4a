"""The page: self-contained, complete, escaped."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

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


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links, self.images = [], [], 0

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[key] for key in ("src", "href") if key in values]
        self.images += tag == "img"
        if tag == "img":
            assert values.get("alt")
        if tag not in ("img", "br", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    samples = [
        Sample(np.full((8, 8, 3), 40 * i, np.uint8), i % 2, f"class <{i}>", np.full((8, 8), 102, np.uint8))
        for i in range(3)
    ]
    views = []
    for name in ("one", "two & more"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        classifier = Classifier(network, InputSpace((0.5,) * 3, (0.2,) * 3), ("a", "b"), 8).eval()
        batch = Batch(torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), None)
        card = evaluate(classifier, [batch], name=name, settings={"data": "toy", "split": "test"})
        curve = [{"epoch": "1", "val_accuracy": "0.5", "val_gini": "0.4"}]
        views.append(RunView(name, "L1(0.01)", card, curve, sample_maps(classifier, samples, Protocol())))
    return views, samples


@pytest.fixture(scope="module")
def page(report):
    return render(*report, note="A note.")


def test_the_page_is_well_formed_and_has_no_outside_links(page):
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    assert all(link.startswith("data:image/png;base64,") for link in tags.links)
    # image, truth, and two maps for each of two runs, for three samples; and the curves
    assert tags.images == 3 * (2 + 2 * 2) + 1
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_names_are_escaped_and_scores_are_shown(page):
    assert "two &amp; more" in page
    assert "class &lt;1&gt;" in page
    for word in ("accuracy", "gini", "ssim", "A note."):
        assert word in page


def test_the_sheet_has_a_column_a_run_and_one_for_the_truth_if_it_is_known(report):
    views, samples = report
    whole, blind = (
        Image.open(io.BytesIO(sheet(views, shown))) for shown in (samples, [replace(s, truth=None) for s in samples])
    )
    assert whole.width > blind.width
    assert abs(whole.height - blind.height) < 30


def test_a_run_without_metrics_has_no_curve(tmp_path):
    assert read_curve(tmp_path) == []
