"""The table of the page: a run is better or worse than the first one only where the intervals do not overlap."""

import io
from typing import Literal

import pytest
from rich.console import Console

from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.metrics import Score
from gradsculpt.report.table import Cell, mark, score_groups, table

Better = Literal["higher", "lower"] | None


def _entry(
    low: float, high: float, better: Better = "higher", group: str = "sparsity", images: int = 8, name: str = "gini"
) -> Entry:
    return Entry(group, Score(name, 0.0, 1.0, better), (low + high) / 2, low, high, images)


@pytest.mark.parametrize(
    ("low", "high", "better", "expected"),
    [
        (0.61, 0.7, "higher", "better"),
        (0.61, 0.7, "lower", "worse"),
        (0.1, 0.39, "higher", "worse"),
        (0.1, 0.39, "lower", "better"),
        (0.6, 0.7, "higher", None),
        (0.45, 0.5, "higher", None),
        (0.1, 0.9, "lower", None),
        (0.61, 0.7, None, None),
    ],
)
def test_a_mark_needs_a_direction_and_intervals_that_do_not_touch(
    low: float, high: float, better: Better, expected: str | None
) -> None:
    assert mark(_entry(low, high, better), _entry(0.4, 0.6, better)) == expected


def _cards() -> list[Scorecard]:
    first = {"gini": _entry(0.4, 0.6), "loss": _entry(0.4, 0.6, "lower", "accuracy", 4, "loss")}
    second = {"gini": _entry(0.7, 0.8), "loss": _entry(0.7, 0.8, "lower", "accuracy", 6, "loss")}
    third = {"gini": _entry(0.5, 0.8), "extra": _entry(0.1, 0.2, name="extra")}
    return [Scorecard(str(i), {"images": 8}, entries) for i, entries in enumerate((first, second, third))]


def test_groups_have_a_cell_a_run_the_best_mean_and_the_number_of_images() -> None:
    groups = score_groups(_cards())
    assert [group.name for group in groups] == ["sparsity", "accuracy"]
    assert [group.images for group in groups] == ["", "4 to 6"]
    gini, extra = groups[0].rows
    assert gini.cells == [
        Cell("0.500", "[0.400, 0.600]", False, None),
        Cell("0.750", "[0.700, 0.800]", True, "better"),
        Cell("0.650", "[0.500, 0.800]", False, None),
    ]
    # No run to be compared with.
    assert extra.cells[:2] == [None, None]
    assert extra.cells[2] == Cell("0.150", "[0.100, 0.200]", False, None)


def test_scores_that_are_the_same_to_the_last_digit_are_one_row_unless_by_chance() -> None:
    entries = {
        "topk_intersection": _entry(0.4, 0.6, name="topk_intersection"),
        "topk_dice": _entry(0.4, 0.6, name="topk_dice"),
        "ssim": _entry(1.0, 1.0, name="ssim"),
        "cosine": _entry(1.0, 1.0, name="cosine"),
    }
    (group,) = score_groups([Scorecard("one", {"images": 8}, entries)])
    assert [row.name for row in group.rows] == ["topk intersection, dice", "ssim", "cosine"]
    other = {**entries, "topk_dice": _entry(0.41, 0.6, name="topk_dice")}
    (group,) = score_groups([Scorecard("one", {"images": 8}, entries), Scorecard("two", {"images": 8}, other)])
    assert [row.name for row in group.rows] == ["topk intersection", "topk dice", "ssim", "cosine"]


def test_a_heading_tells_the_number_of_its_own_scores() -> None:
    # Of 64 images, 8 were attacked: neither the heading nor the other scores are over 8.
    entries = {
        "insertion": _entry(0.1, 0.2, group="fidelity", name="insertion", images=64),
        "adv_insertion": _entry(0.1, 0.2, group="fidelity", name="adv_insertion", images=8),
    }
    for only in (None, ["adv_insertion", "insertion"]):
        (group,) = score_groups([Scorecard("one", {"images": 64}, entries)], only)
        assert group.images == ""
        assert {row.name: row.images for row in group.rows} == {"insertion": "", "adv insertion": "8"}


def test_a_table_over_too_few_images_says_so() -> None:
    for images, few in ((8, True), (29, True), (30, False)):
        console = Console(file=io.StringIO(), width=200)
        console.print(table([Scorecard("one", {"images": images}, {"gini": _entry(0.4, 0.6, images=images)})]))
        shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
        assert ("too few to tell networks apart" in shown) == few


def test_what_is_over_fewer_images_says_so_at_the_score_or_for_the_whole_group() -> None:
    entries = {
        "gini": _entry(0.1, 0.2),
        "insertion": _entry(0.1, 0.2, group="fidelity", name="insertion"),
        "adv_insertion": _entry(0.1, 0.2, group="fidelity", name="adv_insertion", images=2),
        "topk_attack_2": _entry(0.1, 0.2, group="attack [mine]", name="topk_attack_2", images=2),
    }
    card = Scorecard("name [b]", {"images": 8, "data": "toy", "split": "test"}, entries)
    sparsity, fidelity, attack = score_groups([card, card])
    assert (sparsity.images, fidelity.images, attack.images) == ("", "", "2")
    assert [row.images for row in fidelity.rows] == ["", "2"]
    assert [row.images for row in attack.rows] == [""]
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table([card, card], ["insertion", "adv_insertion", "gini", "topk_attack_2", "never_measured"]))
    shown = console.export_text()
    assert "toy test, 8 images (too few to tell networks apart: pass 30 or more); mean [95% interval]" in " ".join(
        shown.split()
    )
    lines = [line.strip("│┃ ") for line in shown.splitlines()]
    first = (
        *("fidelity", "insertion ↑ ", "adv insertion ↑ (2 images)"),
        *("sparsity", "gini ↑", "attack [mine] (2 images)", "topk attack 2 ↑"),
    )
    places = [next(i for i, line in enumerate(lines) if line.startswith(text)) for text in first]
    assert places == sorted(places)
    assert shown.count("0.150 [0.100, 0.200]") == 8
    assert shown.count("name [b]") == 2
    assert "never" not in shown


def test_a_table_over_maps_of_zeros_begins_with_that() -> None:
    blank = Entry("maps", Score("zero_map", 0.0, 1.0, "lower", "fraction"), 1.0, 1.0, 1.0, 8)
    cards = [Scorecard("dark", {"images": 8}, {"zero_map": blank, "gini": _entry(0.0, 0.0)}), *_cards()]
    console = Console(file=io.StringIO(), width=200)
    console.print(table(cards))
    assert console.file.getvalue().lstrip().startswith("dark: ALL 8 MAPS ARE ZERO EVERYWHERE")  # type: ignore[attr-defined]
