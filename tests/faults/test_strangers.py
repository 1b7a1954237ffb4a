"""A run that somebody was sent harms nobody: each kind of malice, handed to each command that reads a run.

Whatever stands in it, a command does its work or says in one line what it will not do: no code runs that only a file
names, nothing is written, emptied or deleted outside of the folder, and nothing hangs or fills the memory.
"""

import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
import yaml

import gradsculpt
from gradsculpt.cli.main import main

SECONDS = 60  # for a command on a machine that is busy; what hangs takes for ever
PLANTED = "planted_by_a_stranger"

Malice = Callable[[Path, Path], object]

COMMANDS: dict[str, list[str]] = {
    "explain": ["explain", "{run}", "--data", "digits", "--count", "1", "--out", "{out}"],
    "attack": ["attack", "{run}", "--data", "digits", "--count", "1", "--steps", "1", "--out", "{out}"],
    "features": ["features", "{run}", "--steps", "1", "--classes", "0", "--out", "{out}"],
    "evaluate": ["evaluate", "{run}", "--limit", "4", "--groups", "accuracy"],
    "compare": ["compare", "{run}", "{run}", "--limit", "4", "--out", "{out}/page.html"],
    "export": ["export", "{run}", "--torchscript", "{out}/net.pt"],
    "resume": ["train", "--resume", "--epochs", "2", "--out", "{run}"],
    "config": ["train", "--config", "{run}/config.yaml", "--out", "{out}"],
    "weights": ["train", "--data", "digits", "--weights", "{run}", "--epochs", "1", "--out", "{out}"],
    "push": ["push", "{run}", "me/net", "--count", "1", "--out", "{out}"],
    "list": ["list"],
    "doctor": ["doctor"],
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("original") / "run"
    words = ["--data", "digits", "--train-count", "40", "--epochs", "1", "--threads", "1", "--out", str(out)]
    assert main(["train", *words]) == 0
    assert main(["evaluate", str(out), "--limit", "4", "--groups", "accuracy"]) == 0
    return out


@pytest.fixture
def place(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the run of a stranger, what is precious, and a module that must not be imported."""
    shutil.copytree(original, tmp_path / "run")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("all I have")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / f"{PLANTED}.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\nOwn = make = dict\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "modules")
    shutil.copy(tmp_path / "modules" / f"{PLANTED}.py", tmp_path / "run" / f"{PLANTED}.py")
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path


def settings(**changes: Any) -> Malice:
    """Change the settings of the run."""

    def change(run: Path, precious: Path) -> None:
        content = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**content, **changes}))
        for path in run.glob("checkpoints/*.ckpt"):
            checkpoint = torch.load(path, weights_only=True)
            checkpoint["origin"]["settings"].update(changes)
            torch.save(checkpoint, path)

    return change


def objective(path: str, **arguments: Any) -> Malice:
    """Let the objective be of a penalty with a path."""
    penalty = {"class_path": path, "init_args": arguments}
    name = "gradsculpt.objectives.GradientPenalty"
    return settings(objective={"class_path": name, "init_args": {"penalty": penalty}})


def description(**changes: Any) -> Malice:
    """Change what the run says of its network."""

    def change(run: Path, precious: Path) -> None:
        content = json.loads((run / "model.json").read_text())
        for key, value in changes.items():
            (content["build"] if key in content["build"] else content)[key] = value
        (run / "model.json").write_text(json.dumps(content))

    return change


def state(run: Path, precious: Path) -> None:
    """Let checkpoints keep files that are somebody's, so that they are deleted when there are better ones."""
    for path in run.glob("checkpoints/*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        for name, kept in checkpoint["callbacks"].items():
            if name.startswith("ModelCheckpoint"):
                for target in ("checkpoints/../../precious", "..", str(precious)):
                    worst = {target: torch.tensor(-1.0)}
                    kept.update(best_k_models=worst, kth_best_model_path=target, kth_value=torch.tensor(-1.0))
                    kept.update(best_model_path=target, last_model_path=target, dirpath=str(run / "checkpoints"))
                kept["best_model_score"] = torch.tensor(-1.0)
        torch.save(checkpoint, path)


def content(name: str, value: str | bytes) -> Malice:
    """Let a file hold something else."""
    return lambda run, precious: (run / name).write_bytes(value.encode() if isinstance(value, str) else value)


def pipe(name: str) -> Malice:
    """Let a file be a pipe that nobody writes to."""

    def change(run: Path, precious: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return change


def folder(name: str) -> Malice:
    """Let a file be a folder."""

    def change(run: Path, precious: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()

    return change


def link(name: str, target: str = "thesis.txt") -> Malice:
    """Let a file or a folder be a link to what is precious."""

    def change(run: Path, precious: Path) -> None:
        path = run / name.format(process=os.getpid())
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(precious / target)

    return change


def huge(name: str) -> Malice:
    """Let a file be of a terabyte, which takes no room on the disk."""

    def change(run: Path, precious: Path) -> None:
        with (run / name).open("wb") as file:
            file.truncate(1 << 40)

    return change


def packed(run: Path, precious: Path) -> None:
    """Let a checkpoint be an archive of many zeros."""
    for path in run.glob("checkpoints/*.ckpt"):
        with zipfile.ZipFile(path) as old:
            parts = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name, part in parts.items():
                new.writestr(name, part if "/data/" not in name else bytes(1 << 20))


def header(text: bytes, length: int | None = None) -> Malice:
    """Let the weights begin otherwise."""
    return content("model.safetensors", struct.pack("<Q", len(text) if length is None else length) + text + bytes(64))


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n" for before, name in itertools.pairwise("abcdefghi")
)
DEEP = 100_000 * "["
TENSOR = b'{"dtype":"F32","shape":[8],"data_offsets":[0,32]}'
CROSS_ENTROPY, FUNCTION = "gradsculpt.objectives.CrossEntropy", "gradsculpt.penalties.FunctionPenalty"
UNTYPED = {"class_path": CROSS_ENTROPY, "dict_kwargs": {"a": {"class_path": "os.system"}}}
POPEN = {"class_path": "subprocess.Popen", "init_args": {"args": ["true"]}}
ELSEWHERE = {"cache_dir": "{precious}/cache", "data_dir": "{precious}/data", "out": "{precious}/out", "resume": True}

MALICE: dict[str, tuple[Malice, str]] = {
    "a checkpoint that keeps somebody's folder": (state, "resume"),
    "a class of a stranger's": (objective(f"{PLANTED}.Own"), "evaluate compare resume config"),
    "a module of a stranger's": (objective(f"{PLANTED}.inner.Own"), "evaluate config"),
    "a function of the system": (objective(FUNCTION, fn="os.system"), "evaluate config"),
    "a function that ours imports": (objective(FUNCTION, fn="gradsculpt.files.os.system"), "evaluate config"),
    "a class in settings of no type": (settings(objective=UNTYPED), "evaluate config"),
    "an objective of the system's": (settings(objective=POPEN), "evaluate config"),
    "a setting that is code": (settings(augment={"class_path": f"{PLANTED}.Own"}), "evaluate config"),
    "a text that is code": (settings(objective=f"gradientpenalty({PLANTED}.Own(1))"), "evaluate config"),
    "a tag of Python's": (content("config.yaml", "data: !!python/object/apply:os.system [true]"), "config resume"),
    "data of a stranger's": (settings(data=f"python:{PLANTED}:make"), "explain evaluate resume config"),
    "a network in the settings": (settings(model=f"python:{PLANTED}:make"), "evaluate resume config"),
    "a network of a stranger's": (
        description(model=f"python:{PLANTED}:make"),
        "explain attack features weights push",
    ),
    "a network of the system's": (description(model="python:os:system"), "explain compare"),
    "a network from the net": (description(model="timm:hf-hub:somebody/network"), "explain push"),
    "a network elsewhere": (description(model="torchvision:../../x"), "explain"),
    "a network of a billion pixels": (description(image_size=10**9), "explain evaluate weights push"),
    "a network of no pixels": (description(image_size=-1), "explain"),
    "a network of huge numbers": (description(mean=[1e308] * 3, std=[1e-308] * 3), "explain"),
    "classes of halves of letters": (
        description(classes=[f"\ud800{i}\x1b[2J\n" for i in range(10)]),
        "explain push",
    ),
    "folders elsewhere": (settings(**ELSEWHERE), "explain evaluate resume config push"),
    "weights of a pipe": (settings(weights="pipe"), "config"),
    "laughs": (content("config.yaml", LAUGHS), "evaluate resume config push"),
    "brackets": (content("config.yaml", DEEP[:3000]), "evaluate resume config"),
    "digits": (content("config.yaml", f"seed: 1{400 * '0'}"), "evaluate resume config"),
    "no text": (content("config.yaml", b"data: \xff\xfe\x00"), "evaluate resume config"),
    "a pipe for settings": (pipe("config.yaml"), "evaluate resume config list doctor push"),
    "a folder for settings": (folder("config.yaml"), "evaluate resume config"),
    "a terabyte of settings": (huge("config.yaml"), "evaluate resume config push"),
    "settings twice": (content("config.yaml", "data: digits\ndata: cells\n"), "config"),
    "brackets of a network": (content("model.json", DEEP), "weights explain evaluate resume push"),
    "digits of a network": (content("model.json", f'{{"format": 1{400 * "0"}}}'), "explain"),
    "a network twice": (content("model.json", '{"format": 1, "format": 1}'), "explain"),
    "a pipe for a network": (pipe("model.json"), "weights explain evaluate resume"),
    "a terabyte of a network": (huge("model.json"), "explain resume"),
    "a pipe for weights": (pipe("model.safetensors"), "explain weights push"),
    "a terabyte of weights": (huge("model.safetensors"), "explain weights push"),
    "a header of all memory": (header(b"{}", 1 << 62), "explain weights"),
    "a header of brackets": (header(DEEP.encode()), "explain"),
    "weights over each other": (header(b'{"a":' + TENSOR + b',"b":' + TENSOR + b"}"), "explain weights push"),
    "a pipe for a checkpoint": (pipe("checkpoints/last.ckpt"), "resume"),
    "a packed checkpoint": (packed, "resume"),
    "a terabyte of a checkpoint": (huge("checkpoints/best.ckpt"), "resume"),
    "a pipe for a table": (pipe("metrics.csv"), "resume compare"),
    "a terabyte of a table": (huge("metrics.csv"), "resume compare"),
    "brackets of scores": (content("scorecard.json", DEEP), "compare evaluate push"),
    "a pipe for scores": (pipe("scorecard.json"), "push evaluate"),
    "a terabyte of scores": (huge("scorecard.json"), "push evaluate"),
    "scores that are a link": (link("scorecard.json"), "push evaluate"),
    "values that are a link": (link("scorecard.csv"), "evaluate"),
    "drafts that are links": (link(".scorecard.{process}.json"), "evaluate"),
    "a lock that is a link": (link(".gradsculpt.lock"), "resume"),
    "a lock of scores that is a link": (link(".gradsculpt-scores.lock"), "evaluate"),
    "a network that is a link": (link("model.json"), "explain resume push"),
    "a checkpoint that is a link": (link("checkpoints/last.ckpt"), "resume"),
    "checkpoints elsewhere": (link("checkpoints", ""), "resume"),
    "a cache elsewhere": (link("cache", ""), "explain resume push"),
}


@pytest.mark.parametrize("name", MALICE)
def test_a_strangers_run_harms_nobody(place: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    malice, commands = MALICE[name]
    run, precious = place / "run", place / "precious"
    malice(run, precious)
    if (run / "config.yaml").is_file() and (run / "config.yaml").stat().st_size < 1 << 20:
        text = (run / "config.yaml").read_bytes()
        (run / "config.yaml").write_bytes(text.replace(b"{precious}", str(precious).encode()))
    for number, command in enumerate(commands.split()):
        before = everything(place)
        words = [word.format(run=run, out=place / f"out{number}") for word in COMMANDS[command]]
        capfd.readouterr()
        with at_most(SECONDS):
            status = main([*words, *(["--threads", "1"] if words[0] == "train" else [])])
        told = capfd.readouterr().err.strip().splitlines()
        assert status in (0, 2), (command, told)
        assert status == 0 or (told and told[-1].startswith("gradsculpt: ")), (command, told)
        assert status == 0 or len([line for line in told if line.startswith("gradsculpt: ")]) == 1, (command, told)
        assert len(told[-1]) < 1500 if told else True, told
        assert (place / "ran").exists() is False, (command, "code of the stranger's ran")
        assert PLANTED not in sys.modules, command
        assert everything(place) == before, command
        sys.stdout.write(f"{name} {command} {status} {told[-1:] if status else ''}\n")


def everything(place: Path) -> dict[str, bytes]:
    """Return what is precious, and what else lies around the run and the results."""
    around = [path for path in place.iterdir() if path.name != "run" and not path.name.startswith("out")]
    files = [path for each in around for path in (each, *each.rglob("*")) if "__pycache__" not in path.parts]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in files}


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it took more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


SHADOWS = ("torch", "yaml", "random", "json", "typing", "enum", "rich", "numpy", "signal", "re", "argparse", "gradio")


def test_the_program_imports_nothing_from_the_folder_where_it_is_called(tmp_path: Path) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(gradsculpt.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    training = ["train", "--data", "digits", "--train-count", "40", "--epochs", "1", "--out", "run"]
    for words in (["--help"], training):
        done = subprocess.run(
            [sys.executable, "-m", "gradsculpt", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("option", [["--trust-code", PLANTED], [f"--trust-code=other,{PLANTED}"]])
def test_code_that_is_trusted_runs(place: Path, option: list[str]) -> None:
    description(model=f"python:{PLANTED}:make")(place / "run", place / "precious")
    words = [word.format(run=place / "run", out=place / "out") for word in COMMANDS["explain"]]
    assert main(words) == 2
    assert not (place / "ran").exists()
    sys.modules.pop(PLANTED, None)  # of another test
    assert main([*words, *option]) == 2  # what it makes is no network
    assert (place / "ran").exists()


def test_trust_names_a_module(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["list", "--trust-code"], ["list", "--trust-code="], ["list", "--trust-code", "a,,b"]):
        assert main(words) == 2
        assert capfd.readouterr().err == (
            "gradsculpt: --trust-code needs the name of a module of your own; write --trust-code MODULE.\n"
        )
