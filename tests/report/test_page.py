"""The page: self-contained, complete, escaped, and small enough to send."""

import base64
import html
import io
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradsculpt.data import Batch, ImageSet
from gradsculpt.evaluation import (
    Accuracy,
    Fidelity,
    Protocol,
    RobustnessAttack,
    RobustnessRandom,
    Sanity,
    Scorecard,
    Sparsity,
    evaluate,
)
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier
from gradsculpt.report import RunView, Sample, choose, read_curve, render, sample_maps, sheet
from gradsculpt.report.meaning import of_entry
from gradsculpt.report.table import score_groups

CELLS = 3
"""Lines of a sample: clean, noisy, attacked."""


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.alternatives: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.links += [values[key] for key in ("src", "href", "srcset", "data") if key in values]
        if tag == "img":
            self.alternatives.append(values["alt"])
        self.ids += [values["id"]] if "id" in values else []
        if tag not in ("img", "br", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


PROTOCOL = Protocol(
    (
        Accuracy(),
        Sparsity(),
        RobustnessRandom(rps_levels=(4.0, 8.0, 16.0), draws=2),
        RobustnessAttack(levels=(1.0, 2.0), steps=2, images=2),
        Fidelity(steps=4),
        Sanity(images=2, stages=10),
    )
)
Report = tuple[list[RunView], list[Sample]]


def _classifier(seed: int, side: int = 8) -> Classifier:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 8), nn.Softplus(), nn.Linear(8, 2))
    return Classifier(network, InputSpace((0.5,) * 3, (0.2,) * 3), ("a", "b"), side).eval()


def _samples(count: int, side: int = 8) -> list[Sample]:
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
def report() -> Report:
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
def page(report: Report) -> str:
    return render(*report, note="A note.")


def _read(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    return tags


def test_the_page_is_well_formed_and_has_no_outside_links(page: str) -> None:
    tags = _read(page)
    kinds = [link.partition(",")[0] for link in tags.links if not link.startswith("#")]
    assert (
        {link[1:] for link in tags.links if link.startswith("#")} == {"maps", "scores", "plots", "how"} == set(tags.ids)
    )
    assert set(kinds) == {"data:image/webp;base64", "data:image/svg+xml;base64"}
    # for each of three samples its truth and the overlays of two runs, and an image and their maps of each kind
    assert kinds.count("data:image/webp;base64") == 3 * (1 + 2 + CELLS * (1 + 2))
    # noise, two of the top-k attack, insertion, deletion, cascade; accuracy against sparsity; two of training
    assert kinds.count("data:image/svg+xml;base64") == 9
    assert all(tags.alternatives)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert "url(" not in page


def test_the_plots_are_svg_with_words_and_load_nothing(page: str) -> None:
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


def test_names_are_escaped_and_scores_are_shown(page: str) -> None:
    assert "two &amp; more" in page
    assert "class &lt;1&gt;" in page
    for word in ("accuracy", "gini", "ssim", "A note.", "attacked", "insertion", "randomized"):
        assert word in page


def test_nothing_is_attacked_where_the_protocol_does_not_say_so(report: Report) -> None:
    views, samples = report
    maps = sample_maps(_classifier(0), samples, Protocol())
    assert maps.attacked == maps.attacked_images == []
    card = replace(views[0].card, settings={**views[0].card.settings, **Protocol().settings()}, curves={})
    page = render([RunView("one", "", card, [], maps)], samples)
    tags = _read(page)
    assert len(tags.alternatives) == 3 * (1 + 1 + 2 * (1 + 1))
    for absent in ("attacked for this run", "▲ better and", 'id="plots"'):
        assert absent not in page


def test_the_attack_of_the_samples_is_that_of_the_protocol(report: Report) -> None:
    samples = report[1]
    for eps in (0.0, 4.0):
        maps = sample_maps(_classifier(0), samples, Protocol((RobustnessAttack(eps=eps, steps=2, images=2),)))
        found = [
            np.abs(after.astype(int) - sample.pixels).max()
            for after, sample in zip(maps.attacked_images, samples, strict=True)
        ]
        # Every image of the page, whatever the number that the scorecard attacks.
        assert len(found) == 3
        assert max(found) <= eps
        assert (max(found) > 0) == (eps > 0)
        assert (maps.attack_size, maps.noise_size) == (eps, 8.0)
        noisy = np.stack(maps.noisy_images).astype(int) - np.stack([sample.pixels for sample in samples])
        assert 0 < np.abs(noisy).max() <= 8 + 1


def test_samples_say_what_each_run_takes_them_for(report: Report) -> None:
    views, samples = report
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples])).permute(0, 3, 1, 2) / 255
        predicted = _classifier(1)(pixels).argmax(dim=1).tolist()
    assert views[1].maps.predicted == ["ab"[i] for i in predicted]
    assert views[1].maps.correct == [i == sample.label for i, sample in zip(predicted, samples, strict=True)]


