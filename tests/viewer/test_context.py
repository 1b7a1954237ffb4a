"""What is told of work, and what is kept of a visitor."""

import copy
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradsculpt.errors import ModelError
from gradsculpt.viewer import context as contexts
from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.subjects import Subjects
from gradsculpt.viewer.work import Desk, Done, Step, Ticket, Waiting


def told(work: Any, tmp_path: Path, ticket: Ticket | None = None) -> list[Told[Any]]:
    return list(Context(Subjects(), tmp_path, Desk(seconds=600)).run(ticket or Ticket(), work))


def test_steps_are_told_as_lines_and_the_value_at_the_end(tmp_path: Path) -> None:
    def work(ticket: Ticket) -> Iterator[Step | Done[int]]:
        yield Step("asking the network", 0.25, "so far")
        yield Done(3)

    first, last = told(work, tmp_path)
    assert first == Told("Asking the network 25% …", 0.25, so_far="so far")
    assert last == Told("Done.", 1.0, 3, ended=True)


@pytest.mark.parametrize(("before", "said"), [(1, "is 1 other visitor before"), (3, "are 3 other visitors before")])
def test_who_waits_is_told_how_many_are_before(before: int, said: str, tmp_path: Path) -> None:
    class Told3(Desk):
        def do(self, ticket: Ticket, work: Any) -> Iterator[Any]:
            yield Waiting(before)
            yield Done(None)

    first: Told[Any]
    (first, _) = Context(Subjects(), tmp_path, Told3()).run(Ticket(), lambda ticket: [])
    assert said in first.text


def test_seconds_are_told_of_what_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "_TELLING", -1.0)
    (first, _) = told(lambda ticket: [Step("waiting"), Done(1)], tmp_path)
    assert "(0 seconds)" in first.text


def test_whatever_goes_wrong_is_a_sentence(tmp_path: Path) -> None:
    def wrong(error: BaseException) -> Any:
        def work(ticket: Ticket) -> Iterator[Step]:
            yield Step("begun")
            raise error

        return work

    cancelled = Ticket()
    cancelled.cancel()
    cases = {
        "It has no layers.": told(wrong(ModelError("it has no layers.")), tmp_path),
        "Something went wrong": told(wrong(RuntimeError("/etc/passwd")), tmp_path),
        "Cancelled.": told(wrong(ValueError()), tmp_path, cancelled),
    }
    for said, messages in cases.items():
        last = messages[-1]
        assert said in last.text
        assert (last.ended, last.failed, last.value) == (True, True, None)
    with pytest.raises(KeyboardInterrupt):
        told(wrong(KeyboardInterrupt()), tmp_path)


def test_each_visitor_has_his_own() -> None:
    visitor = Visitor()
    visitor.kept["picture"] = 1
    ticket = visitor.begin("explain")
    other = copy.deepcopy(visitor)
    assert other.kept == {}
    other.cancel("explain")
    assert not ticket.cancelled


def test_new_work_of_a_tab_cancels_the_old_and_leaving_cancels_all() -> None:
    visitor = Visitor()
    first, attack = visitor.begin("explain"), visitor.begin("attack")
    second = visitor.begin("explain")
    assert (first.cancelled, second.cancelled, attack.cancelled) == (True, False, False)
    visitor.cancel("nothing")
    visitor.kept["map"] = object()
    visitor.close()
    assert second.cancelled
    assert attack.cancelled
    assert visitor.kept == {}


def test_files_of_a_visitor_are_few_and_go_with_him(tmp_path: Path) -> None:
    visitor = Visitor()
    folders = [visitor.folder(tmp_path, "explain") for _ in range(9)]
    for folder in folders[-2:]:
        (folder / "map.png").touch()
    assert len(set(folders)) == 9
    assert 2 <= len(list(tmp_path.iterdir())) <= 4
    assert folders[-2].is_dir()
    visitor.folder(tmp_path, "attack")
    visitor.close()
    assert not list(tmp_path.iterdir())
    visitor.folder(tmp_path, "explain")
    del visitor  # as a session is that the server has no room for
    gc.collect()
    assert not list(tmp_path.iterdir())
