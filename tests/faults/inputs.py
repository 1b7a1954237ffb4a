"""Malformed input for every command, made from the parsers and from whole files; each case by a seed and a number."""

import importlib
import json
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from gradsculpt.cli.main import COMMANDS
from gradsculpt.cli.parser import DESCRIBE, Described, Parser
from gradsculpt.progress import Reporter

HUGE = "1" + "0" * 400
LONG = "a" * 2000

TEXTS = (
    "",
    " ",
    "null",
    "none",
    "~",
    "nan",
    "-inf",
    "inf",
    "1e308",
    "-1e308",
    "1e-320",
    "1e400",
    "-1",
    "-0.0",
    "0",
    "1.5",
    HUGE,
    f"-{HUGE}",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "0x10",
    "1_0",
    "٣",
    "½",
    "true",
    "maybe",
    "[]",
    "[1,2]",
    "[[1],[2]]",
    "[[",
    "]",
    "[nan]",
    "[-1]",
    "[a, b]",
    "{}",
    "{a: 1}",
    "{a",
    "{a: {b: [c]}}",
    "{class_path: os.system, init_args: {command: x}}",
    "{class_path: 3}",
    "{init_args: 3}",
    "2024-01-01",
    LONG,
    f"[{LONG}]",
    f"{LONG}:{LONG}={LONG}",
    "é",
    "\udce9",
    "a\x00b",
    "\x1b[31mred\x1b[0m",
    "two\nlines",
    "\r",
    "\u202eabc",
    "\ud800",
    "..",
    "../..",
    ".",
    "/",
    "/dev/null",
    "/proc/self/mem",
    "missing",
    "missing/deeper",
    "cat.png",
    "cat.png/x",
    "photos",
    "run",
    "run/model.json",
    "a/" * 200,
    "x/" + "y" * 300,
    "=",
    "a=b",
    "a=",
    "=a",
    ":",
    "a:b:c",
    "folder:",
    "folder:..",
    "folder:cat.png",
    "folder:missing",
    f"folder:{LONG}",
    "folder:a\x00b",
    "python:",
    "python::",
    "python:os",
    "python:os:system",
    "python:os:nothing",
    "python:json:dumps",
    "python:..:x",
    "torchvision:",
    "torchvision:resnet18:x",
    "torchvision:(",
    "timm:[",
    "pretrained:",
    "pretrained:x",
    "hf:",
    "hf:me/net",
    "hf:me/net@..",
    "hf:a/b/c",
    "hf:\x00/x",
    "me/net",
    "~nobody/x",
    "folder:~nobody",
    "cells:1",
    "(",
    ")",
    "a(",
    "a)(",
    "l1(",
    "l1(l1(l1(1)))",
    "l1:weight=",
    "l1:weight=nan",
    "l1(weight=[1,2])",
    "l1(1,2,3,4)",
    "l1(weight=1,weight=2)",
    "gradientpenalty(l1(0.1)",
    "gradientpenalty(gradient)",
    "smoothgrad(samples=-1)",
    "smoothgrad:samples=1e308",
    "smoothgrad:sigma=nan",
    "integratedgradients:steps=0",
    "os.path",
    "os.path.join",
    "gradsculpt.penalties.L1",
    "gradsculpt.Nothing",
    "gradsculpt..x",
    ".gradsculpt",
    "a.b.",
    "%s%n",
    "{0}",
    "*",
    "[/b]",
    "\\",
    "'",
    '"',
    "#",
    "--",
    "-",
    "-x",
    "---",
    "--=",
    "--help",
    "0-1",
    "9-1",
    "1..2",
    "1..2:log",
    "2..1",
    "a..b",
    "lr=",
    "lr=a",
    "lr=1e-3,",
    "lr=1..2",
    "epochs=1.5",
    "objective.l2=1",
    "objective=nothing",
    "00:00:00",
    "1h30",
    "-5m",
    "99:99:99",
)
"""What is typed for an option, whatever it takes."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    -1e308,
    1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**63,
    10**400,
    "",
    "x",
    LONG,
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "..",
    "1",
    "nan",
    [],
    [[]],
    [None],
    [1],
    [1, 2, 3],
    ["a"],
    [[1], [2]],
    [float("nan")] * 3,
    [1e308] * 3,
    {},
    {"a": 1},
    {"class_path": "os.system"},
    {"class_path": None},
    {"class_path": "gradsculpt.penalties.L1"},
    {"class_path": "gradsculpt.penalties.L1", "init_args": None},
    {"class_path": "gradsculpt.penalties.L1", "init_args": [1]},
    {"class_path": "gradsculpt.penalties.L1", "init_args": {"weight": None}},
    {"init_args": {}},
    {"class_path": ["a"], "init_args": 3, 5: 6},
)
"""What stands in a file, whatever belongs there."""

CONTENTS = (
    *(b"", b"\xff\xfe", b"- a\n- b\n", b"3\n", b"text\n", b"a: b: c\n", b"epochs: !!python/object:os.system {}\n"),
    *(b"? [a]\n: b\n", b"? {a: b}\n: c\n", b"epochs: 1\nepochs: 2\n", b"1: 2\n", b"null: 3\n", b"a\x00b: 1\n"),
    *(b"--- 1\n--- 2\n", b"%YAML 9.9\n---\na: 1\n", b"epochs: &a [*a]\n", b"<<: 3\n", b"<<: [1]\n"),
    *(b"epochs: .nan\n", b"epochs: 2001-99-99\n", b"epochs: 0b2\n", b"epochs: 1:99:99\n", b'"\\ud800": 1\n'),
    *(b"epochs: !!int x\n", b"epochs: !!binary '*'\n", b"epochs: !!set {1}\n", b"epochs: !!timestamp x\n"),
    *(b"epochs: !!float x\n", b"lr: !!null x\n", b"\xef\xbb\xbfepochs: 1\n", b"data: !!str\n", b"[a, b]: 1\n"),
    *(b"epochs: !!bool x\n", b"epochs: " + HUGE.encode() + b"\n", b"a: " * 200, b"[" * 300, b"? " * 300),
)
"""Files of settings that are none."""

TABLES = (
    *(b"", b"epoch\n1\n", b"step\n1\n", b"epoch,step\nx,y\n", b"epoch\n\n\n", b"epoch,epoch\n1,2\n"),
    *(b"epoch\n1,2,3\n", b"epoch,step\n1\n", b"\xff\n", b'epoch\n"1', b"epoch\n1.0\n", b"epoch\n-1\n"),
    *(b"epoch\nnan\n", b"\n", b"epoch,val_accuracy\n1,x\n", b"epoch,val_accuracy\n1,\n", b",\n,\n"),
    *(b"epoch,val_accuracy\n1,nan\n", b"epoch\n" + b"1" * 200_000 + b"\n", b"epoch\n1\x00\n", b"epoch\n0\n"),
    *(b"epoch\n" + HUGE.encode() + b"\n", b'"epoch\n', "epoch,é\n1,2\n".encode("latin-1"), b"epoch\n\xd9\xa3\n"),
)
"""Tables of epochs that are of another form."""

PAIRS = (
    *(b"", b"\xff", b"cat\n", b"cat,dog,x\n", b",\n", b"cat,\n", b"cat,nothing\n", b"cat,99\n", b"cat,-1\n"),
    *(b"cat,0-9\n", b'"cat', b"cat,cat\ncat,dog\n", b"{}", b'{"cat": 3}', b"cat,1\x00\n", b"a" * 200_000),
    *(b"cat," + HUGE.encode() + b"\n", b"cat,1-" + HUGE.encode() + b"\n", b'{"cat": ["dog"]}', b"[1]", b"[" * 500),
)
"""Tables of classes that are of another form."""

_COMMON = ["--device", "cpu"]
TRAINED = [
    "--data",
    "folder:photos",
    "--model",
    "lenet",
    "--image-size",
    "16",
    "--epochs",
    "1",
    "--batch-size",
    "8",
    "--max-time",
    "20s",
]
BASES: dict[str, list[str]] = {
    "train": ["train", "--out", "new", *TRAINED, *_COMMON],
    "explain": ["explain", "run", "cat.png", "--out", "new", *_COMMON],
    "features": ["features", "run", "--out", "new", "--steps", "1", *_COMMON],
    "attack": ["attack", "run", "cat.png", "--out", "new", "--steps", "1", *_COMMON],
    "evaluate": ["evaluate", "run", "--out", "new", "--groups", "accuracy", "--limit", "4", *_COMMON],
    "compare": ["compare", "run", "--out", "new/page.html", "--groups", "accuracy", "--limit", "4", *_COMMON],
    "export": ["export", "run", "--torchscript", "new/net.pt"],
    "study": ["study", "run", "study.yaml", "--out", "new", *_COMMON],
    "sweep": ["sweep", "--out", "new", "--grid", "lr=1e-3", "--data", "folder:photos", "--epochs", "1", *_COMMON],
    "view": ["view", "run", "--out", "new", *_COMMON],
    "demo": ["demo", "--out", "new"],
    "list": ["list"],
    "doctor": ["doctor", "--out", "new"],
    "push": ["push", "run", "me/net", "--out", "new", *_COMMON],
    "completion": ["completion", "bash"],
}
"""A call of each command that works on the ground, on which something is then wrong."""

STUDY = """\
title: Small
source: nobody
train: {data: cells, model: lenet, epochs: 1, train_count: 20}
seeds: [0]
measure:
  scores: {evaluate: {groups: [accuracy], limit: 4}}