def test_each_sample_has_its_file_its_class_and_how_sure_the_network_is(report: Report) -> None:
    views, samples = report
    named = [replace(sample, name=f"photo-{i}") for i, sample in enumerate(samples)]
    page = " ".join(re.sub(r"data:[^\"]*", "", render(views, named)).split())
    for i, sample in enumerate(named):
        assert f'<h3>class &lt;{i}&gt;</h3> <span class="file">{sample.name}</span>' in page
        said, share, right = (getattr(views[1].maps, key)[i] for key in ("predicted", "probability", "correct"))
        assert f"{'✓' if right else '✗'} {said} {share:.0%}" in page
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples])).permute(0, 3, 1, 2) / 255
        expected = _classifier(1)(pixels).softmax(dim=1).amax(dim=1)
    assert views[1].maps.probability == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_map_says_of_which_class_it_is_and_how_likely_the_network_holds_it(report: Report) -> None:
    views, samples = report
    page = " ".join(re.sub(r"data:[^\"]*", "", render(views, samples)).split())
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples])).permute(0, 3, 1, 2) / 255
        shares = _classifier(1)(pixels).softmax(dim=1)
    assert "the true one, which stands below the map" in page
    assert views[1].maps.explained == ["ab"[sample.label] for sample in samples]
    for row, sample in zip(shares, samples, strict=True):
        wrong = int(row.argmax()) != sample.label
        more = f", which it gives {row[sample.label]:.0%}" if wrong else ""
        assert f"<figcaption>map of {'ab'[sample.label]}{more}</figcaption>" in page
    assert False in views[1].maps.correct  # so that the case is among them


def test_what_is_unlikely_is_not_called_impossible(report: Report) -> None:
    (view, _), samples = report
    maps = replace(view.maps, predicted=["b"] * 3, explained=["a"] * 3, share=[0.001, 0.006, 0.0])
    page = " ".join(render([replace(view, maps=maps)], samples).split())
    given = re.findall(r"map of a, which it gives ([^<]*)<", page)
    assert given == ["under 1%", "1%", "0%"]


def test_pictures_come_before_scores_and_settings_last(page: str) -> None:
    places = [page.index(text) for text in ('class="summary"', 'id="maps"', 'id="scores"', 'id="plots"', 'id="how"')]
    assert places == sorted(places)
    end = page[places[-1] :]
    assert "About one</dt><dd><code>L1(0.01)" in end
    assert "{&#39;" not in end
    assert date.today().isoformat() in end
    assert f"torch {version('torch')}" in end
    for setting in ("Seed", "Target", "steps=4", "L1(0.01)"):
        assert setting in end


def test_a_score_has_its_sentence_its_range_and_its_yardsticks(page: str, report: Report) -> None:
    text = re.sub(r"<[^>]*>", " ", page.partition('id="scores"')[2])
    text = " ".join(text.split()).replace("&#39;", "'").replace("&nbsp;", "")
    for entry in report[0][0].card.entries.values():
        assert entry.score.meaning in text or entry.score.name.endswith("topk_dice")  # a row with the intersection
    accuracy = text[text.index("accuracy ↑") :]
    assert "How often the first answer of the network is right. 0% to 100%, higher is better ◇ chance 50.0%" in accuracy
    held = [view.card["topk_intersection"].random_map for view in report[0]]
    assert f"▽ random map {50 * sum(each or 0.0 for each in held):.1f}%" in text
    assert text.count("4 images") == 0
    assert "2 images, too few to tell much" in text


def test_dark_print_and_small_screens_and_the_keyboard_are_thought_of(page: str) -> None:
    for rule in (
        "prefers-color-scheme: dark",
        "@media print",
        "max-width: 44rem",
        ":focus-visible",
        "Skip to the scores",
    ):
        assert rule in page
    figures = [base64.b64decode(link.partition(",")[2]) for link in _read(page).links if "svg" in link]
    assert all(b"prefers-color-scheme: dark" in figure for figure in figures)


def test_small_pictures_keep_every_pixel_and_every_colour(report: Report) -> None:
    views, samples = report
    page = render(views, samples)
    shown = [
        Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))) for link in _read(page).links if "webp" in link
    ]
    pictures = [np.asarray(image.convert("RGB")).tobytes() for image in shown]
    for i, sample in enumerate(samples):
        for picture in (sample.pixels, views[0].maps.clean[i], views[1].maps.overlays[i], views[1].maps.attacked[i]):
            assert np.ascontiguousarray(picture).tobytes() in pictures


