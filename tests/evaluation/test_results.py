"""Numbers as text: digits that a score deserves, in one place for table, page and console."""

import math

import pytest

from gradsculpt.evaluation import Entry
from gradsculpt.evaluation.results import figures
from gradsculpt.metrics import Score

FRACTION = Score("share", 0.0, 1.0, "higher", "fraction")
BETWEEN = Score("r", -1.0, 1.0, "higher")
COUNT = Score("components", 0.0, math.inf, "lower")


@pytest.mark.parametrize(
    ("score", "values", "told"),
    [
        (FRACTION, (0.856, 0.838, 0.874), "85.6% [83.8, 87.4]"),
        (BETWEEN, (0.615, 0.608, 0.622), "0.615 [0.608, 0.622]"),
        (BETWEEN, (-0.0001, -0.0004, 0.0001), "0.000 [0.000, 0.000]"),
        (FRACTION, (-0.0, -0.0, 0.0), "0.0% [0.0, 0.0]"),
        (COUNT, (127.969, 120.4, 133.25), "128 [120, 133]"),
        (COUNT, (36.516, 30.42, 42.846), "36.5 [30.4, 42.8]"),
        (COUNT, (2.6, 2.2, 3.0), "2.60 [2.20, 3.00]"),
        (COUNT, (0.364, 0.334, 0.393), "0.364 [0.334, 0.393]"),
        (COUNT, (0.0, 0.0, 0.0), "0.000 [0.000, 0.000]"),
        (COUNT, (1.5e-5, 1.2e-5, 1.8e-5), "1.5e-05 [1.2e-05, 1.8e-05]"),
        (COUNT, (3.21e9, 3.1e9, 3.3e9), "3.21e+09 [3.1e+09, 3.3e+09]"),
        (COUNT, (math.inf, 1.0, math.inf), "inf [1, inf]"),
    ],
)
def test_an_entry_has_the_digits_that_its_score_deserves(
    score: Score, values: tuple[float, float, float], told: str
) -> None:
    assert str(Entry("g", score, *values, 8)) == told


def test_no_zero_has_a_sign_and_all_values_have_the_digits_of_the_first() -> None:
    for score in (FRACTION, BETWEEN, COUNT, Score("any", -math.inf, math.inf, None)):
        for value in (-0.0, -1e-9, -1e-300):
            assert not any(text.startswith("-0.0") or text == "-0" for text in figures(score, (1.0, value)))
    assert figures(COUNT, (123.4, 9.87)) == ["123", "10"]