networks: {fast: {lr: 0.01}, slow: {lr: 0.001}}
rows:
  standard: {network: fast}
  slow: {network: slow}
table:
  accuracy: {score: scores.accuracy, scale: 100}
claims:
- {says: it is good, score: scores.accuracy, above: slow, rows: [standard]}
"""


@dataclass(frozen=True)
class Case:
    """What is typed, and what is done before to a copy of the ground.

    Args:
        kind: What is malformed.
        words: The command line.
        told: What was done, for whoever mends it.
        spoil: What is done to the copy.
        places: What may be written besides `new`.
        patient: Whether it may take long, as what is asked for is much and allowed: it is interrupted then.
    """

    kind: str
    words: tuple[str, ...]
    told: str = ""
    spoil: Callable[[Path], None] = lambda ground: None
    places: tuple[str, ...] = ()
    patient: bool = False


@cache
def parser_of(command: str) -> Parser:
    """Return the parser of a command."""
    try:
        importlib.import_module(COMMANDS[command].module).run([DESCRIBE], Reporter())
    except Described as described:
        return described.parser
    raise LookupError(command)


def options(command: str) -> tuple[Any, ...]:
    """Return what a command takes, as its parser says."""
    return tuple(action for action in parser_of(command)._actions if action.dest != "help")


def _without(words: Sequence[str], option: str) -> list[str]:
    """Return words without an option and what follows it."""
    spelled = {option, option.replace("_", "-").replace("--", "--", 1)}
    kept, skipping = list[str](), False
    for word in words:
        if word.startswith("--"):
            skipping = word in spelled
        if not skipping:
            kept.append(word)
    return kept


_PLACES = ("--out", "--cache_dir", "--data_dir", "--html")
_MUCH = ("--steps", "--epochs", "--count", "--limit", "--search", "--seeds", "--max_time", "--warmup", "--method")


def typed(rng: random.Random) -> Case:
    """Return a command line in which one option has a strange value."""
    command = rng.choice(list(BASES))
    takes = [action for action in options(command) if action.option_strings]
    if not takes:
        return Case("typed", (*BASES[command], rng.choice(TEXTS)))
    action = rng.choice(takes)
    option, text = action.option_strings[0], rng.choice(TEXTS)
    name = option.replace("_", "-")
    words = _without(BASES[command], name)
    extra = [f"{name}={text}"] if rng.random() < 0.3 else [name, text]
    places = ("",) if option in _PLACES else ()
    return Case("typed", (*words, *extra), places=places, patient=option in _MUCH)


def strayed(rng: random.Random) -> Case:
    """Return a command line with words too many, too few, twice, or in the wrong place."""
    command = rng.choice(list(BASES))
    words = list(BASES[command])
    names = [name for each in options(command) for name in each.option_strings]
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(words))
        change = rng.randrange(6)
        if change == 0:
            words.insert(at, rng.choice(TEXTS))
        elif change == 1 and len(words) > 1:
            del words[rng.randrange(len(words))]
        elif change == 2 and names:
            words += [rng.choice(names)]
        elif change == 3:
            words += words[max(1, at - 2) :]
        elif change == 4 and len(words) > 1:
            i = rng.randrange(len(words))
            words[i] = rng.choice(TEXTS)
        else:
            rng.shuffle(words)
    kept = [after for word, after in pairwise(words) if word.startswith("--out")]
    return Case("strayed", tuple(words), places=() if kept in (["new"], ["new/page.html"]) else ("",), patient=True)


_KEYS = (
    *("help", "penalty", "penalty.weight", "l2", "flip", "unknown", "sub.unknown", "class_path", "init_args", ""),
    *("init_args.penalty", "perturbation.steps", "[0]", "0", "__class__", "a" * 500, "é", "penalty.penalty", ".."),
)


def in_parts(rng: random.Random) -> Case:
    """Return a command line with an option in an option."""
    command = rng.choice(["train", "train", "sweep", *BASES])
    heads = [f"--{name}" for name in parser_of(command).dotted] or [
        name for each in options(command) for name in each.option_strings
    ]
    head = rng.choice(heads or ["--out"]).replace("_", "-")
    words = list(BASES[command])
    if rng.random() < 0.4 and command in ("train", "sweep"):
        words += ["--recipe", rng.choice(["l1", "elastic-net", "aga-l2-cos", "standard"])]
    for _ in range(rng.randint(1, 2)):
        option = f"{head}.{rng.choice(_KEYS)}"
        value = rng.choice([[], [rng.choice(TEXTS)], [rng.choice(TEXTS)], ["5"]])
        words += [option, *value] if rng.random() < 0.6 or not value else [f"{option}={value[0]}"]
    return Case("in parts", tuple(words), patient=True)


def _walk(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, each in items:
        yield from _walk(each, (*path, key))


def changed(content: Any, rng: random.Random, values: Sequence[Any] = VALUES) -> tuple[Any, str]:
    """Return nested data in which something is of another kind, missing or too much, and what that is."""
    content = json.loads(json.dumps(content)) if not _has_tensors(content) else _copied(content)
    told = []
    for _ in range(1 if rng.random() < 0.8 else 2):
        paths = list(_walk(content))
        if not paths:
            return rng.choice(values), "something else altogether"
        path = rng.choice(paths)
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        kind = rng.randrange(5)
        if kind == 0:
            del inner[path[-1]]
            told.append(f"{path} dropped")
        elif kind == 1 and isinstance(inner, dict):
            key = rng.choice(["unknown", "", "a\nb", LONG, "class_path", "init_args"])
            inner[key] = rng.choice(values)
            told.append(f"{path[:-1]} has {key[:20]!r} too")
        else:
            value = rng.choice(values)
            inner[path[-1]] = value
            told.append(f"{path}={value!r:.60}")
    return content, "; ".join(told)


def _has_tensors(content: Any) -> bool:
    try:
        json.dumps(content)
    except (TypeError, ValueError):
        return True
    return False


def _copied(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _copied(each) for key, each in content.items()}
    return [_copied(each) for each in content] if isinstance(content, list) else content


def damaged(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return bytes that are not what they were, and how."""
    length = max(1, len(content))
    kind = rng.randrange(9)
    if kind == 0:
        return b"", "empty"
    if kind == 1:
        cut = rng.randrange(length)
        return content[:cut], f"cut at {cut}"
    if kind == 2:
        start, count = rng.randrange(length), rng.randint(1, 64)
        return content[:start] + bytes(count) + content[start + count :], f"{count} zeros at {start}"
    if kind == 3:
        flipped = bytearray(content)
        places = [rng.randrange(length) for _ in range(rng.randint(1, 8))] if content else []
        for place in places:
            flipped[place] ^= 1 << rng.randrange(8)
        return bytes(flipped), f"bits flipped at {places}"
    if kind == 4:
        return bytes(length), "zeros alone"
    if kind == 5:
        return rng.randbytes(rng.randint(1, 3000)), "noise"
    if kind == 6:
        return content * 2, "twice"
    if kind == 7:
        start = rng.randrange(length)
        return content[:start] + rng.randbytes(rng.randint(1, 16)) + content[start:], f"bytes put in at {start}"
    return "café 🎉\x00\ufeff".encode("utf-16"), "UTF-16"


