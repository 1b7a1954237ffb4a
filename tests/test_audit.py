"""What the audit of packages says, and what it does not hide."""

from tests.audit import report

CLEAN = {"name": "torch", "version": "2.14.1", "vulns": []}
HOLE = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}]}
UNFIXED = {"name": "older", "version": "0.1", "vulns": [{"id": "CVE-2", "fix_versions": []}]}
UNKNOWN = {"name": "strange", "skip_reason": "not found"}


def test_holes_are_told_with_what_mends_them() -> None:
    lines, holes = report({"dependencies": [CLEAN, HOLE, UNFIXED]})
    assert holes
    assert lines[:2] == ["old 1.0: CVE-1, mended in 1.1, 2.0", "older 0.1: CVE-2, mended in nothing yet"]
    assert lines[2] == "3 of 3 packages looked up, 2 known holes"


def test_what_nobody_knows_is_not_called_clean() -> None:
    lines, holes = report({"dependencies": [UNKNOWN] * 7})
    assert not holes
    assert lines[0] == "0 of 7 packages looked up, 0 known holes"
    assert lines[1].startswith("not looked up, so nothing is known of them: strange, ")
