"""Mistakes that people make, over all commands: one line with the mend, and nothing is left behind."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gradsculpt.cli.main import main
from gradsculpt.data import Augment

ELASTIC = """\
objective:
  class_path: gradsculpt.objectives.AdversarialTraining
  init_args:
    penalty:
      class_path: gradsculpt.penalties.ElasticNet
      init_args:
        l1: 0.1
        l2: 0.1
"""


def elastic(old: str, new: str) -> str:
    assert old in ELASTIC
    return ELASTIC.replace(old, new)


FILES = {
    "elastic.yaml": ELASTIC,
    "l_1.yaml": elastic("l1:", "l_1:"),
    "penality.yaml": elastic("penalty:", "penality:"),
    "no_such_class.yaml": elastic("ElasticNet", "ElasticNett"),
    "other_family.yaml": elastic("penalties.ElasticNet", "objectives.CrossEntropy"),
    "short_class.yaml": elastic("gradsculpt.penalties.ElasticNet", "ElasticNett"),
    "wrong_level.yaml": f"{ELASTIC}l1: 0.1\n",
    "no_owner.yaml": "l1: 0.1\n",
    "beside.yaml": elastic("      init_args:\n        l1: 0.1\n        l2: 0.1\n", "      l1: 0.1\n"),
    "lacking.yaml": elastic("        l2: 0.1\n", ""),
    "no_class.yaml": "objective:\n  penalty: l1\n",
    "class_pth.yaml": "objective:\n  class_pth: Sum\n  init_args: {}\n",
    "text_for_number.yaml": elastic("l1: 0.1", "l1: high"),
    "negative.yaml": elastic("l1: 0.1", "l1: -1"),
    "typo_in_text.yaml": "objective: adversarialtraining(elastcnet(0.1, 0.1))\n",
    "epoch.yaml": "model: lenet\nepoch: 3\n",
    "no_weights.yaml": "model: torchvision:resnet18\nweights: nothing.pth\n",
    "dash.yaml": "batch-size: 3\n",
    "many.yaml": "epochs: many\n",
    "fast.yaml": "lr: fast\n",
    "half.yaml": "epochs: 2.5\n",
    "zero.yaml": "epochs: 0\n",
    "adamm.yaml": "optimizer: adamm\n",
    "list.yaml": "epochs: [10, 20]\n",
    "short_tuple.yaml": "betas: [0.9]\n",
    "switch.yaml": "strict: maybe\n",
    "number_for_text.yaml": "data: 3\n",
    "nothing.yaml": "epochs:\n",
    "recipe.yaml": "recipe: elastic_net\n",
    "model.yaml": "model: resnet33\n",
    "data.yaml": "data: cell\n",
    "nested.yaml": "optimization:\n  lr: 0.1\n",
    "augment.yaml": "augment: {flpi: true}\n",
    "twice.yaml": "epochs: 3\nlr: 0.1\nepochs: 4\n",
    "colon.yaml": "epochs: 3\nlr: 0.1: 2\n",
    "tab.yaml": "epochs:\n\t- 3\n",
    "empty.yaml": "",
    "sequence.yaml": "- epochs\n",
    "sentence.yaml": "train well\n",
}
TRAIN = ["train", "--out", "new"]


def config(name: str) -> list[str]:
    return [*TRAIN, "--config", f"{name}.yaml"]


def typed(text: str) -> list[str]:
    return [*TRAIN, *text.split()]


MISTAKES: list[tuple[Sequence[str], str]] = [
    # words of the command line
    (["trian"], "no command 'trian'.*mean train"),
    (["--recipe", "l1"], "a command comes first.*train"),
    (["help", "tarin"], "no help on 'tarin'.*mean train"),
    (["train"], "needs --out"),
    (["train", "--out"], "--out needs a value"),
    (["train", "--out", ""], "--out needs a value"),
    (["train", "-o", "new"], "no option -o.*--out"),
    (typed("--recepie l1"), "no option --recepie.*mean --recipe"),
    (typed("--epoch 3"), "no option --epoch.*mean --epochs"),
    (typed("--learning-rate 0.1"), "no option --learning-rate.*mean --lr"),
    (typed("--output-dir x"), "no option --output-dir.*mean --out"),
    (["train", "--out", "cat.png"], "cat.png cannot be a folder: cat.png is a file"),
    (["train", "--out", "cat.png/run"], "cat.png/run cannot be a folder: .*cat.png is a file"),
    (typed("--data folder:nothing"), "nothing does not exist; give the folder"),
    (typed("--data folder:cat.png"), "cat.png is no folder"),
    (typed("--data python:nothing:images"), "no module 'nothing'"),
    (typed("--model python:nothing"), "python:nothing does not name a function"),
    (typed("--model python:nothing:network"), "no module 'nothing'"),
    (typed("--model python:mynet.py:network"), "names a file.*write python:mynet:network"),
    (typed("--model torchvision:resnet18 --weights nothing.pth"), "no file of weights nothing.pth"),
    (typed("--model torchvision:resnet18 --weights defualt"), "no file of weights defualt.*mean default"),
    (config("no_weights"), "no file of weights nothing.pth"),
    (["evaluate", "torchvision:resnet18=nothing.pth", "--out", "new"], "no file of weights nothing.pth"),
    (["evaluate", "python:nothing:network", "--out", "new"], "no module 'nothing'"),
    (["evaluate", "pretrained:mobilenet_v2", "--data", "folder:nothing", "--out", "new"], "nothing does not exist"),
    (typed("photos"), "no use for 'photos'.*mean --data folder:photos"),
    (typed("elastic-net"), "no use for 'elastic-net'.*mean --recipe elastic-net"),
    (typed("epochs 3"), "no use for 'epochs'.*mean --epochs"),
    (typed("--epochs"), "--epochs needs a value, a whole number"),
    (typed("--epochs many"), "--epochs=many cannot be used.*a whole number"),
    (typed("--epochs 1e2"), "--epochs=1e2 cannot be used.*a whole number"),
    (typed("--epochs -3"), "--epochs=-3 is out of range.*at least 1"),
    (typed("--batch-size 0"), "--batch-size=0 is out of range.*at least 1"),
    (typed("--val-fraction 20"), "--val-fraction=20.0 is out of range.*from 0 to 1"),
    (typed("--val-fraction 20%"), "--val-fraction=20% cannot be used.*a number"),
    (typed("--lr nan"), "--lr=nan is out of range"),
    (typed("--optimizer adm"), "--optimizer=adm cannot be used.*sgd, adam, adamw.*mean adam"),
    (typed("--device gpu"), "--device=gpu cannot be used.*cuda"),
    (typed("--betas [0.9]"), "--betas=.0.9. cannot be used.*2 values"),
    (typed("--strict=perhaps"), "--strict=perhaps cannot be used.*true or false"),
    (typed("--recipe elastic_net"), "no recipe 'elastic_net'.*mean elastic-net"),
    (typed("--recipe own.yaml"), "is a file.*--config own.yaml"),
    (typed("--model resnet33"), "--model resnet33 is not known.*mean .*resnet34"),
    (typed("--model torchvision:resnet19"), "torchvision has no network 'resnet19'.*torchvision:resnet18"),
    (typed("--model timm:convnxt_tiny"), "timm has no network 'convnxt_tiny'.*timm:convnext_tiny"),
    (typed("--data cell"), "--data cell is not known.*mean cells"),
    (typed("--data photos"), "--data photos is not known.*mean folder:photos"),
    (typed("--objective l1"), "--objective l1 is not known.*adversarialtraining"),
    (typed("--objective gradientpenalty(l11(0.1))"), "penalty l11 is not known.*mean l1"),
    (typed("--objective gradientpenalty(l1)"), "l1 needs weight"),
    (typed("--objective gradientpenalty(l1(0.1)"), "bracket that is not closed"),
    (typed("--objective.penalty l1:0.1"), "crossentropy has no setting 'penalty'.*adversarialtraining"),
    (typed("--recipe l1 --objective.penalty.wieght 3"), "--objective.penalty.wieght: l1 has no.*mean weight"),
    (typed("--recipe l1 --objective.penalty.weight heavy"), "weight=heavy cannot be used.*a number"),
    (typed("--recipe l1 --objective.penalty.weight -1"), "weight=-1.0 is out of range"),
    (typed("--recipe l1 --objective.perturbation itertive"), "itertive is not known.*mean iterative"),
    (typed("--augment.flpi true"), "--augment.flpi: augment has no setting 'flpi'.*mean flip"),
    # files of settings
    (config("l_1"), r"l_1.yaml, line 7: objective.penalty.l_1: elasticnet has no setting 'l_1'.*l1, l2.*mean l1"),
    (config("penality"), "line 4: objective.penality: adversarialtraining has no setting.*mean penalty"),
    (config("no_such_class"), "line 5: .*ElasticNett is no Penalty.*mean gradsculpt.penalties.ElasticNet"),
    (config("other_family"), "CrossEntropy is no Penalty.*L1"),
    (config("short_class"), "ElasticNett is no class that is known.*mean ElasticNet"),
    (config("wrong_level"), "line 9: l1 is no setting of a training.*elasticnet.*--objective.penalty.l1"),
    (config("no_owner"), "line 1: l1 is no setting of a training.*elasticnet"),
    (config("beside"), "line 6: objective.penalty.l1 is a setting of elasticnet.*under init_args"),
    (config("lacking"), "elasticnet needs l2.*--objective.penalty.l2"),
    (config("no_class"), "objective holds penalty, and no class_path"),
    (config("class_pth"), "objective holds class_pth.*mean class_path"),
    (config("text_for_number"), "line 7: objective.penalty.l1=high cannot be used.*a number"),
    (config("negative"), "line 7: objective.penalty.l1=-1 is out of range"),
    (config("typo_in_text"), "line 1: .*elastcnet is not known.*mean elasticnet"),
    (config("epoch"), "epoch.yaml, line 2: epoch is no setting.*mean epochs"),
    (config("dash"), "line 1: batch-size is no setting.*mean batch_size"),
    (config("many"), "many.yaml, line 1: epochs=many cannot be used.*a whole number"),
    (config("fast"), "fast.yaml, line 1: lr=fast cannot be used.*a number"),
    (config("half"), "epochs=2.5 cannot be used.*a whole number"),
    (config("zero"), "epochs=0 is out of range.*at least 1"),
    (config("adamm"), "optimizer=adamm cannot be used.*sgd, adam, adamw.*mean adam"),
    (config("list"), r"epochs=\[10, 20\] cannot be used.*a whole number"),
    (config("short_tuple"), r"betas=\[0.9\] cannot be used.*2 values"),
    (config("switch"), "strict=maybe cannot be used.*true or false"),
    (config("number_for_text"), "data=3 cannot be used.*a text"),
    (config("nothing"), "epochs=nothing cannot be used.*a whole number"),
    (config("recipe"), "recipe.yaml, line 1: recipe elastic_net.*mean elastic-net"),
    (config("model"), "model.yaml, line 1: model resnet33 is not known.*resnet34"),
    (config("data"), "data.yaml, line 1: data cell is not known.*mean cells"),
    (config("nested"), "line 1: optimization is no setting"),
    (config("augment"), "augment.flpi: augment has no setting.*mean flip"),
    (config("twice"), "twice.yaml, line 3: epochs stands here again after line 1"),
    (config("colon"), "colon.yaml, line 2 is not valid YAML"),
    (config("tab"), "tab.yaml, line 2 is not valid YAML"),
    (config("empty"), "empty.yaml is empty"),
    (config("sequence"), "sequence.yaml holds a list"),
    (config("sentence"), "sentence.yaml holds a text"),
    (config("elastc"), "elastc.yaml cannot be read.*mean elastic.yaml"),
    ([*TRAIN, "--config", "elastic-net"], "elastic-net is a recipe.*--recipe elastic-net"),
    ([*TRAIN, "--config", "photos"], "photos cannot be read.*a folder"),
    ([*TRAIN, "--config", "cat.png"], "cat.png is no text"),
    # the other commands
    (["explain", "runs/nope", "cat.png", "--out", "new"], "no run directory runs/nope"),
    (["explain", "resnet18", "cat.png", "--out", "new"], "no run directory resnet18.*mean torchvision:resnet18"),
    (["explain", "torchvision:resnet19", "cat.png", "--out", "new"], "no network 'resnet19'"),
    (["explain", "pretrained:resnet", "cat.png", "--out", "new"], "no pretrained network 'resnet'"),
    (["explain", "run", "cat.png", "--method", "smothgrad", "--out", "new"], "smothgrad is not known.*smoothgrad"),
    (
        ["explain", "run", "cat.png", "--method", "smoothgrad:sample=3", "--out", "new"],
        "no setting 'sample'.*samples",
    ),
    (["explain", "run", "cat.png", "--methods", "gradient", "--out", "new"], "no option --methods.*mean --method"),
    (["explain", "run", "cat.png", "--top-k", "5%", "--out", "new"], "--top-k=5% cannot be used.*a number"),
    (["explain", "run", "cat.png", "--clip", "990", "--out", "new"], "--clip=990 is out of range.*from 0 to 100"),
    (["explain", "run", "cat.png", "--output", "prob", "--out", "new"], "--output=prob .*probability"),
    (["explain", "run", "cat.png"], "needs --out"),
    (["explain", "run", "--data", "cell", "--out", "new"], "--data cell is not known.*mean cells"),
    (["attack", "run", "cat.png", "--attack", "topkk", "--out", "new"], "topkk is not known.*mean topk"),
    (["attack", "run", "cat.png", "--eps", "1000", "--out", "new"], "--eps=1000 is out of range.*from 0 to 255"),
    (["attack", "run", "cat.png", "--steps", "0", "--out", "new"], "--steps=0 is out of range.*at least 1"),
    (["features", "run", "--colours", "datas", "--out", "new"], "--colours datas is not known.*mean data"),
    (["features", "run", "--step", "3", "--out", "new"], "no option --step.*mean --steps"),
    (["evaluate", "run", "--groups", "sparcity"], "sparcity is not known.*mean sparsity"),
    (["evaluate", "run", "--quick", "--full"], "--quick and --full exclude each other"),
    (["evaluate", "run", "--split", "valid"], "--split valid is not known.*mean val"),
    (["evaluate", "run", "more"], "no use for 'more'"),
    (["evaluate", "run", "--quick", "yes"], "no use for 'yes'"),
    (["evaluate", "run", "--quick=yes"], "--quick is a switch"),
    (["evaluate", "run", "--limit", "0"], "--limit=0 is out of range"),
    (["evaluate", "pretrained:mobilenet_v2", "--html", "x.html"], "no run with data of its own; pass --data"),
    (
        ["evaluate", "pretrained:mobilenet_v2", "--data", "folder:photos"],
        "no run with a folder for its scores; pass --out",
    ),
    (
        ["evaluate", "pretrained:mobilenet_v2", "--data", "folder:photo", "--html", "x.html"],
        "photo does not exist.*, perhaps photos",
    ),
    (["evaluate", "pretrained:mobilenet_v2", "--data", "folder:cat.png", "--html", "x.html"], "cat.png is no folder"),
    (
        ["evaluate", "pretrained:mobilenet_v2", "--data", "folder:photos", "--classes", "cat", "--html", "x.html"],
        "cat is no pair",
    ),
    (
        [
            "evaluate",
            "pretrained:mobilenet_v2",
            "--data",
            "folder:photos",
            "--class-map",
            "none.csv",
            "--html",
            "x.html",
        ],
        "none.csv cannot be read",
    ),
    (["compare", "pretrained:mobilenet_v2"], "no run with data of its own; pass --data"),
    (["compare"], "needs networks"),
    (["compare", "runs/nope"], "no run directory runs/nope"),
    (["compare", "run", "--count", "none"], "--count=none cannot be used.*a whole number"),
    (["train", "--out", "run"], "run already holds a run.*--resume"),
    (["explain", "run", "cat.png", "--out", "cat.png"], "cat.png cannot be a folder"),
    (["attack", "run", "cat.png", "--out", "cat.png/x"], "cat.png is a file"),
    (["features", "run", "--out", "cat.png"], "cat.png cannot be a folder"),
    (["evaluate", "run", "--out", "cat.png"], "cat.png cannot be a folder"),
    (["demo", "--out", "cat.png"], "cat.png cannot be a folder"),
    (["evaluate", "empty"], "empty has no model.json, so its training did not finish.*--resume"),
    (["explain", "empty", "cat.png", "--out", "new"], "empty has no model.json"),
    (["explain", "run", "nowhere.png", "--out", "new"], "there is no file or folder nowhere.png"),
    (["attack", "run", "nowhere.png", "--out", "new"], "there is no file or folder nowhere.png"),
    (["explain", "run", "--out", "new"], "nothing to explain"),
    (["train", "--data", "folder:nowhere", "--out", "new"], "nowhere does not exist"),
    (["train", "--data", "folder:photoss", "--out", "new"], "photoss does not exist.*perhaps photos"),
    (["train", "--weights", "nowhere.pth", "--out", "new"], "no file of weights nowhere.pth"),
    (["evaluate", "torchvision:resnet18", "--weights", "nowhere.pth"], "no file of weights nowhere.pth"),
    (["compare", "torchvision:resnet18=nowhere.pth"], "no file of weights nowhere.pth"),
    (["evaluate", "run", "--data", "folder:nowhere"], "nowhere does not exist"),
    (["explain", "hf:net", "cat.png", "--out", "new"], "hf:net is no name of a repository.*write hf:NAMESPACE/NAME"),
    (["explain", "cat.png", "hf:me/net/x", "--out", "new"], "hf:me/net/x is no name of a repository"),
    (["explain", "hf:me/net@", "cat.png", "--out", "new"], "'' can be no revision"),
    (["explain", "https://huggingface.co/me/net", "cat.png", "--out", "new"], "Did you mean hf:me/net"),
    (["explain", "hf:me/net", "nowhere.png", "--out", "new"], "there is no file or folder nowhere.png"),
    (["attack", "hf:../net", "cat.png", "--out", "new"], "no name of a repository"),
    (["features", "hf:me/a..b", "--out", "new"], "no name of a repository"),
    (["evaluate", "hf:me/net"], "hf:me/net is no run with a folder for its scores; pass --out"),
    (["evaluate", "hf:me", "--out", "new"], "no name of a repository"),
    (["compare", "run", "hf:net"], "no name of a repository"),
    (["view", "hf:net"], "no name of a repository"),
    (["evaluate", "torchvision:resnet18=hf:me/net", "--out", "new"], "hf:me/net is a network with its weights"),
    (typed("--model hf:me/net"), "hf:me/net is a trained network.*pass --weights hf:me/net"),
    (typed("--weights hf:net"), "the weights hf:net is no name of a repository"),
    (["push", "run"], "needs name"),
    (["push", "nowhere", "me/net"], "there is no run directory nowhere"),
    (["push", "empty", "me/net"], "empty has no model.json"),
    (["push", "run", "net"], "net is no name of a repository"),
    (["push", "hf:me/net", "me/other"], "hf:me/net is on the Hub already"),
    (["push", "run", "me/net", "--license", "MIT License"], "--license MIT License is no name.*mit"),
    (["push", "run", "me/net", "--revision", ".."], "'..' can be no revision"),
    (["push", "run", "me/net@a", "--revision", "b"], "names a branch, and --revision b another"),
    (["push", "run", "me/net", "--public"], "no option --public"),
    (["push", "run", "me/net", "--count", "-1"], "--count=-1 is out of range"),
    (["push", "run", "me/net", "--out", "cat.png"], "cat.png cannot be a folder"),
    (["export", "run"], "not said what to write.*--onnx FILE and --torchscript FILE"),
    (["export", "--onnx", "net.onnx"], "no network is named"),
    (["export", "run", "--onnx", "a.onnx", "--torchscript", "a.pt"], "two files are named"),
    (["export", "run", "--onnx", "net.pt"], "net.pt does not end in .onnx.*net.onnx"),
    (["export", "run", "--torchscript", "net.onnx"], "net.onnx does not end in .pt or .pth or .ts"),
    (["export", "run", "--onnx", "net"], "net does not end in .onnx"),
    (["export", "run", "--onnx", ""], "--onnx needs a value"),
    (["export", "run", "--torchscript", "there.pt"], "there.pt is there already"),
    (["export", "run", "--torchscript", "cat.png/net.pt"], "cat.png is no folder"),
    (["export", "run", "--torchscript", f"{'x' * 300}.pt"], "longer than 255 bytes"),
    (["export", "run", "--torchscript", "net.pt", "--opset", "18"], "--opset has no effect without --onnx"),
    (["export", "run", "--onnx", "net.onnx", "--opset", "17"], "--opset=17 is out of range.*from 18 to 23"),
    (["export", "run", "--onnx", "net.onnx", "--opset", "new"], "--opset=new cannot be used.*a whole number"),
    (["export", "run", "--onnx", "net.onnx", "--image-size", "0"], "--image-size=0 is out of range"),
    (["export", "runs/nope", "--onnx", "net.onnx"], "no run directory runs/nope"),
    (["export", "run", "torchvision:resnet18", "--onnx", "net.onnx"], "no use for"),
    (["export", "torchvision:resnet18=nowhere.pth", "--onnx", "net.onnx"], "no file of weights nowhere.pth"),
    (["export", "empty", "--onnx", "net.onnx"], "empty has no model.json"),
    (["export", "run", "--out", "net.onnx"], "no option --out"),
    (["export", "run", "--onx", "net.onnx"], "no option --onx.*mean --onnx"),
    (["demo", "--sed", "1"], "no option --sed.*mean --seed"),
    (["list", "models"], "no use for 'models'"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    for name in ("run", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "model.json").write_text("{}")
    (tmp_path / "there.pt").touch()
    (tmp_path / "cat.png").write_bytes(bytes(range(128, 256)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=lambda each: " ".join(each) if isinstance(each, list) else "")
def test_a_mistake_is_one_line_and_nothing_is_left(
    words: Sequence[str], said: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    assert main(list(words)) == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert error.startswith("gradsculpt: ")
    assert re.search(said, error), error
    for strange in ("Traceback", "Union", "subtypes", "Problem with", "Validation", "jsonargparse", "<class", "Given"):
        assert strange not in error
    assert contents(folder) == before


def test_no_mistake_needs_the_libraries_and_so_each_is_told_at_once(folder: Path) -> None:
    """All of them in one fresh process, which would show it if one imported torch."""
    code = (
        "import json, sys\n"
        "from gradsculpt.cli.main import main\n"
        "heavy = lambda: {'torch', 'torchvision', 'lightning', 'numpy', 'jsonargparse'} & set(sys.modules)\n"
        "for words in json.load(sys.stdin):\n"
        "    status = main(words)\n"
        "    if status != 2 or heavy():\n"
        "        print(status, words, heavy())\n"
        "        break\n"
    )
    words = json.dumps([list(words) for words, _ in MISTAKES])
    done = subprocess.run([sys.executable, "-c", code], input=words, capture_output=True, text=True, cwd=folder)
    assert done.stdout == ""
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == len(MISTAKES)


@pytest.mark.parametrize("words", [["trian"], ["list"], ["help", "l1"], ["train", "--help"], typed("--recipe elastc")])
def test_the_start_is_quick_as_nothing_heavy_is_imported(words: Sequence[str], folder: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "gradsculpt", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert done.returncode in (0, 2)
    assert "gradsculpt.cli.main" in imported
    assert not {"torch", "numpy", "jsonargparse", "matplotlib", "lightning"} & imported


def test_what_is_right_is_taken(folder: Path) -> None:
    """The checks refuse nothing that works: every way to say one training."""
    from gradsculpt.cli.settings import read_settings

    (folder / "one_line.yaml").write_text("objective: adversarialtraining(elastic-net(0.1, 0.1))\n")
    (folder / "short.yaml").write_text(ELASTIC.replace("gradsculpt.penalties.", ""))
    (folder / "inner.yaml").write_text("objective: {init_args: {penalty: {init_args: {l1: 0.1, l2: 0.1}}}}\n")
    (folder / "half.yaml").write_text(elastic("        l2: 0.1\n", ""))
    (folder / "partial.yaml").write_text(ELASTIC.replace("        l2: 0.1\n", ""))
    flow = "{class_path: AdversarialTraining, init_args: {penalty: 'elastic-net(0.1, 0.1)'}}"
    made = [
        read_settings([*words, "--out", "new"]).objective
        for words in (
            ["--config", "elastic.yaml"],
            ["--config", "one_line.yaml"],
            ["--config", "short.yaml"],
            ["--config", "partial.yaml", "--objective.penalty.l2", "0.1"],
            ["--objective", flow],
            ["--recipe", "elastic-net", "--config", "inner.yaml"],
            ["--config", "elastic.yaml", "--config", "half.yaml"],
            ["--recipe", "elastic-net", "--objective.penalty.l1=0.1", "--objective.penalty.l2=0.1"],
            ["--objective", "AdversarialTraining", "--objective.penalty", "ElasticNet(l1=0.1, l2=0.1)"],
        )
    ]
    assert len(set(map(repr, made))) == 1


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        ("--augment.flip false", "augment", repr(Augment(flip=False))),
        ("--augment {flip:~false}", "augment", repr(Augment(flip=False))),
        ("--augment.resized_crop [.1,1] --augment.crop 0", "augment", repr(Augment(resized_crop=(0.1, 1.0), crop=0.0))),
        ("--augment.blur [.1,2]", "augment", repr(Augment(blur=(0.1, 2.0)))),
        ("--softplus none", "softplus", "None"),
        ("--softplus null", "softplus", "None"),
        ("--softplus 3", "softplus", "3.0"),
        ("--strict", "strict", "True"),
        ("--strict false", "strict", "False"),
        ("--statistics [[.5,.5,.5],[.2,.2,.2]]", "statistics", "((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))"),
        ("--config quoted.yaml", "epochs", "3"),
    ],
)
def test_what_is_right_is_read(words: str, name: str, expected: str, folder: Path) -> None:
    from gradsculpt.cli.settings import read_settings

    (folder / "quoted.yaml").write_text("epochs: '3'\nlr: 1e-3\nsoftplus: none\n")
    settings = read_settings([*(word.replace("~", " ") for word in words.split()), "--out", "new"])
    assert repr(getattr(settings, name)) == expected


def test_what_only_a_class_of_ones_own_can_tell_is_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--objective", "gradientpenalty(tests.cli.test_parts.Broken)"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "OSError: no licence" in error
