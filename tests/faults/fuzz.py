"""Malformed input thrown at the commands: `python -m tests.faults.fuzz --count 2000 --seed 1`.

Each case runs in a process of its own that has the libraries already, in a copy of a small folder (`ground`). It has to
end by itself, with status 0 or 2; with 2, one line says why; nothing is written but where it was told to.
"""

import argparse
import contextlib
import faulthandler
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tests.faults import inputs, pictures
from tests.faults.inputs import Case

LIMIT, PATIENCE = 60.0, 10.0
"""Seconds after which a case hangs, and after which one that may take long is interrupted."""

_ROOM = 6 * 2**30  # bytes of addresses beyond those that libraries take: what asks for more is refused by the system

_GIVEN_UP = -signal.SIGKILL


@dataclass(frozen=True)
class Outcome:
    """How a case ended: its status, what it wrote on standard error, and what is wrong with that; "" if nothing is."""

    case: Case
    status: int
    error: str
    fault: str


def ground(folder: Path) -> Path:
    """Make the folder that cases are tried in: a few pictures, a run that is trained and scored, a study."""
    folder.mkdir(parents=True)
    for part in ("train", "val"):
        for i, name in enumerate(("cat", "dog")):
            pictures.fill(folder / "photos" / part / name, 4, seed=10 * i)
    (folder / "cat.png").write_bytes(pictures.plain(1))
    (folder / "study.yaml").write_text(inputs.STUDY)
    (folder / "precious").mkdir()
    (folder / "precious" / "file.txt").write_text("kept")
    for words in (
        ["train", "--out", "run", *inputs.TRAINED, "--seed", "1", "--device", "cpu"],
        ["evaluate", "run", "--groups", "accuracy", "--limit", "4", "--device", "cpu"],
    ):
        words = [word for word in words if word not in ("--max-time", "20s")]
        status, error = _forked(words, folder, lambda ground: None, LIMIT * 3, LIMIT * 3)
        if status != 0:
            raise SystemExit(f"{words}: {status} {error}")
    return folder


def load_libraries() -> None:
    """Import what commands import, so that a process that is forked has it."""
    import optuna  # noqa: F401
    import torch

    import gradsculpt.cli.building
    import gradsculpt.cli.process
    import gradsculpt.evaluation
    import gradsculpt.report
    import gradsculpt.studies.study
    import gradsculpt.training
    import gradsculpt.visualize  # noqa: F401

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def tried(case: Case, base: Path, scratch: Path) -> Outcome:
    """Try a case in a copy of the ground."""
    folder = scratch / "here"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(base, folder, symlinks=True)
    case.spoil(folder)
    before = _contents(scratch)
    limit = PATIENCE if case.patient else LIMIT
    status, error = _forked(case.words, folder, lambda ground: None, limit, LIMIT)
    return Outcome(case, status, error, _fault(case, status, error, before, _contents(scratch)))


def _fault(case: Case, status: int, error: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    lines = [line for line in error.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("gradsculpt: ")]
    if status == _GIVEN_UP:
        return "hangs"
    if "Traceback" in error or "Fatal Python" in error:
        return f"traceback: {lines[-1][:150]}"
    if "not foreseen" in error:
        return f"not foreseen: {told[-1][:150]}"
    if status not in (0, 2) and not (case.patient and status == 128 + signal.SIGTERM):
        return f"status {status}"
    if status == 2 and (len(told) != 1 or lines[-1] != told[0]):
        return f"{len(told)} lines of error among {len(lines)}"
    if any("Warning" in line for line in lines):
        return f"warning: {next(line for line in lines if 'Warning' in line)[:150]}"
    if status == 2 and len(told[0]) > 2000:
        return f"a line of {len(told[0])} letters"
    if status == 0 and told:
        return "status 0 with an error"
    if not error.isprintable() and not error.replace("\n", "").isprintable():
        return "what cannot be shown is written to the terminal"
    strange = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    places = [os.path.join("here", place) for place in ("new", "run/cache", *case.places)]
    strange = [path for path in strange if not any(path.startswith(place.rstrip("/")) for place in places)]
    return f"written outside: {sorted(strange)[:3]}" if strange else ""


def _contents(folder: Path) -> dict[str, Any]:
    """Return what is in a folder: of each path its kind, size and time; of folders only that they are there."""
    found: dict[str, Any] = {}
    for place, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(place, name), folder)] = "folder"
        for name in files:
            path = os.path.join(place, name)
            known = os.lstat(path)
            found[os.path.relpath(path, folder)] = (known.st_mode, known.st_size, known.st_mtime_ns)
    return found