def instead(path: Path, rng: random.Random) -> str:
    """Put something else in the place of a file, and return what."""
    content = path.read_bytes()
    path.unlink()
    kind = rng.randrange(5)
    if kind == 0:
        return "missing"
    if kind == 1:
        path.mkdir()
        return "a folder"
    if kind == 2:
        path.symlink_to("nowhere")
        return "a link to nowhere"
    if kind == 3:
        path.symlink_to(path.name)
        return "a link to itself"
    path.write_bytes(content[:10])
    return "its first 10 bytes"


def in_config(rng: random.Random) -> Case:
    """Return a training by a file of settings in which one is wrong."""
    drawn = rng.getrandbits(64)

    def spoil(ground: Path) -> None:
        inner = random.Random(drawn)
        whole = yaml.safe_load((ground / "run" / "config.yaml").read_text(encoding="utf-8"))
        path = ground / "own.yaml"
        way = inner.randrange(4)
        if way == 0:
            path.write_bytes(damaged(yaml.safe_dump(whole).encode(), inner)[0])
        elif way == 1:
            name = inner.choice(sorted(whole))
            path.write_bytes(_yaml({name: inner.choice(VALUES)}))
        else:
            path.write_bytes(_yaml(changed(whole, inner)[0]))

    command = rng.choice(["train", "train", "train", "sweep"])
    typed = {"train": ["--out", "new", "--epochs", "1", "--max-time", "20s"], "sweep": BASES["sweep"][1:]}[command]
    return Case("in config", (command, *typed, *_COMMON, "--config", "own.yaml"), str(drawn), spoil, patient=True)


