"""`gradsculpt view` says what is wrong before it serves, and leaves nothing behind."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gradsculpt.cli.main import main
from gradsculpt.errors import ArgumentError
from gradsculpt.progress import Reporter
from gradsculpt.viewer import command
from gradsculpt.viewer.place import HOST, PORT, free_port, temporary_folder

WEIGHTLESS = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note what would be served, and the folder, instead of serving it."""
    noted: list[Any] = []

    def serve(names: Any, options: Any, folder: Path, reporter: Reporter) -> None:
        (folder / "upload").write_text("something")
        noted.append((names, options, folder, dict(os.environ)))

    monkeypatch.setattr(command, "_serve", serve)
    return noted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no run directory nowhere"),
        (["--port", "0"], "--port"),
        (["--port", "70000"], "--port"),
        (["--model", "torchvision:resnet19"], "resnet19"),
        (["--weights", "w.pth"], "pass --model NAME"),
        (["--data", "folder:/nowhere"], "/nowhere"),
        (["--device", "tpu"], "--device tpu"),
        (["--prot", "1"], "Did you mean --port"),
    ],
)
def test_mistakes_are_told_in_a_line(
    words: list[str], said: str, served: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", *words]) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert served == []


def test_what_is_named_is_served_and_nothing_stays(runs: Path, served: list[Any]) -> None:
    before = dict(os.environ)
    assert main(["view", str(runs / "one"), str(runs / "two"), "--data", "digits", "--device", "cpu"]) == 0
    (names, options, folder, environment) = served[0]
    assert names == [str(runs / "one"), str(runs / "two")]
    assert options["port"] >= PORT
    assert not folder.exists()
    assert dict(os.environ) == before
    assert environment["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert Path(environment["GRADIO_TEMP_DIR"]).parent == folder
    assert HOST in environment["NO_PROXY"].split(",")


def test_the_folder_is_removed_whatever_happens(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []

    def fail(names: Any, options: Any, folder: Path, reporter: Reporter) -> None:
        (folder / "gradio" / "deep").mkdir(parents=True)
        folders.append(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_serve", fail)
    assert main(["view", str(runs / "one")]) == 130
    assert folders
    assert not folders[0].exists()


def test_a_port_in_use_is_told_and_by_default_the_next_is_taken(
    served: list[Any], runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        assert main(["view", str(runs / "one"), "--port", str(taken)]) == 2
        assert f"--port {taken} is in use" in capfd.readouterr().err
        with pytest.raises(ArgumentError):
            free_port(taken)
    assert free_port(taken) == taken
    with socket.socket() as first:
        try:
            first.bind((HOST, PORT))
            first.listen()
        except OSError:
            pass  # somebody else has it
        assert free_port(None) > PORT


def test_without_gradio_it_says_what_to_install(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "gradio" else find(name))
    assert main(["view", str(runs / "one")]) == 2
    assert "pip install 'gradsculpt[view]'" in capfd.readouterr().err


def test_weights_that_do_not_fit_are_told_before_it_serves(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.pth").write_bytes(b"nothing")
    assert main(["view", "--model", WEIGHTLESS, "--weights", str(tmp_path / "w.pth")]) == 2
    assert "w.pth" in capfd.readouterr().err
    assert main(["view", "--model", WEIGHTLESS]) == 2
    assert "has no weights" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", None),
        ("model.safetensors", b"\0" * 100),
        ("model.json", b"{"),
        ("config.yaml", b"data: ["),
    ],
)
def test_a_run_that_cannot_be_opened_is_told_of_before_it_serves(
    file: str, content: bytes | None, runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "one", tmp_path / "run")
    if content is None:
        (tmp_path / "run" / file).unlink()
    else:
        (tmp_path / "run" / file).write_bytes(content)
    assert main(["view", str(runs / "one"), str(tmp_path / "run"), "--device", "cpu"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert str(tmp_path / "run") in err
    assert err.count("\n") == 1


def test_it_serves_until_it_is_stopped(runs: Path, tmp_path: Path) -> None:
    port = free_port(None)
    # A shell that starts it in the background has it ignore Ctrl-C; here it is to be as on a terminal.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from gradsculpt.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "view", str(runs / "one"), "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HTTP_PROXY": "http://127.0.0.1:1"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"The page is at http://{HOST}:{port}; Ctrl-C ends it.\n"
        with urllib.request.urlopen(f"http://{HOST}:{port}/") as answer:
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert b"gradsculpt" in answer.read()
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("gradsculpt-view-")]
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - began < 30
    finally:
        process.kill()
    assert process.returncode == 130
    assert "The page is closed." in err
    assert "Traceback" not in err
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("gradsculpt-view-")]


def test_temporary_files_are_where_the_system_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder() as folder:
        assert folder.parent == tmp_path
    assert not list(tmp_path.iterdir())
