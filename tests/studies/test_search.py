"""A search: what its ranges say, and that it asks the same again, stays within them, and minds what is not allowed."""

import math
from collections.abc import Callable, Sequence

import pytest

from gradsculpt.errors import ArgumentError
from gradsculpt.studies import search as searching
from gradsculpt.studies.ranges import Range, as_range, is_range
from gradsculpt.studies.search import Space, check_installed, search
from gradsculpt.studies.sweep import Judged, Setting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4..1:log", Range(1e-4, 1.0, log=True)),
        (".1..10", Range(0.1, 10.0)),
        ("0.5..2.5", Range(0.5, 2.5)),
        ("-1..1", Range(-1.0, 1.0, whole=True)),
        ("5..20", Range(5.0, 20.0, whole=True)),
        (" 1..8:log ", Range(1.0, 8.0, log=True, whole=True)),
    ],
)
def test_ranges_are_read(text: str, expected: Range) -> None:
    assert is_range(text)
    assert as_range(text) == expected


@pytest.mark.parametrize(
    "text", ["1e-3", "adam", "gradsculpt.objectives.CrossEntropy", ".5", "l1(0.1)", "folder:a/../b"]
)
def test_values_are_no_ranges(text: str) -> None:
    assert not is_range(text)


@pytest.mark.parametrize("text", ["1..0", "1..1", "0..1:log", "-1..1:log", "a..b", "nan..1", "1..inf"])
def test_ranges_without_numbers_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        as_range(text)


def test_ends_are_texts_of_the_range() -> None:
    assert as_range("1e-4..1:log").ends == ("0.0001", "1")
    assert as_range("5..20").ends == ("5", "20")


def test_what_is_missing_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"needs Optuna.*pip install 'gradsculpt\[sweep\]'"):
        check_installed()


SPACE: Space = {"a": Range(1e-3, 1.0, log=True), "n": Range(2, 5, whole=True), "kind": ["x", "y"]}


def asked(
    measure: Callable[[Setting], Judged | None], trials: int = 8, at_once: int = 1, seed: int = 0
) -> list[Setting]:
    pytest.importorskip("optuna")
    points: list[Setting] = []

    def judged(batch: Sequence[Setting]) -> list[Judged | None]:
        points.extend(batch)
        return [measure(point) for point in batch]

    search(SPACE, trials, "higher", judged, seed=seed, at_once=at_once)
    return points


def of_a(point: Setting) -> Judged:
    return Judged(float(point["a"]), 1.0)


def test_it_asks_for_so_many_settings_within_the_ranges() -> None:
    points = asked(of_a, 12)
    assert len(points) == 12
    for point in points:
        assert list(point) == ["a", "n", "kind"]
        assert 1e-3 <= float(point["a"]) <= 1.0
        assert point["n"] in {"2", "3", "4", "5"}
        assert point["kind"] in {"x", "y"}
    assert len({point["a"] for point in points}) == 12
    small = sum(float(point["a"]) < math.sqrt(1e-3) for point in points[:10])
    assert 2 <= small <= 8  # half of the powers of ten


def test_with_the_same_answers_it_asks_the_same_and_so_can_go_on() -> None:
    first = asked(of_a, 14)
    assert first[:12] == asked(of_a, 12)
    assert first == asked(of_a, 14)
    assert first != asked(of_a, 14, seed=1)


def test_several_are_asked_for_at_once() -> None:
    assert len(asked(of_a, 7, at_once=3)) == 7


def test_settings_that_failed_do_not_end_it() -> None:
    assert len(asked(lambda point: None if point["kind"] == "x" else of_a(point), 9)) == 9


def test_it_learns_from_what_it_is_told() -> None:
    points = asked(lambda point: Judged(-abs(math.log10(float(point["a"])) + 1), 1.0), 40)
    distance = [abs(math.log10(float(point["a"])) + 1) for point in points]
    assert sum(distance[20:]) / 20 < 0.6 * sum(distance[:10]) / 10


def test_what_is_not_allowed_is_left_though_it_scores_best() -> None:
    """The value rises with a, and only a below a tenth is allowed."""
    points = asked(lambda point: Judged(float(point["a"]), 0.1 - float(point["a"])), 40)
    late = [float(point["a"]) for point in points[20:]]
    assert sum(a <= 0.1 for a in late) >= 14