def _yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")


def as_config(rng: random.Random) -> Case:
    """Return a training by a file of settings that is none."""
    path = "own.yaml" if rng.random() < 0.6 else rng.choice([text for text in TEXTS if text])
    content = rng.choice(CONTENTS)

    def spoil(ground: Path) -> None:
        (ground / "own.yaml").write_bytes(content)

    return Case("as config", (*BASES["train"], "--config", path), repr(content), spoil)


_READERS = (
    ("explain", "run", "cat.png", "--out", "new"),
    ("evaluate", "run", "--out", "new", "--groups", "accuracy", "--limit", "4"),
    ("attack", "run", "cat.png", "--out", "new", "--steps", "1"),
    ("features", "run", "--out", "new", "--steps", "1"),
    ("compare", "run", "--out", "new/page.html", "--groups", "accuracy", "--limit", "4"),
    ("train", "--resume", "--out", "run", "--epochs", "2"),
    ("train", "--out", "new", *TRAINED, "--weights", "run"),
    ("export", "run", "--torchscript", "new/net.pt"),
    ("view", "run", "--out", "new"),
    ("doctor", "--out", "run"),
    ("push", "run", "me/net", "--out", "new"),
)


def _read_run(rng: random.Random, kind: str, told: str, spoil: Callable[[Path], None]) -> Case:
    words = rng.choice(_READERS)
    places = ("run",) if words[0] in ("compare", "train") else ()
    return Case(kind, (*words, *(() if words[0] in ("doctor", "export") else _COMMON)), told, spoil, places)


