"""Checksums inside files: whatever is changed is noticed, and what has none is taken as it is."""

import json
from pathlib import Path

import pytest

from gradsculpt.errors import RunError
from gradsculpt.seals import OPEN, SEAL, check, is_whole, seal, sealed_json

CONTENTS = {
    "yaml": f"# {SEAL} {OPEN}\nepochs: 3\nlr: 0.1\n".encode(),
    "csv": f"epoch,loss,{SEAL} {OPEN}\n1,0.5,\n2,0.25,\n".encode(),
    "long": f'{{"{SEAL}": "{OPEN}"}}'.encode().rjust(300) + bytes(range(256)) * 9000,
    "archive": b"PK" + bytes(range(256)) * 9000 + f"{SEAL} {OPEN}".encode(),
}


@pytest.fixture(params=[*CONTENTS, "json"])
def content(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    if request.param == "json":
        return sealed_json({"name": "é", "values": [0.5, float("inf")], "nested": {"a": 1}})
    path = tmp_path / "file"
    path.write_bytes(CONTENTS[request.param])
    seal(path)
    return path.read_bytes()


def test_every_changed_byte_is_noticed(content: bytes) -> None:
    assert is_whole(content)
    places = range(len(content)) if len(content) < 1000 else [*range(400), *range(400, len(content), 150_001)]
    places = [*places, *range(len(content) - 100, len(content))]
    whole = [i for i in places if is_whole(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])]
    # Of JSON, that begins otherwise: it is read by nobody.
    assert [i for i in whole if not (content[:1] == b"{" and i == 1)] == []


def test_what_is_cut_longer_or_in_another_order_is_noticed(content: bytes) -> None:
    first, second = content[-9:-6], content[-6:-3]
    for damaged in (content + b" ", content[:-9] + second + first + content[-3:], content.replace(b"0", b"", 1)):
        assert not is_whole(damaged)


def test_it_stays_readable(tmp_path: Path) -> None:
    assert json.loads(sealed_json({"a": 1})).keys() == {"a", SEAL}


@pytest.mark.parametrize(
    "content",
    [b"", b"epochs: 3\n", b'{\n  "a": 1\n}', b"a,b\n1,2\n", b"PK" + bytes(5000), b"\0" * 9000, b'{"sha256": "12"}'],
)
def test_what_has_no_checksum_is_taken_as_it_is(content: bytes) -> None:
    assert is_whole(content)


def test_json_that_a_program_has_written_again_is_another_file() -> None:
    content = sealed_json({"a": 1})
    assert is_whole(json.dumps({**json.loads(content), "a": 2}).encode())
    assert not is_whole(content.replace(b"1", b"2", 1))


def test_the_error_names_the_file_and_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(CONTENTS["yaml"])
    seal(path)
    check(path)
    path.write_bytes(path.read_bytes().replace(b"3", b"4"))
    with pytest.raises(RunError, match=r"config.yaml is damaged.*not used. Take the other one."):
        check(path, "Take the other one.")


def test_a_file_without_room_for_one_is_no_file_to_seal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    with pytest.raises(ValueError, match="no room"):
        seal(tmp_path / "file")
