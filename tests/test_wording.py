"""Texts from outside in print."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradsculpt
from gradsculpt.wording import alike, counted, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("[/b][red]", "[/b][red]"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("caf\udce9", r"caf\xe9"),
        ("\x1b[31mred\x7f", r"\x1b[31mred\x7f"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("\ud800", r"\ud800"),
        ("猫 שלום 👨‍👩‍👧 é", "猫 שלום 👨‍👩‍👧 é"),
    ],
)
def test_what_can_be_shown_stays_and_the_rest_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=20))
def test_a_printable_text_is_one_line_of_unicode_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8") == printable(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in shown)


def test_names_that_look_alike_are_seen() -> None:
    assert alike(["a", "b", "A", "a b", "a_b"]) == []
    assert alike(["a\n", "b", "a\\n"]) == [("a\n", "a\\n")]


@pytest.mark.parametrize("things", ["images", "classes", "boxes", "batches", "unreadable images", "entries", "passes"])
def test_one_of_a_kind_is_named_in_the_singular(things: str) -> None:
    singular = {"classes": "class", "boxes": "box", "batches": "batch", "entries": "entry", "passes": "pass"}
    assert counted(1, things) == f"1 {singular.get(things, things.removesuffix('s'))}"
    assert counted(2, things) == f"2 {things}"


def test_no_message_counts_without_minding_the_number() -> None:
    """Where more than one thing is certain, as in `3 of the 10 classes`, nothing is wrong."""
    careless = re.compile(r"(?<!of )(?<!of the )\{len\([^{}]*\)\}( [a-z-]+)? (images|files|maps|networks|pictures)\b")
    source = Path(gradsculpt.__file__).parent
    files = {path.name: path.read_text(encoding="utf-8") for path in source.rglob("*.py")}
    found = [f"{name}: {match[0]}" for name, text in files.items() for match in careless.finditer(text)]
    assert found == []