def in_description(rng: random.Random) -> Case:
    """Return a look at a run whose model.json is not right."""
    drawn = rng.getrandbits(64)

    def spoil(ground: Path) -> None:
        inner = random.Random(drawn)
        path = ground / "run" / "model.json"
        text = path.read_bytes()
        if inner.random() < 0.3:
            path.write_bytes(damaged(text, inner)[0])
        else:
            content, _ = changed(json.loads(text), inner)
            path.write_text(json.dumps(content))

    return _read_run(rng, "in model.json", str(drawn), spoil)


FILES = (
    "config.yaml",
    "metrics.csv",
    "scorecard.json",
    "model.safetensors",
    "model.json",
    "checkpoints/last.ckpt",
    "checkpoints/best.ckpt",
)


def in_files(rng: random.Random) -> Case:
    """Return the use of a run of which one file is damaged, or something else."""
    drawn, name = rng.getrandbits(64), rng.choice(FILES)

    def spoil(ground: Path) -> None:
        inner, path = random.Random(drawn), ground / "run" / name
        if inner.random() < 0.2:
            instead(path, inner)
        else:
            path.write_bytes(damaged(path.read_bytes(), inner)[0])

    if name.startswith(("checkpoints", "metrics")):
        words = ("train", "--resume", "--out", "run", "--epochs", "2", *_COMMON)
        return Case("in files", words, f"{name} {drawn}", spoil, ("run",))
    return _read_run(rng, "in files", f"{name} {drawn}", spoil)


