"""What `tests.faults.damage` tries of all damages, in a few."""

from pathlib import Path

import pytest

from tests.faults import damage


def bad(trials: list[damage.Trial]) -> list[damage.Trial]:
    return [each for each in trials if each.result not in ("refused", "made again")]


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    trials = damage.damage_caches(20, 0, tmp_path)
    assert len(trials) == 20
    assert bad(trials) == []


def test_a_damaged_run_is_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    trials = damage.damage_runs(22, 0, tmp_path)
    assert len({each.damage for each in trials}) > 6
    assert bad(trials) == []


def test_damage_that_nobody_looks_for_would_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradsculpt.data.stored.zlib.crc32", lambda content: 0)
    assert "silent" in {each.result for each in damage.damage_caches(20, 0, tmp_path)}
