"""Help is one screen, tells what is there, and its examples are what a command takes."""

import shlex
from pathlib import Path

import pytest

from gradsculpt.cli import settings
from gradsculpt.cli.main import COMMANDS, main
from gradsculpt.cli.sources import value
from gradsculpt.cli.topics import topics

_LINES, _COLUMNS = 45, 100


def shown(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    assert stopped.value.code == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_one_screen_and_says_what_a_user_can_use(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text, everything = shown(capfd, name, "--help"), shown(capfd, name, "--help-all")
    assert text == shown(capfd, "help", name)
    assert len(text.splitlines()) <= _LINES
    for each in (text, everything):
        assert max(map(len, each.splitlines())) <= _COLUMNS
        assert each.startswith(f"usage: gradsculpt {name}")
        for strange in ("<", "lambda", "class_path", "Union", "None", "type:", "NoneType", "==", "batch_size"):
            assert strange not in each, strange
    assert set(options(text)) <= set(options(everything))
    assert ("--help-all" in text) == (len(options(text)) < len(options(everything)))


def options(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.startswith("  --")]


def test_help_of_training_is_grouped_and_has_every_setting_and_default(capfd: pytest.CaptureFixture[str]) -> None:
    text, everything = shown(capfd, "train", "--help"), shown(capfd, "train", "--help-all")
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["what is trained:", "how:", "where, and on what:", "going on:", "examples:"]
    for name in ("--data", "--recipe", "--model", "--epochs", "--out", "--resume", "--device"):
        assert name in options(text)
    for cls in (value(settings.SETTINGS), value(settings.OPTIMIZATION)):
        for name, setting in cls.__signature__.parameters.items():
            if name != "optimization":
                entry = everything.partition(f"  --{name.replace('_', '-')}")[2].partition("\n  --")[0]
                assert entry, name
                default = setting.default
                if isinstance(default, int | float | str) and not isinstance(default, bool) and name != "statistics":
                    assert f"(default {default})" in " ".join(entry.split()), name
    assert "(required)" in everything.partition("\n  --out")[2].partition("\n  --")[0]
    assert everything.count("(required)") == 1


@pytest.mark.parametrize("name", ["explain", "attack", "features", "evaluate", "demo", "list"])
def test_what_need_not_be_given_is_not_said_to_be_required(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert shown(capfd, name, "--help-all").count("(required)") == (name in ("explain", "attack", "features"))


class _ReadError(Exception):
    """The words were understood, and the work would begin."""


@pytest.mark.parametrize("name", ["train", "explain", "attack", "features", "evaluate", "compare", "export", "demo"])
def test_the_examples_of_the_help_are_understood(
    name: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = shown(capfd, name, "--help").partition("examples:\n")[2].splitlines()
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for folder in ("runs/en", "runs/std"):
        Path(folder).mkdir(parents=True)
        if name != "train":
            (Path(folder) / "model.json").touch()
    Path("weights.pth").touch()
    Path("cat.jpg").touch()

    def stopped(*given: object) -> None:
        raise _ReadError

    assert examples
    monkeypatch.setattr(f"{COMMANDS[name].module}.prepare", stopped)
    monkeypatch.setattr("gradsculpt.cli.building.build", stopped)
    for example in examples:
        program, command, *words = shlex.split(example)
        assert (program, command) == ("gradsculpt", name)
        with pytest.raises(_ReadError):
            main([name, *words])


def test_words_alone_tell_everything(capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["help"], ["--help"], ["-h"], ["--help-all"]):
        assert main(words) == 0
        assert all(name in capfd.readouterr().out for name in ["train"])
    assert main(["help", "trian"]) == 2
    assert "Did you mean train?" in capfd.readouterr().err


@pytest.mark.parametrize("name", topics())
def test_every_name_has_its_help(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["help", name]) == 0
    text = capfd.readouterr().out
    assert text.startswith(name)
    assert len(text.splitlines()) >= 2
    assert "<class" not in text


def test_the_help_of_a_part_has_its_settings(capfd: pytest.CaptureFixture[str]) -> None:
    main(["help", "Elastic-Net"])
    main(["help", "topk"])
    text = capfd.readouterr().out
    for words in ("elasticnet(l1, l2)", "Weight of the squares", "norm=l2", "nonzero=false", "  restarts "):
        assert words in text.replace("Elastic-Net(", "elasticnet("), words
