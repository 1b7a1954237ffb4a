"""Lines in a log say how far the work is and how long the rest takes; brackets in names are no markup."""

import io
import threading
import time

import pytest
from rich.console import Console

from gradsculpt import progress
from gradsculpt.progress import Estimate, Reporter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rest_is_estimated_from_the_pace_so_far() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    clock.now += 30
    assert estimate.left(3, 10) == 70


def test_what_was_done_before_a_resume_is_not_the_pace() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    estimate.resumed(50)
    clock.now += 10
    assert estimate.left(60, 100) == 40


def test_what_comes_at_once_was_done_before() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    clock.now += 0.01
    estimate.left(50, 100)
    clock.now += 10
    assert estimate.left(60, 100) == 40


def test_a_log_has_the_last_line_and_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.0)
    text = io.StringIO()
    reporter = Reporter(Console(file=text, width=200))
    reporter.say("run [a/b]")
    with reporter.work("scoring [x]", 2) as tell:
        tell(1, None)
        tell(2, None)
    lines = text.getvalue().splitlines()
    assert lines[0] == "run [a/b]"
    assert lines[1].startswith("scoring [x]: 1 of 2 images, about ")
    assert lines[2] == "scoring [x]: 2 of 2 images"


@pytest.mark.parametrize("terminal", [False, True])
def test_the_end_of_long_work_tells_the_pace_of_each_part(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "Estimate", lambda: Estimate(clock))
    text = io.StringIO()
    reporter = Reporter(Console(file=text, width=200, force_terminal=terminal))
    with reporter.work("reading images") as tell:
        clock.now += 8
        tell(50_000, 50_000)
        tell(1, 4_000)
        clock.now += 2
        tell(4_001, 4_001)
    first, second = "50000 of 50000 images in 8.0 s (6,250 a second)", "4001 of 4001 images in 2.0 s (2,000 a second)"
    assert text.getvalue().count("a second)") == 2
    assert f"reading images: {first}\n" in text.getvalue()
    assert f"reading images: {second}\n" in text.getvalue()


def test_nobody_listening_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter().work("anything") as tell:
        tell(1, None)
    Reporter().say("x")
    assert capsys.readouterr() == ("", "")


def lines_of(text: io.StringIO, count: int, seconds: float = 5.0) -> list[str]:
    """Wait for so many lines, and return those that there are."""
    end = time.monotonic() + seconds
    while len(lines := text.getvalue().splitlines()) < count and time.monotonic() < end:
        time.sleep(0.005)
    return lines


def test_a_log_hears_of_work_that_has_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SILENCE_SECONDS", 0.02)
    text = io.StringIO()
    with Reporter(Console(file=text, width=200)).work("pictures", 5, "steps") as tell:
        tell(1, None)
        lines = lines_of(text, 2)
    assert len(lines) >= 2
    assert all(line.startswith("pictures: 1 of 5 steps, ") and line.endswith("s so far") for line in lines)
    count = len(text.getvalue().splitlines())
    time.sleep(0.06)
    assert len(text.getvalue().splitlines()) == count  # and nothing once it has ended


def test_silence_is_broken_after_ten_seconds() -> None:
    assert progress._SILENCE_SECONDS == 10


def test_a_terminal_and_a_reporter_without_listeners_start_no_thread() -> None:
    before = threading.active_count()
    with Reporter().work("x", 3), Reporter().alive(lambda: "y"):
        assert threading.active_count() == before


def test_one_image_is_an_image() -> None:
    text = io.StringIO()
    with Reporter(Console(file=text, width=200)).work("reading", 1) as tell:
        tell(1, None)
    assert text.getvalue() == "reading: 1 of 1 image\n"