def in_checkpoint(rng: random.Random) -> Case:
    """Return a training that goes on from a checkpoint in which something is of another kind."""
    drawn = rng.getrandbits(64)

    def spoil(ground: Path) -> None:
        import torch

        inner = random.Random(drawn)
        path = ground / "run" / "checkpoints" / inner.choice(["last.ckpt", "last.ckpt", "best.ckpt"])
        content = torch.load(path, map_location="cpu", weights_only=True)
        values = [*VALUES, torch.zeros(3), torch.zeros(2, 2, dtype=torch.int8), torch.tensor(float("nan"))]
        content, _ = changed(content, inner, values)
        torch.save(content, path)

    words = ("train", "--resume", "--out", "run", "--epochs", "2", *_COMMON)
    return Case("in checkpoint", words, str(drawn), spoil, ("run",))


def in_metrics(rng: random.Random) -> Case:
    """Return a training that goes on with a table of another form."""
    content = rng.choice(TABLES)

    def spoil(ground: Path) -> None:
        (ground / "run" / "metrics.csv").write_bytes(content)

    keep = ("--keep", "last") if rng.random() < 0.2 else ()
    words = ("train", "--resume", "--out", "run", "--epochs", rng.choice(["1", "2"]), *keep, *_COMMON)
    return Case("in metrics", words, repr(content[:60]), spoil, ("run",))


def in_weights(rng: random.Random) -> Case:
    """Return the use of weights of another form: other names, shapes, types, or a header that says so."""
    drawn = rng.getrandbits(64)

    def spoil(ground: Path) -> None:
        import torch
        from safetensors.torch import load, save

        inner = random.Random(drawn)
        path = ground / "run" / "model.safetensors"
        content = path.read_bytes()
        state = load(content)
        name = inner.choice(sorted(state))
        way = inner.randrange(7)
        if way == 0:
            del state[name]
        elif way == 1:
            state["unknown"] = torch.zeros(3)
        elif way == 2:
            state[name] = torch.zeros(inner.choice([(0,), (3,), (2, 2), (1, 1, 1, 1)]))
        elif way == 3:
            state[name] = state[name].to(inner.choice([torch.int64, torch.bool, torch.float16, torch.float64]))
        elif way == 4:
            state[name] = torch.full_like(state[name], float("nan")) if state[name].is_floating_point() else state[name]
        elif way == 5:
            state = {}
        if way < 6:
            path.write_bytes(save(state))
            return
        length = struct.unpack("<Q", content[:8])[0]
        header, _ = changed(json.loads(content[8 : 8 + length]), inner)
        text = json.dumps(header).encode()
        size = inner.choice([len(text), 0, 2**63, len(text) + 10])
        path.write_bytes(struct.pack("<Q", size) + text + content[8 + length :])

    if rng.random() < 0.4:
        words = ("train", "--out", "new", *TRAINED, "--weights", "run/model.safetensors", *_COMMON)
        return Case("in weights", words, str(drawn), spoil)
    return _read_run(rng, "in weights", str(drawn), spoil)


def in_card(rng: random.Random) -> Case:
    """Return a comparison of scorecards in which something is of another kind."""
    drawn = rng.getrandbits(64)

    def spoil(ground: Path) -> None:
        path = ground / "run" / "scorecard.json"
        content, _ = changed(json.loads(path.read_bytes()), random.Random(drawn))
        path.write_text(json.dumps(content))

    words = rng.choice(
        [_READERS[4], _READERS[1], _READERS[-1], ("evaluate", "run", "--groups", "accuracy", "--limit", "4")]
    )
    return Case("in scorecard", (*words, *_COMMON), str(drawn), spoil, ("run",))


