"""Texts from outside in print."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradsculpt.wording import alike, printable


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
