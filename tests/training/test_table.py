"""metrics.csv, as it is read again."""

from pathlib import Path

import pytest

from gradsculpt.errors import RunError
from gradsculpt.runs import METRICS
from gradsculpt.training.table import reached, rows


@pytest.mark.parametrize(
    ("text", "epochs"),
    [
        ("epoch,val_accuracy\r\n1,0.5\r\n2,\r\n", [1, 2]),
        ("epoch,loss\n3,nan\n", [3]),
        ('epoch,"a, b"\n1,1e-3\n', [1]),
    ],
)
def test_what_a_training_writes_is_read(text: str, epochs: list[int], tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text(text, newline="")
    assert [reached(row) for row in rows(path)] == epochs


def test_no_table_has_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path / METRICS) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"epoch\n",
        b"step\n1\n",
        b"epoch,step\n1\n",
        b"epoch,step\n1,2,3\n",
        b"epoch\n0\n",
        b"epoch\n-1\n",
        b"epoch\n1.0\n",
        b"epoch\nnan\n",
        b"epoch\n\xd9\xa3\n",
        b"epoch,loss\n1,low\n",
        b'epoch\n"1',
        b"epoch\n1\x00\n",
        b"\xff\xfe\n",
        b"epoch\n" + b"1" * 200_000,
        b"epoch\n1" + b"0" * 30,
    ],
    ids=lambda content: repr(content[:16]),
)
def test_a_damaged_table_is_one_line_that_names_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"metrics\.csv is no table of epochs .* or remove it") as raised:
        rows(path)
    assert "\n" not in str(raised.value)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / METRICS).mkdir()
    with pytest.raises(RunError, match="no table of epochs"):
        rows(tmp_path / METRICS)