def in_study(rng: random.Random) -> Case:
    """Return a study of one's own that is not right."""
    drawn = rng.getrandbits(64)

    def spoil(ground: Path) -> None:
        inner = random.Random(drawn)
        path = ground / "study.yaml"
        if inner.random() < 0.3:
            path.write_bytes(damaged(STUDY.encode(), inner)[0])
        else:
            path.write_bytes(_yaml(changed(yaml.safe_load(STUDY), inner)[0]))

    action = rng.choice(["run", "show"])
    return Case("in study", ("study", action, "study.yaml", "--out", "new", *_COMMON), str(drawn), spoil)


def in_table(rng: random.Random) -> Case:
    """Return a scoring by a table of classes that is not right."""
    content = rng.choice(PAIRS)

    suffix = rng.choice([".csv", ".json", ".yaml", ".txt"])

    def spoil(ground: Path) -> None:
        (ground / f"map{suffix}").write_bytes(content)

    words = ("evaluate", "run", "--data", "folder:photos", "--out", "new", "--groups", "accuracy", "--limit", "4")
    return Case("in class map", (*words, "--class-map", f"map{suffix}", *_COMMON), repr(content[:50]), spoil)


def in_image(rng: random.Random) -> Case:
    """Return a look at a picture that is odd or none."""
    from tests.faults import pictures

    drawn = rng.getrandbits(64)
    name = f"odd{rng.choice(['.png', '.jpg', '.jpeg', '.webp', '.bmp', '.gif', '.tiff', '.PNG', '', '.txt'])}"

    def spoil(ground: Path) -> None:
        inner = random.Random(drawn)
        (ground / name).write_bytes(pictures.odd(inner))
        (ground / "photos" / "train" / "cat" / f"x{name}").write_bytes(pictures.odd(inner))

    words = rng.choice(
        [
            ("explain", "run", name, "--out", "new"),
            ("explain", "run", name, "cat.png", "--out", "new"),
            ("explain", "run", "photos", "--out", "new", "--strict"),
            ("attack", "run", name, "--out", "new", "--steps", "1"),
            BASES["train"],
            ("evaluate", "run", "--data", "folder:photos", "--out", "new", "--groups", "accuracy"),
        ]
    )
    return Case("in image", (*words, *_COMMON), f"{name} {drawn}", spoil)


def in_folder(rng: random.Random) -> Case:
    """Return a training or a scoring on a folder that is odd or none."""
    from tests.faults import pictures

    drawn = rng.getrandbits(64)

    def spoil(ground: Path) -> None:
        pictures.odd_folder(ground / "odd", random.Random(drawn))

    words = rng.choice(
        [
            ("train", "--out", "new", *_without(TRAINED, "--data"), "--data", "folder:odd"),
            ("train", "--out", "new", *_without(TRAINED, "--data"), "--data", "folder:odd", "--val-fraction", "0.5"),
            ("evaluate", "run", "--data", "folder:odd", "--out", "new", "--groups", "accuracy", "--limit", "4"),
            ("explain", "run", "odd", "--out", "new"),
            ("explain", "run", "--data", "folder:odd", "--out", "new"),
            ("compare", "run", "--data", "folder:odd", "--out", "new/page.html", "--groups", "accuracy"),
            ("sweep", "--grid", "lr=1", "--data", "folder:odd", "--out", "new"),
        ]
    )
    return Case("in folder", (*words, *_COMMON), str(drawn), spoil, ("run",) if words[0] == "compare" else ())


KINDS: dict[str, Callable[[random.Random], Case]] = {
    "typed": typed,
    "strayed": strayed,
    "in parts": in_parts,
    "in config": in_config,
    "as config": as_config,
    "in model.json": in_description,
    "in files": in_files,
    "in checkpoint": in_checkpoint,
    "in metrics": in_metrics,
    "in weights": in_weights,
    "in scorecard": in_card,
    "in study": in_study,
    "in class map": in_table,
    "in image": in_image,
    "in folder": in_folder,
}
"""What makes a case of each kind."""

_SHARES = ("typed", "typed", "typed", "typed", "strayed", "strayed", "in parts", "in config", "in config", *KINDS)


def case(seed: int, number: int, only: str | None = None) -> Case:
    """Return the case of a number, always the same."""
    rng = random.Random(f"{seed}.{number}")
    return KINDS[only or _SHARES[number % len(_SHARES)]](rng)
