"""Documents of anybody: what is read, and what is refused in a moment."""

import itertools
import os
import random
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradsculpt.reading import (
    SETTINGS,
    DocumentError,
    NotTextError,
    check_unpacked,
    parsed_json,
    parsed_yaml,
    read_bytes,
    read_json,
    read_text,
    read_yaml,
)

PAIRS = list(itertools.pairwise("abcdefghij"))
LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join(9 * [f'*{a}'])}]\n" for a, b in PAIRS)
MERGES = "a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: [{', '.join(9 * [f'*{a}'])}]}}\n" for a, b in PAIRS)

YAML = {
    "aliases of aliases": (LAUGHS, "line 6: aliases stand for more values"),
    "merges of merges": (MERGES, "line 6: aliases stand for more values"),
    "an alias in itself": ("a: &a [*a]", "aliases stand for more values"),
    "brackets": (3000 * "[", "nest|brackets in brackets"),
    "closed brackets": (3000 * "[" + 3000 * "]", "nest|brackets in brackets"),
    "braces": (3000 * "{a: ", "nest|brackets in brackets"),
    "steps": ("".join(f"{' ' * depth}a:\n" for depth in range(1000)), "brackets in brackets"),
    "dashes": (3000 * "- ", "brackets in brackets"),
    "values": (f"[{200_000 * 'a,'}]", "more values than settings have"),
    "digits": ("a: 1" + 400 * "0", "a whole number of more than 19 digits"),
    "many digits": ("a: " + 5000 * "9", "digits"),
    "hours and minutes": ("a: " + ":".join(5000 * ["59"]), "digits"),
    "a tag": ("a: !!python/object/apply:os.system [true]", "line 1: could not determine a constructor"),
    "a date that is none": ("a: 2020-99-99", "month"),
    "a list for a key": ("{[a]: b}", "unhashable"),
    "halves of letters": ('a: "\\ud800"', "line 1"),
    "two documents": ("a: 1\n---\nb: 2", "line 2"),
}

JSON = {
    "brackets": (100_000 * "[", "brackets in brackets too deep"),
    "braces": (100_000 * '{"a":', "brackets in brackets too deep"),
    "digits": ("1" + 400 * "0", "a whole number of 401 digits"),
    "more digits": ("-" + 100_000 * "9", "digits"),
    "a name twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands there twice"),
    "half of it": ('{"a": ', "line 1"),
}


@pytest.mark.parametrize(("text", "said"), YAML.values(), ids=YAML)
def test_yaml_that_is_refused(text: str, said: str) -> None:
    started = time.process_time()
    with pytest.raises(DocumentError, match=said):
        parsed_yaml(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(("text", "said"), JSON.values(), ids=JSON)
def test_json_that_is_refused(text: str, said: str) -> None:
    started = time.process_time()
    with pytest.raises(DocumentError, match=said):
        parsed_json(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("seed", range(20))
def test_what_is_no_attack_is_read_as_everywhere(seed: int) -> None:
    draw = random.Random(seed)

    def value(depth: int) -> Any:
        kind = draw.randrange(7 if depth else 5)
        if kind == 5:
            return [value(depth - 1) for _ in range(draw.randrange(4))]
        if kind == 6:
            return {f"k{i}": value(depth - 1) for i in range(draw.randrange(4))}
        return [None, True, draw.randrange(-(2**62), 2**62), draw.random(), draw.choice(["", "1e-3", "é", "a: b"])][
            kind
        ]

    content = {"all": value(4)}
    assert parsed_yaml(yaml.safe_dump(content)) == content
    text = yaml.safe_dump(content, default_flow_style=True, width=10**6, allow_unicode=True)
    assert parsed_yaml(text) == yaml.safe_load(text)


def test_a_few_aliases_are_settings() -> None:
    assert parsed_yaml("a: &x {l1: 1}\nb: *x\nc: {<<: *x, l2: 2}") == {
        "a": {"l1": 1},
        "b": {"l1": 1},
        "c": {"l1": 1, "l2": 2},
    }
    assert parsed_yaml("no: 0123", typed=False) == {"no": "0123"}
    assert parsed_yaml("") is None


@pytest.mark.parametrize("read", [read_bytes, read_text, read_json, read_yaml])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, read: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "a pipe or a device"),
        (Path("/dev/zero"), "a device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(OSError, match=said):
            read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("read", [read_bytes, read_text, read_json, read_yaml])
def test_what_is_too_large_is_not_read(tmp_path: Path, read: Any) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DocumentError, match="it has more than"):
        read(tmp_path / "large")


def test_texts(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9")
    assert (read_text(path), read_yaml(path)) == ("a: é", {"a": "é"})
    for content in (b"\xff\xfea", b"a\x00b", b"\xed\xa0\x80"):
        path.write_bytes(content)
        with pytest.raises(NotTextError):
            read_text(path, SETTINGS)


def test_an_archive_that_would_be_more_than_it_is(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for kind, fine in ((zipfile.ZIP_STORED, True), (zipfile.ZIP_DEFLATED, False)):
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("data", bytes(1 << 20))
        if fine:
            check_unpacked(path, 1 << 30)
            with pytest.raises(DocumentError, match="more than 0 MiB"):
                check_unpacked(path, 1 << 10)
            continue
        with pytest.raises(DocumentError, match="it is packed, and would be 1,048,576 bytes"):
            check_unpacked(path, 1 << 30)
    path.write_bytes(b"no archive")
    check_unpacked(path, 1 << 30)