def test_the_page_says_how_its_pictures_and_scores_came_about(page: str) -> None:
    text = " ".join(page.split())
    assert "Noisy: uniform noise of ±8/255." in text
    assert "attacked for this run, within ±4/255; the attacked image shown is that of one." in text
    assert "the one after uniform noise of ±8/255; top-k counts a share of 0.4 of the non-zero pixels." in text
    assert "Attacks: 2 steps on the first 2 images at most; the targeted one within ±4/255" in text
    assert "without evidence" not in text
    assert "A curve that rises early is better" in text


def test_samples_are_of_every_class_in_turn_each_one_image_further_into_itself() -> None:
    # By hand: class x has the images 1, 3 and 6, class y 0, 4 and 7, class z 2 and 5; x begins with its first, y with
    # its second and z with its third, which it does not have, so it begins again.
    labels = np.array([1, 0, 2, 0, 1, 2, 0, 1])
    pixels = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), dtype=np.uint8)
    images = ImageSet(pixels, labels, ("x", "y", "z"), tuple("abcdefgh"), attention=pixels[..., 0])
    chosen = choose(images, 7)
    assert [int(sample.pixels[0, 0, 0]) for sample in chosen] == [1, 4, 2, 3, 7, 5, 6]
    assert [sample.caption for sample in chosen] == ["x", "y", "z", "x", "y", "z", "x"]
    assert [sample.truth is not None and int(sample.truth[0, 0]) for sample in chosen] == [1, 4, 2, 3, 7, 5, 6]
    assert [sample.label for sample in choose(images, 100)] == [0, 1, 2, 0, 1, 2, 0, 1]


def test_runs_of_one_name_stay_apart(report: Report) -> None:
    views, samples = report
    page = render([views[0], replace(views[1], name="one")], samples)
    assert "one (2)" in page


def test_a_scorecard_of_an_earlier_version_has_its_page(report: Report) -> None:
    views, samples = report
    card = Scorecard.load(Path(__file__).parent.parent / "evaluation" / "earlier_scorecard.json")
    page = render([replace(views[0], card=card)], samples)
    assert "Maps: Gradient(output=&#39;logit&#39;) of the true class." in page
    assert "maps under uniform noise (RPS)" in page
    assert "Do the maps point at few places that hang together?" in page
    assert "mass on evidence" in page


def test_large_images_are_made_smaller_until_the_page_can_be_sent() -> None:
    samples, classifier = _samples(3, side=224), _classifier(0, side=224)
    batch = Batch(torch.zeros(2, 3, 224, 224), torch.tensor([0, 1]), None)
    card = evaluate(classifier, [batch], Protocol())
    maps = sample_maps(classifier, samples, Protocol((RobustnessAttack(steps=1),)))
    views = [RunView(f"run {i}", "", card, [], maps) for i in range(6)]
    page = render(views, samples)
    assert len(page) < 3_000_000
    sizes = {
        Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))).size
        for link in _read(page).links
        if "webp" in link
    }
    assert len(sizes) == 1
    assert 64 <= min(sizes)[0] < 224


def test_the_sheet_has_a_column_a_run_and_one_for_the_truth_if_it_is_known(report: Report) -> None:
    views, samples = report
    whole, blind = (
        Image.open(io.BytesIO(sheet(views, shown))) for shown in (samples, [replace(s, truth=None) for s in samples])
    )
    assert whole.width > blind.width
    several = Image.open(io.BytesIO(sheet([views[0]] * 3, samples)))
    assert several.width < whole.width  # three have no room for overlays: image, truth, 3 against 2 + 2 * 2
    assert abs(whole.height - blind.height) < 30


def test_a_run_without_metrics_has_no_curve(tmp_path: Path) -> None:
    assert read_curve(tmp_path) == []


def test_every_score_of_every_run_is_told_in_a_sentence_in_its_cell(report: Report, page: str) -> None:
    views, _ = report
    said = re.findall(r'<span class="said">([^<]*)</span>', page)
    rows = [row for group in score_groups([view.card for view in views]) for row in group.rows]
    assert len(said) == 2 * len(rows) > 20
    assert all(re.fullmatch(r"[A-Z0-9][^.]*(\.\d[^.]*)*\.", text) for text in said)
    for view in views:
        assert html.unescape(page).count(of_entry(view.card["half_weight"], brief=True)) == 1
