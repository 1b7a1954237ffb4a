"""The pages of docs/ as documents of Sybil: every fenced block is run, checked, or said to be output.

A page may hold

- ```` ```python ````, which runs, the blocks of a page one after the other in one namespace and one folder;
- ```` ```{code-block} python ```` with `:caption: FILE`, which is written to that file;
- ```` ```console ````, whose lines are commands: those of gradsculpt run, made small by `SMALL`;
- ```` ```yaml ````, which has to be YAML, with `:caption: FILE` written to that file;
- ```` ```text ````, what a program prints.
"""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator

from gradsculpt.cli.main import COMMANDS, main
from gradsculpt.cli.parser import DESCRIBE, Described

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    str(path.relative_to(DOCS).with_suffix("")): path
    for path in sorted(DOCS.rglob("*.md"))
    if "generated" not in path.relative_to(DOCS).parts
}
FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,})(?P<kind>[^\n]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_CAPTION = re.compile(r"(?:^:[a-z-]+:.*\n)*")

SMALL = {
    "train": "--epochs 1 --batch-size 16",
    "evaluate": "--limit 4",
    "compare": "--limit 4 --count 2",
    "sweep": "--epochs 1 --batch-size 16 --limit 4",
    "features": "--steps 2",
    "attack": "--steps 2",
    "study": "--scale smoke",
    "explain": "",
    "push": "",
    "export": "",
    "list": "",
    "help": "",
    "doctor": "",
}
"""What makes the commands that run small; the options of the others are read, and no more."""

_LARGE = ("cells", "digits")
"""The data of which trainings that run small take 64 images."""

_OTHERS = ("pip", "make", "python", "python3", "source", "cd", "export", "ray", "sbatch", "kubectl", "hf")
"""The programs of others that a page may name, which are not run."""


def document(page: Path, *, small: bool) -> Document:
    """Return a page whose examples run when they are evaluated, its commands as they stand or small."""

    def parser(document: Document) -> Iterator[Region]:
        python = PythonEvaluator()
        for found in FENCE.finditer(document.text):
            kind, text = found["kind"].strip(), found["text"]
            if kind in ("text", "{toctree}", "{eval-rst}", "{include}") or kind.startswith(("{include}", "{figure}")):
                continue
            lead = _CAPTION.match(text)
            options = lead[0] if lead and kind.startswith("{") else ""
            body = text[len(options) :].lstrip("\n")
            caption = re.search(r":caption: (\S+)", options)
            if caption:
                yield Region(found.start(), found.end(), (caption[1], body), _write)
            elif kind == "python":
                yield Region(found.start(), found.end(), _Python(body), python)
            elif kind == "console":
                yield Region(found.start(), found.end(), body, _small if small else _whole)
            elif kind == "yaml":
                yield Region(found.start(), found.end(), body, _yaml)
            else:
                raise ValueError(f"{page.name}: a block of the kind {kind!r} is neither run nor output")

    return Sybil(parsers=[parser]).parse(page)


class _Python(str):
    """The text of a block, as the evaluator of Sybil takes it: its lines begin where the region does."""

    line_offset = 0
    __slots__ = ()


def _write(example: Example) -> None:
    """Write a file of the reader's, and forget what an earlier one of its name held."""
    name, body = example.parsed
    if name.endswith((".yaml", ".yml")):
        list(yaml.safe_load_all(body))
    Path(name).write_text(body, encoding="utf-8")
    sys.modules.pop(Path(name).stem, None)
    importlib.invalidate_caches()


def _yaml(example: Example) -> None:
    yaml.safe_load(example.parsed)


def _small(example: Example) -> None:
    for words in commands(example.parsed):
        _run(words, small=True)


def _whole(example: Example) -> None:
    for words in commands(example.parsed):
        _run(words, small=False)


def commands(text: str) -> list[list[str]]:
    """Return the words of each command of a block."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line.removeprefix("$ "), comments=True))]


def _run(words: list[str], *, small: bool) -> None:
    """Run a command of ours; one that is not made small, and has to be, is read, and those of others are known."""
    if words[0] != "gradsculpt":
        assert words[0] in _OTHERS, f"{words[0]} is no program that a page may name"
    elif small and (words[1] not in SMALL or "--devices" in words or _of_the_hub(words)):
        # Several processes start this one's program again, and here is nothing to be fetched or sent.
        read(words[1:])
    else:
        status = main([*words[1:], *(_added(words) if small else [])])
        assert status == 0, f"{shlex.join(words)} ended with status {status}"


def _of_the_hub(words: list[str]) -> bool:
    return any(word.startswith("hf:") for word in words) or (words[1] == "push" and "--out" not in words)


def _added(words: list[str]) -> list[str]:
    """Return the options that make a command small."""
    if words[1:3] in (["study", "list"], ["study", "show"]) or (words[1] == "attack" and "--attack" in words):
        return []  # nothing to make smaller; an attack of the reader's own may take no steps
    few = ["--train-count", "64"] if words[1] in ("train", "sweep") and {*_LARGE} & {*words} else []
    drawn = ["--cache-dir", "drawn"] if "cells" in words else []  # once for all
    return [*SMALL[words[1]].split(), *few, *drawn]


def read(words: list[str]) -> None:
    """Read the options of a command without doing what it says."""
    assert words[0] in COMMANDS, words[0]
    try:
        importlib.import_module(COMMANDS[words[0]].module).run([DESCRIBE], None)
    except Described as described:
        described.parser.read(words[1:])
