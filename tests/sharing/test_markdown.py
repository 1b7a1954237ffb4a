"""Whatever a class or a folder is called, it is text in a card, and nothing else."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gradsculpt.sharing.markdown import as_yaml, block, code, escaped

NASTY = [
    "[click](javascript:alert(1))",
    "![x](http://a.b/c.png)",
    "<script>alert(1)</script>",
    "a | b",
    "`code`",
    "``",
    "`",
    " ` ",
    "# title",
    "---\nlibrary_name: other\n---",
    "line\nbreak",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "*bold* _it_ ~~x~~",
    "https://evil.example",
    "www.evil.example",
    "$x$",
    "a@b.c",
    "&lt;",
    "\\",
    "\u202eabc",
    "\udce9",
    "```\nblock",
    "n" * 5000,
    "",
]
MARKS = re.compile(r"(?<!\\)(?:\\\\)*([`*_\[\]<>|~&$#!{}@])")


@pytest.mark.parametrize("text", NASTY)
def test_text_has_no_mark_that_means_anything(text: str) -> None:
    shown = escaped(text)
    assert not MARKS.search(shown)
    assert "\n" not in shown
    assert not re.search(r"(?i)https?:|www\.", shown)
    assert len(shown) < 5000


@given(st.text(max_size=60))
def test_any_text_has_none(text: str) -> None:
    assert not MARKS.search(escaped(text))
    assert len(escaped(text).splitlines()) <= 1


@given(st.text(alphabet="`a |\n", max_size=20))
def test_code_ends_where_it_should(text: str) -> None:
    shown = code(text)
    fence = re.match("`+", shown)
    assert fence is not None
    inner = shown[fence.end() : -fence.end()]
    assert shown.endswith(fence[0])
    assert fence[0] not in re.findall("`+", inner)
    assert "\n" not in shown


@pytest.mark.parametrize("text", NASTY)
def test_yaml_holds_it_as_a_text(text: str) -> None:
    content = yaml.safe_load(as_yaml({"name": text, "list": [text]}))
    assert isinstance(content["name"], str)
    assert list(content) == ["name", "list"]
    lines = block({"name": text}).splitlines()
    assert not [line for line in lines[1:-1] if line.startswith(lines[-1])]
    assert lines[0] == f"{lines[-1]}yaml"
