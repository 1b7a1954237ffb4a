"""Scorecards side by side: those that are there, those that are made, and those of strangers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gradsculpt.cli.main import main
from gradsculpt.cli.opened import open_run
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation import Scorecard
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, save
from gradsculpt.viewer.comparing import Compare, Comparison, Evaluate, compared, evaluated
from gradsculpt.viewer.subjects import Subject
from gradsculpt.viewer.told import sentence
from gradsculpt.viewer.work import Step, Ticket
from tests.viewer.small import cancelled_after, done, subject

QUICK = {"groups": ["accuracy", "sparsity", "robustness-random"]}


def make_run(path: Path, photos: Path, seed: int, size: int = 16) -> Path:
    kind = {"model": "convnet", "num_classes": 2, "image_size": size, "softplus": 3.0}
    torch.manual_seed(seed)
    network = build("convnet", num_classes=2, image_size=size)
    save(path, Classifier(network, InputSpace((0.5,) * 3, (0.5,) * 3), ("cat", "dog"), size), build=kind)
    (path / "config.yaml").write_text(f"data: folder:{photos}\n")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two runs that were not scored, and of photographs."""
    folder, numbers = tmp_path_factory.mktemp("compare"), np.random.default_rng(0)
    for part in ("train", "test"):
        for i in range(12):
            path = folder / "photos" / part / ("cat" if i % 2 else "dog") / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(numbers.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
    for seed, name in enumerate(("std", "en")):
        make_run(folder / name, folder / "photos", seed)
    return folder


def subjects(place: Path, *names: str) -> list[Subject]:
    made = []
    for key, name in enumerate(names or ("std", "en")):
        path = place / name
        made.append(Subject(str(key), name, lambda _, path=path: open_run(path), lambda *_: (), path))  # type: ignore[misc]
    return made


def evaluation(place: Path, folder: Path, *names: str, **options: Any) -> Evaluate:
    return Evaluate(subjects(place, *names), folder, 4, {**QUICK, **options}, limit=8)


@pytest.fixture(scope="module")
def scored(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    """Return the folder of a page in which both runs were scored, and what came of it."""
    folder = tmp_path_factory.mktemp("page")
    return folder, done(evaluation(place, folder))


def test_scores_are_those_of_the_command_on_the_same_images(
    place: Path, scored: tuple[Path, Comparison], tmp_path: Path
) -> None:
    words = ["--quick", "--limit", "8", "--groups", *QUICK["groups"], "--count", "1", "--device", "cpu"]
    words += ["--cache-dir", str(tmp_path / "cache")]
    page = tmp_path / "page.html"
    assert main(["compare", str(place / "std"), str(place / "en"), "--out", str(page), *words]) == 0
    for name, card in zip(("std", "en"), scored[1].cards, strict=True):
        expected = Scorecard.load(tmp_path / "page-scores" / name)
        for key, entry in expected.entries.items():
            assert card[key].mean == pytest.approx(entry.mean, rel=1e-4, abs=1e-6), key
        assert card.settings["fingerprints"] == expected.settings["fingerprints"]


def test_nothing_is_written_into_runs(place: Path, scored: tuple[Path, Comparison]) -> None:
    for name in ("std", "en"):
        there = sorted(path.name for path in (place / name).iterdir())
        assert there == ["config.yaml", "model.json", "model.safetensors"]


def test_scores_that_there_are_are_compared_and_used_again(place: Path, scored: tuple[Path, Comparison]) -> None:
    folder, made = scored
    again = done(Compare(subjects(place), folder, 4))
    assert [card.entries for card in again.cards] == [card.entries for card in made.cards]
    assert again.summary == made.summary
    assert evaluated(subjects(place), folder) == {"0": "8 images scored", "1": "8 images scored"}
    told = [each.text for each in evaluation(place, folder)(Ticket()) if isinstance(each, Step)]
    assert any("used again" in text for text in told)
    assert not any(text.startswith("scoring") for text in told)


def test_every_score_has_a_direction_an_interval_and_a_meaning(scored: tuple[Path, Comparison]) -> None:
    rows = [row for group in scored[1].groups for row in group.rows]
    assert len(rows) > 10
    for row in rows:
        assert row.meaning
        assert row.span
        assert row.better in ("higher", "lower", None)
        assert all(cell and cell.interval.startswith("[") for cell in row.cells)
        assert all(row.said)


def test_the_curves_are_drawn(scored: tuple[Path, Comparison]) -> None:
    titles = [plot.title for plot in scored[1].plots]
    assert "Robustness to noise" in titles
    assert all(plot.svg.startswith(b"<?xml") and plot.caption for plot in scored[1].plots)


def test_no_sentence_has_a_path(place: Path, scored: tuple[Path, Comparison]) -> None:
    made = scored[1]
    for text in (*made.summary, *made.warnings, *made.notes):
        assert str(place) not in text
        assert "/photos" not in text


def test_progress_rises_to_the_whole(place: Path, tmp_path: Path) -> None:
    told = [each for each in evaluation(place, tmp_path)(Ticket()) if isinstance(each, Step)]
    shares = [each.share for each in told if "scoring" in each.text and each.share is not None]
    assert shares == sorted(shares)
    assert {0.0, 0.5, 1.0} <= set(shares)


def test_a_cancelled_evaluation_leaves_no_scores(place: Path, tmp_path: Path) -> None:
    told = cancelled_after(evaluation(place, tmp_path), "scoring")
    assert not any(text.startswith("scoring en") for text in told)
    assert evaluated(subjects(place), tmp_path) == {"0": "not scored yet", "1": "not scored yet"}


def test_what_was_scored_before_an_evaluation_was_cancelled_is_kept(place: Path, tmp_path: Path) -> None:
    cancelled_after(evaluation(place, tmp_path), "scoring en", 0.5)
    assert evaluated(subjects(place), tmp_path) == {"0": "8 images scored", "1": "not scored yet"}
    assert [path.name[0] for path in (tmp_path / "scores").glob("*-*")] == ["0"]  # nothing is left of the other


def test_no_more_scores_are_kept_than_a_few(place: Path, scored: tuple[Path, Comparison]) -> None:
    folder, work = scored[0], evaluation(place, scored[0])
    for _ in range(5):
        done(work)  # from the scores that there are
    assert 0 < len(list((folder / "scores").glob("0-*"))) <= 4


def test_a_network_that_was_not_scored_is_a_sentence(place: Path, tmp_path: Path) -> None:
    for others in ([], [subject("7")]):
        with pytest.raises(RunError, match="not scored yet"):
            done(Compare([*subjects(place), *others], tmp_path, 4))


def test_a_network_without_data_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no run with data of its own"):
        done(Evaluate([subject("0")], tmp_path, 4, QUICK))


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_and_too_many_networks_are_a_sentence(place: Path, tmp_path: Path, count: int) -> None:
    with pytest.raises(ArgumentError, match="from 1 to 4"):
        Compare([subject(str(i)) for i in range(count)], tmp_path, 4)


# What strangers leave in the folder of a run.

NO_PAIRS: tuple[Any, ...] = ([], {"sparsity": "x"}, {"sparsity": [1, 2]}, {"sparsity": ["a"]})


def left(tmp_path: Path, scored: tuple[Path, Comparison], *changes: Mapping[str, Any]) -> list[Subject]:
    """Return subjects whose run directories hold the first scorecard with some settings of its own."""
    found = []
    for i, change in enumerate(changes):
        path = tmp_path / f"run{i}"
        path.mkdir(exist_ok=True)
        card = scored[1].cards[0]
        Scorecard(card.name, {**card.settings, **change}, card.entries, card.curves).save(path / "scorecard.json")
        found.append(Subject(str(i), f"run {i}", lambda _: None, lambda *_: (), path))  # type: ignore[arg-type,return-value]
    return found


def test_scores_of_other_images_or_settings_are_not_compared(tmp_path: Path, scored: tuple[Path, Comparison]) -> None:
    prints = dict(scored[1].cards[0].settings["fingerprints"])
    for change in ({"images": 9}, {"data": "cells"}, {"attribution": "SmoothGrad()"}, {"seed": 1}, {"split": "val"}):
        other = {"fingerprints": {**prints, "images": "another"}, **change}
        with pytest.raises(ArgumentError, match="not scored on the same images in the same way"):
            done(Compare(left(tmp_path, scored, {}, other), tmp_path, 4))


def test_scores_of_which_it_is_not_known_whether_the_images_are_the_same_say_so(
    tmp_path: Path, scored: tuple[Path, Comparison]
) -> None:
    """So it is of networks that take images of other sizes, and of scorecards of earlier versions."""
    made = done(Compare(left(tmp_path, scored, {}, {"fingerprints": None}), tmp_path, 4))
    assert "cannot be told" in made.warnings[0]
    sure = done(Compare(left(tmp_path, scored, {}, {}), tmp_path, 4))
    assert not any("cannot be told" in warning for warning in sure.warnings)
    unknown = {"fingerprints": None, "data": None}
    with pytest.raises(ArgumentError, match="not scored on the same images"):
        done(Compare(left(tmp_path, scored, unknown, unknown), tmp_path, 4))
    assert done(Compare(left(tmp_path, scored, unknown), tmp_path, 4)).names == ("run 0",)


def test_scores_kept_aside_are_taken_where_they_suit(tmp_path: Path, scored: tuple[Path, Comparison]) -> None:
    prints = dict(scored[1].cards[0].settings["fingerprints"])
    first, second = left(tmp_path, scored, {}, {"fingerprints": {**prints, "images": "another"}, "images": 99})
    assert second.run is not None
    (second.run / "scorecard-12345678.json").write_bytes((tmp_path / "run0" / "scorecard.json").read_bytes())
    assert [card.settings["images"] for card in done(Compare([first, second], tmp_path, 4)).cards] == [8, 8]


def test_the_same_network_twice_is_told(tmp_path: Path, scored: tuple[Path, Comparison]) -> None:
    made = done(Compare(left(tmp_path, scored, {}, {}), tmp_path, 4))
    assert any("run 1 is the same network as run 0" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    "change",
    [
        *({"images": value} for value in (None, "8", 0, True)),
        *({"notes": value} for value in ("text", [3])),
        *({"told": value} for value in NO_PAIRS),
    ],
    ids=str,
)
def test_settings_that_are_none_are_a_sentence(
    tmp_path: Path, scored: tuple[Path, Comparison], change: Mapping[str, Any]
) -> None:
    with pytest.raises(RunError, match="is no scorecard") as caught:
        done(Compare(left(tmp_path, scored, change), tmp_path, 4))
    assert str(tmp_path) not in sentence(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"scores": 3}'], ids=len)
def test_a_damaged_file_is_a_sentence_without_a_path(
    tmp_path: Path, scored: tuple[Path, Comparison], text: str
) -> None:
    made = left(tmp_path, scored, {})
    (tmp_path / "run0" / "scorecard.json").write_text(text)
    with pytest.raises(RunError, match="is no scorecard") as caught:
        done(Compare(made, tmp_path, 4))
    assert str(tmp_path) not in sentence(caught.value)
    assert str(tmp_path) not in evaluated(made, tmp_path)["0"]


def test_names_of_strangers_are_shown_as_they_are(tmp_path: Path, scored: tuple[Path, Comparison]) -> None:
    content = json.loads(json.dumps(_content(tmp_path, scored)).replace("gini", "<script>$x_{</script>"))
    (tmp_path / "run0" / "scorecard.json").write_text(json.dumps(content))
    made = done(Compare(left_as_is(tmp_path), tmp_path, 4))
    assert any("<script>" in row.name for group in made.groups for row in group.rows)
    assert not any(b"<script>" in plot.svg for plot in made.plots)


def _content(tmp_path: Path, scored: tuple[Path, Comparison]) -> Any:
    left(tmp_path, scored, {})
    return json.loads((tmp_path / "run0" / "scorecard.json").read_text())


def left_as_is(tmp_path: Path) -> list[Subject]:
    return [Subject("0", "run 0", lambda _: None, lambda *_: (), tmp_path / "run0")]  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("text", ["epoch,val_accuracy\none,2\n", "epoch,val_gini\n1,x\n", "val_gini\n0.5\n", "\x00"])
def test_a_damaged_table_of_epochs_costs_its_plots_alone(
    tmp_path: Path, scored: tuple[Path, Comparison], text: str
) -> None:
    made = left(tmp_path, scored, {})
    (tmp_path / "run0" / "metrics.csv").write_text("epoch,val_accuracy\n1,0.5\n")
    assert any("Training" in plot.title for plot in done(Compare(made, tmp_path, 4)).plots)
    (tmp_path / "run0" / "metrics.csv").write_text(text)
    result = done(Compare(made, tmp_path, 4))
    assert not any("Training" in plot.title for plot in result.plots)
    if text != "\x00":
        assert any("no table of epochs" in warning and str(tmp_path) not in warning for warning in result.warnings)


def test_a_comparison_can_be_made_of_cards_alone(scored: tuple[Path, Comparison]) -> None:
    networks = [subject("0"), subject("1")]
    made = compared(networks, scored[1].cards, ["a warning"])
    assert made.names == ("net 0", "net 1")
    assert made.warnings[0] == "a warning"
