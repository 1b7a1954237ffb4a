"""Rows of a file: those that were written, or none."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradsculpt.data.stored import RowsWriter, StoredRows
from gradsculpt.errors import DataError

ROWS = np.random.default_rng(0).integers(0, 256, (50, 4, 6, 3), dtype=np.uint8)


def written(path: Path, rows: Any = ROWS) -> str:
    with path.open("wb") as file:
        writer = RowsWriter(file, rows.shape[1:], rows.dtype)
        for row in rows:
            writer.add(row)
        return writer.finish()


@pytest.mark.parametrize("count", [0, 1, 9, 10, 1000])
@pytest.mark.parametrize("dtype", ["u1", "<f2", "<i8"])
def test_what_was_written_is_read_and_is_a_numpy_file(tmp_path: Path, count: int, dtype: str) -> None:
    rows = np.random.default_rng(1).integers(0, 100, (count, 3, 2)).astype(dtype)
    digest = written(tmp_path / "a.npy", rows)
    read = StoredRows(tmp_path / "a.npy", digest)
    assert (read.shape, read.dtype, len(read)) == (rows.shape, rows.dtype, count)
    np.testing.assert_array_equal(read, rows)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)


@pytest.mark.parametrize(
    "key",
    [0, -1, 49, slice(None), slice(3, 40, 7), slice(10, 5), np.array([4, 4, 0, 49, 5, 6, 7]), np.array([], int)],
    ids=str,
)
def test_rows_are_those_of_an_array(tmp_path: Path, key: Any) -> None:
    written(tmp_path / "a.npy")
    np.testing.assert_array_equal(StoredRows(tmp_path / "a.npy")[key], ROWS[key])


def test_other_indices(tmp_path: Path) -> None:
    written(tmp_path / "a.npy")
    rows = StoredRows(tmp_path / "a.npy")
    mask = np.arange(50) % 3 == 0
    np.testing.assert_array_equal(rows[mask], ROWS[mask])
    np.testing.assert_array_equal(rows[np.array([[1, 2], [3, -4]])], ROWS[[[1, 2], [3, -4]]])
    np.testing.assert_array_equal(np.stack(list(rows)), ROWS)  # type: ignore[call-overload]
    for wrong in (50, -51, np.array([3, 50])):
        with pytest.raises(IndexError):
            rows[wrong]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows)), ROWS)


def test_a_system_without_reads_at_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    written(tmp_path / "a.npy")
    np.testing.assert_array_equal(StoredRows(tmp_path / "a.npy"), ROWS)


@pytest.mark.parametrize("place", [0, 1, 6, 20, 60, 100, 127, 128, 128 + 72 * 20, -1, -16, -17, -100, -200])
def test_no_changed_byte_is_used(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a.npy"
    digest = written(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    try:
        rows = StoredRows(path, digest)
    except ValueError:
        return
    row = (place - 128) // 72
    np.testing.assert_array_equal(rows[:row], ROWS[:row])
    with pytest.raises(DataError, match="damaged or cut"):
        rows[row]
    with pytest.raises(ValueError, match="damaged"):
        rows.in_memory()
    with pytest.raises(ValueError, match="damaged"):
        rows.check()


@pytest.mark.parametrize("how", ["cut", "longer", "another"])
def test_another_length_or_file_is_none(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.npy"
    digest = written(path)
    content = path.read_bytes()
    if how == "another":
        written(path, ROWS[::-1])
    else:
        path.write_bytes(content[:-1] if how == "cut" else content + b"0")
    with pytest.raises(ValueError, match="it was"):
        StoredRows(path, digest)


def test_a_file_that_is_cut_while_it_is_in_use_is_made_anew(tmp_path: Path) -> None:
    """A memory map would end the process here."""
    path, made = tmp_path / "a.npy", list[int]()
    digest = written(path)

    def renew() -> None:
        made.append(1)
        path.unlink()
        written(path)

    rows, helpless = StoredRows(path, digest, renew), StoredRows(path, digest)
    np.testing.assert_array_equal(rows[:10], ROWS[:10])
    with path.open("r+b") as file:
        file.truncate(500)
    with pytest.raises(DataError, match=r"a.npy was damaged or cut while it was in use"):
        helpless[40]
    np.testing.assert_array_equal(rows, ROWS)
    assert made == [1]


def test_of_two_that_use_a_damaged_file_one_makes_it_anew(tmp_path: Path) -> None:
    path, made = tmp_path / "a.npy", list[int]()
    digest = written(path)

    def renew() -> None:
        made.append(1)
        path.unlink()
        written(path)

    both = [StoredRows(path, digest, renew) for _ in range(2)]
    content = bytearray(path.read_bytes())
    content[128 + 72 * 7] ^= 1
    path.write_bytes(content)
    for rows in both:
        np.testing.assert_array_equal(rows, ROWS)
    assert made == [1]


def test_what_cannot_be_made_anew_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    digest = written(path)
    rows = StoredRows(path, digest, path.unlink)
    with path.open("r+b") as file:
        file.truncate(500)
    with pytest.raises(DataError, match="cannot be made anew"):
        rows[40]
    written(path)
    other = StoredRows(path, digest, lambda: written(path, ROWS[:5]))
    path.write_bytes(b"")
    with pytest.raises(DataError, match="was damaged"):
        other[40]
