"""Where scores and yardsticks lie on the strip of their range."""

import math

from gradsculpt.evaluation import Entry
from gradsculpt.metrics import Score
from gradsculpt.report.strips import Place, strip


def test_places_are_shares_of_the_range_and_yardsticks_are_means_of_the_runs() -> None:
    score = Score("r", -1.0, 1.0, "higher")
    one = Entry("g", score, 0.0, -0.5, 0.5, 8, random_map=-0.2, chance=None)
    other = Entry("g", score, 1.0, 1.0, 1.0, 8, random_map=0.2, chance=0.5)
    drawn = strip([one, None, other])
    assert drawn.runs == [Place(50.0, 25.0, 75.0), None, Place(100.0, 100.0, 100.0)]
    assert (drawn.random_map, drawn.chance) == (50.0, 75.0)
    assert (drawn.low, drawn.high) == ("-1", "1")


def test_a_score_without_an_end_gets_room_for_all_that_is_shown() -> None:
    score = Score("count", 0.0, math.inf, "lower")
    drawn = strip([Entry("g", score, 50.0, 40.0, 60.0, 8, random_map=100.0)])
    assert drawn.random_map is not None
    assert 90 < drawn.random_map < 100
    assert drawn.runs[0] is not None
    assert drawn.runs[0].mean == round(drawn.random_map / 2, 2)
    assert drawn.high == "108"


def test_the_ends_of_a_range_are_plain_numbers() -> None:
    score = Score("spots", 0.0, math.inf, "lower")
    ends = [strip([Entry("g", score, high, 0.0, high, 9)]).high for high in (3232.0, 12.34)]
    assert ends == ["3491", "13.3"]  # by hand: 8% beyond the largest


def test_what_is_all_zero_or_not_finite_has_a_strip_too() -> None:
    score = Score("count", -math.inf, math.inf, None)
    for value in (0.0, math.inf, math.nan):
        drawn = strip([Entry("g", score, value, value, value, 8)])
        assert drawn.runs[0] is not None
        assert 0 <= drawn.runs[0].mean <= 100
