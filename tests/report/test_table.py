"""The table of the page: a run is better or worse than the first one only where the intervals do not overlap."""

import pytest

from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.metrics import Score
from gradsculpt.report.table import mark, score_groups, summary


def _entry(low, high, better="higher", group="sparsity", images=8, name="gini"):
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
def test_a_mark_needs_a_direction_and_intervals_that_do_not_touch(low, high, better, expected):
    assert mark(_entry(low, high, better), _entry(0.4, 0.6, better)) == expected


def _cards():
    first = {"gini": _entry(0.4, 0.6), "loss": _entry(0.4, 0.6, "lower", "accuracy", 4, "loss")}
    second = {"gini": _entry(0.7, 0.8), "loss": _entry(0.7, 0.8, "lower", "accuracy", 6, "loss")}
    third = {"gini": _entry(0.5, 0.8), "extra": _entry(0.1, 0.2, name="extra")}
    return [Scorecard(str(i), {"images": 8}, entries) for i, entries in enumerate((first, second, third))]


def test_groups_have_a_cell_a_run_the_best_mean_and_the_number_of_images():
    groups = score_groups(_cards())
    assert [group.name for group in groups] == ["sparsity", "accuracy"]
    assert [group.images for group in groups] == ["", "4 to 6"]
    gini, extra = groups[0].rows
    assert [cell.best for cell in gini.cells] == [False, True, False]
    assert [cell.mark for cell in gini.cells] == [None, "better", None]
    assert (gini.cells[0].mean, gini.cells[0].interval) == ("0.500", "[0.400, 0.600]")
    # No run to be compared with.
    assert extra.cells[:2] == [None, None]
    assert extra.cells[2].mark is None


def test_a_summary_counts_only_what_both_runs_have():
    groups = score_groups(_cards())
    assert summary(groups, 1) == (1, 1, 0)
    assert summary(groups, 2) == (0, 0, 1)