def _forked(
    words: Any, folder: Path, prepare: Callable[[Path], None], patience: float, limit: float
) -> tuple[int, str]:
    """Run a command line in a process of its own, and return its status and standard error."""
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            _run(list(words), folder, errors.fileno(), limit)
        status = _waited(child, patience, limit)
        errors.seek(0)
        return status, errors.read().decode("utf-8", "backslashreplace")


def _waited(child: int, patience: float, limit: float) -> int:
    started, interrupted, pause = time.monotonic(), False, 0.002
    while True:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(code)
        spent = time.monotonic() - started
        if spent > patience and not interrupted:
            os.kill(child, signal.SIGTERM)
            interrupted = True
        if spent > limit + 1:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return _GIVEN_UP
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)


def _run(words: list[str], folder: Path, errors: int, limit: float) -> NoReturn:
    """Run a command in this process, which was forked for it, and end it."""
    status = 70
    try:
        os.chdir(folder)
        os.dup2(errors, 2)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.environ |= {"HF_HOME": "nowhere", "HF_TOKEN": ""}
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.enable()
        faulthandler.dump_traceback_later(limit, exit=False)
        room = _taken() + _ROOM
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _keep_to_this_machine()
        from gradsculpt.cli.main import main

        try:
            status = main(words)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 70
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _taken() -> int:
    """Return the bytes of addresses that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _keep_to_this_machine() -> None:
    """Let nothing be fetched, and leave out the long work behind checks that other commands have too."""
    import gradsculpt.cli.demo
    import gradsculpt.cli.study
    import gradsculpt.cli.sweep
    import gradsculpt.viewer.command as viewer

    def closed(*args: Any, **kwargs: Any) -> NoReturn:
        raise OSError("there is no network")

    def ended(*args: Any, **kwargs: Any) -> NoReturn:
        raise SystemExit(0)

    socket.socket.connect = closed  # type: ignore[method-assign]
    places: list[tuple[Any, str, Any]] = [
        (gradsculpt.cli.demo, "_demonstrate", lambda *args: None),
        (gradsculpt.cli.study, "perform_tasks", lambda *args: None),
        (gradsculpt.cli.sweep, "tried", ended),
        (viewer, "_serve", lambda names, options, folder, reporter: viewer._subjects(names, options, folder)),
    ]
    for module, name, instead in places:
        setattr(module, name, instead)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def outcomes(seed: int, count: int, base: Path, only: str | None = None, first: int = 0) -> Iterator[Outcome]:
    """Yield how so many cases end."""
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(first, first + count):
            yield tried(inputs.case(seed, number, only), base, Path(scratch, "case"))


def main() -> int:
    """Try many cases, and print a table by kind and every failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", choices=list(inputs.KINDS))
    parser.add_argument("--ground", type=Path, help="where the ground is, or is to be kept")
    parser.add_argument("--all", action="store_true", help="print every case")
    given = parser.parse_args()
    load_libraries()
    tally, ends, failed = Counter[str](), Counter[tuple[str, int]](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        base = given.ground or Path(folder, "ground")
        if not base.exists():
            ground(base)
        started = time.monotonic()
        for i, outcome in enumerate(outcomes(given.seed, given.count, base, given.only, given.first), given.first):
            kind = outcome.case.kind
            tally[kind] += 1
            ends[kind, outcome.status] += 1
            if outcome.fault:
                failed[kind] += 1
            if outcome.fault or given.all:
                words = [word if len(word) < 80 else f"{word[:80]}..." for word in outcome.case.words]
                last = outcome.error.strip().splitlines()[-1:] or [""]
                _say(
                    f"#{i} {kind}: {outcome.fault or outcome.status}\n  {words} {outcome.case.told}\n  {last[0]!r:.400}"
                )
                if "raceback" in outcome.fault:
                    _say("  | " + "\n  | ".join(outcome.error.strip().splitlines()[-9:]))
    _say(f"\n{'kind':<16}{'cases':>7}{'status 0':>10}{'status 2':>10}{'failed':>8}")
    for kind, count in tally.items():
        _say(f"{kind:<16}{count:>7}{ends[kind, 0]:>10}{ends[kind, 2]:>10}{failed[kind]:>8}")
    _say(f"{sum(tally.values())} cases, {sum(failed.values())} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
