"""Work is done in turn, told of, bounded, and stopped when it is cancelled; nothing of it stays."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from gradsculpt.progress import Reporter
from gradsculpt.viewer.work import (
    Busy,
    Cancelled,
    Desk,
    Done,
    Step,
    Ticket,
    TooLong,
    Waiting,
    at_work,
    check_here,
    heard,
)

PATIENCE = 30.0


class Held:
    """Work that begins, and goes on when it is let go."""

    def __init__(self, value: object = None) -> None:
        self.value, self.begun, self.let_go = value, threading.Event(), threading.Event()

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[Any]]:
        self.begun.set()
        yield Step("held")
        assert self.let_go.wait(PATIENCE)
        yield Done(self.value)


def started(desk: Desk, work: Any, ticket: Ticket | None = None) -> tuple[threading.Thread, list[Any]]:
    """Do work in a thread of its own; return it, and what was told, or raised."""
    told: list[Any] = []

    def go() -> None:
        try:
            told.extend(desk.do(ticket or Ticket(), work))
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    return thread, told


def until(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def plain(messages: list[Any]) -> list[Any]:
    """Leave out what was only said again."""
    return [each for i, each in enumerate(messages) if i == 0 or each != messages[i - 1]]


def test_what_work_yields_is_told_and_its_value_comes_last() -> None:
    def work(ticket: Ticket) -> Iterator[Step | Done[int]]:
        yield Step("first", 0.5, so_far="half")
        yield Done(7)

    assert plain(list(Desk().do(Ticket(), work))) == [Step("first", 0.5, "half"), Done(7)]


def test_of_steps_that_nobody_heard_the_last_counts_and_what_can_be_shown() -> None:
    def work(ticket: Ticket) -> Iterator[Step | Done[int]]:
        for i in range(1000):
            yield Step(f"{i}", so_far=i if i == 500 else None)
        yield Done(1)

    iterator = Desk().do(Ticket(), work)
    told = [next(iterator)]
    time.sleep(0.5)
    told += iterator
    assert len(told) < 1000
    assert told[-2:] == [Step("999"), Done(1)]
    assert any(each == Step("500", so_far=500) for each in told)


@pytest.mark.parametrize("workers", [1, 2])
def test_work_is_done_in_turn(workers: int) -> None:
    desk, held, order = Desk(workers=workers, waiting=3), [Held() for _ in range(workers)], list[int]()
    first = [started(desk, each) for each in held]
    for each in held:
        assert each.begun.wait(PATIENCE)

    def note(number: int) -> Any:
        def work(ticket: Ticket) -> Iterator[Done[int]]:
            order.append(number)
            yield Done(number)

        return work

    later = []
    for number in range(3):
        later.append(started(desk, note(number)))
        until(lambda: later[-1][1])
    assert [told[0] for _, told in later] == [Waiting(workers + number) for number in range(3)]
    with pytest.raises(Busy, match="3 pieces of work"):
        next(iter(desk.do(Ticket(), note(9))))
    assert order == []
    held[0].let_go.set()
    for thread, told in later:
        thread.join(PATIENCE)
        assert isinstance(told[-1], Done)
        before = [each.before for each in told if isinstance(each, Waiting)]
        assert before == sorted(before, reverse=True)
    assert order == [0, 1, 2]
    for each, (thread, _) in zip(held, first, strict=True):
        each.let_go.set()
        thread.join(PATIENCE)


def test_whoever_cancels_is_let_go_at_once_and_the_others_go_on() -> None:
    desk, held, ticket = Desk(), Held(), Ticket()
    thread, told = started(desk, held, ticket)
    assert held.begun.wait(PATIENCE)
    waiting = Ticket()
    second, second_told = started(desk, Held(), waiting)
    until(lambda: second_told)
    waiting.cancel()
    second.join(PATIENCE)
    assert isinstance(second_told[-1], Cancelled)
    ticket.cancel()
    thread.join(PATIENCE)  # though the work itself goes on
    assert isinstance(told[-1], Cancelled)
    held.let_go.set()
    third = Held(3)
    third.let_go.set()
    assert list(desk.do(Ticket(), third))[-1] == Done(3)


def test_work_that_takes_too_long_is_stopped_and_its_waiting_does_not_count() -> None:
    desk, held = Desk(seconds=0.3), Held()
    steps = 0

    def endless(ticket: Ticket) -> Iterator[Step]:
        nonlocal steps
        while True:
            time.sleep(0.01)
            steps += 1
            ticket.check()
            yield Step("on and on")

    with pytest.raises(TooLong, match="ask for less"):
        list(desk.do(Ticket(), endless))
    seen = steps
    time.sleep(0.1)
    assert steps - seen <= 1
    _, told = started(desk, held)  # sits in one step
    until(lambda: told and isinstance(told[-1], TooLong))
    held.let_go.set()


def test_what_work_raises_is_raised_and_the_desk_goes_on() -> None:
    def broken(ticket: Ticket) -> Iterator[Step]:
        yield Step("so far so good")
        raise ValueError("broken")

    desk = Desk()
    with pytest.raises(ValueError, match="broken"):
        list(desk.do(Ticket(), broken))
    assert list(desk.do(Ticket(), lambda ticket: [Done(1)])) == [Done(1)]


def test_work_is_cancelled_when_nobody_listens_any_more() -> None:
    desk, held, ticket = Desk(), Held(), Ticket()
    iterator = desk.do(ticket, held)
    assert next(iterator) == Step("held")
    iterator.close()  # type: ignore[attr-defined]
    assert ticket.cancelled
    held.let_go.set()


def test_what_was_said_last_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradsculpt.viewer.work._PULSE", 0.05)
    held = Held()
    iterator = Desk().do(Ticket(), held)
    assert [next(iterator) for _ in range(3)] == [Step("held")] * 3
    held.let_go.set()
    assert list(iterator)[-1] == Done(None)


def test_nothing_of_the_work_is_kept() -> None:
    class Large:
        pass

    desk, kept = Desk(), list[weakref.ref[Large]]()

    def work(ticket: Ticket) -> Iterator[Step | Done[int]]:
        large = Large()
        kept.append(weakref.ref(large))
        yield Step("made")
        if ticket.cancelled:
            raise ValueError(large)
        yield Done(1)

    list(desk.do(Ticket(), work))
    cancelled = Ticket()
    cancelled.cancel()
    with pytest.raises(Cancelled):
        list(desk.do(cancelled, work))
    list(desk.do(Ticket(), work))
    until(lambda: gc.collect() is not None and not any(each() for each in kept))


def test_a_desk_that_is_closed_stops_all_and_takes_nothing() -> None:
    desk, held = Desk(), Held()
    thread, told = started(desk, held)
    assert held.begun.wait(PATIENCE)
    desk.close()
    thread.join(PATIENCE)
    held.let_go.set()
    assert isinstance(told[-1], Cancelled)
    with pytest.raises(Busy):
        list(desk.do(Ticket(), held))


def test_a_ticket_is_checked_in_the_threads_that_work_for_it_alone() -> None:
    def checked(ticket: Ticket) -> list[Done[int]]:
        check_here()
        return [Done(1)]

    ticket, other = Ticket(), Ticket()
    ticket.cancel()
    check_here()
    with at_work(ticket):
        with at_work(other):
            check_here()
        with pytest.raises(Cancelled):
            check_here()
        thread, told = started(Desk(), checked)
        thread.join(PATIENCE)
        assert told == [Done(1)]
    check_here()


def test_what_a_function_tells_a_reporter_becomes_steps() -> None:
    def function(reporter: Reporter) -> int:
        reporter.say("reading")
        with reporter.work("counting", 4, "beans") as tell:
            tell(2, None)
            tell(4, None)
        return 5

    def work(ticket: Ticket) -> Iterator[Step | Done[int]]:
        value = yield from heard(ticket, function)
        yield Done(value)

    assert list(work(Ticket())) == [
        Step("reading"),
        Step("counting: 0 of 4 beans", 0.0),
        Step("counting: 2 of 4 beans", 0.5),
        Step("counting: 4 of 4 beans", 1.0),
        Done(5),
    ]


def test_a_function_is_stopped_where_it_tells_of_itself() -> None:
    ticket, told = Ticket(), list[int]()

    def function(reporter: Reporter) -> None:
        with reporter.work("counting") as tell:
            for i in range(10):
                tell(i, None)
                told.append(i)
                ticket.cancel()

    with pytest.raises(Cancelled):
        list(heard(ticket, function))
    assert told == [0]


def test_the_next_work_begins_when_a_function_has_ended() -> None:
    inside, alone = threading.Event(), list[bool]()

    def function(reporter: Reporter) -> None:
        inside.set()
        reporter.say("begun")
        time.sleep(0.5)
        inside.clear()

    def first(ticket: Ticket) -> Iterator[Step | Done[None]]:
        yield from heard(ticket, function)
        yield Done(None)

    def second(ticket: Ticket) -> Iterator[Done[None]]:
        alone.append(not inside.is_set())
        yield Done(None)

    desk, ticket = Desk(), Ticket()
    iterator = desk.do(ticket, first)
    assert next(iterator) == Step("begun")
    ticket.cancel()
    with pytest.raises(Cancelled):
        list(iterator)
    list(desk.do(Ticket(), second))
    assert alone == [True]
