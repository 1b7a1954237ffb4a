"""Malformed input of every kind, a few cases each; `python -m tests.faults.fuzz` tries thousands."""

from pathlib import Path

import pytest

from tests.faults import fuzz, inputs
from tests.faults.inputs import Case

SEED = 20
LIGHT = {
    "typed": 30,
    "strayed": 20,
    "in parts": 20,
    "in config": 20,
    "as config": 20,
    "in study": 12,
    "in class map": 12,
}
"""Kinds of which most cases end before anything is computed, and how many of each are tried; of others, a few."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="cases are forked, with bounds of Linux")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fuzz.load_libraries()
    return fuzz.ground(tmp_path_factory.mktemp("faults") / "ground")


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_malformed_input_ends_in_one_line(kind: str, ground: Path) -> None:
    outcomes = fuzz.outcomes(SEED, LIGHT.get(kind, 6), ground, kind)
    faults = {f"{outcome.case.words} {outcome.case.told}": outcome.fault for outcome in outcomes if outcome.fault}
    assert not faults


@pytest.mark.parametrize("command", ["train", "evaluate", "study", "sweep", "view"])
def test_what_is_well_formed_works(command: str, ground: Path, tmp_path: Path) -> None:
    """Or everything could be refused, and nothing be found."""
    outcome = fuzz.tried(Case(command, tuple(inputs.BASES[command])), ground, tmp_path / "case")
    assert (outcome.status, outcome.fault) == (0, ""), outcome.error


def test_what_is_wrong_is_seen(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that raises, hangs, writes outside of its folder, or says two things does not pass."""
    import gradsculpt.cli.listing as listing

    def fault_of(change: object, *, patient: bool = False) -> str:
        monkeypatch.setattr(listing, "run", change)
        return fuzz.tried(Case("broken", ("list",), patient=patient), ground, tmp_path / "case").fault

    def raises(words: object, reporter: object) -> None:
        raise KeyError("x")

    def writes(words: object, reporter: object) -> None:
        Path("../stray.txt").write_text("x")

    def ends(words: object, reporter: object) -> None:
        raise SystemExit(3)

    assert fault_of(raises).startswith("traceback: KeyError")
    assert fault_of(writes).startswith("written outside: ['stray.txt']")
    assert fault_of(ends) == "status 3"
    monkeypatch.setattr(fuzz, "LIMIT", 0.2)

    def hangs(words: object, reporter: object) -> None:
        import signal
        import time

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    assert fault_of(hangs) == "hangs"


def test_a_case_is_the_same_each_time() -> None:
    for number in range(40):
        assert inputs.case(1, number).words == inputs.case(1, number).words
