"""What is exported gives the classifier's answers to those who have PyTorch or ONNX Runtime alone."""

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError, GradsculptError, ModelError, RunError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, OutputOf, export, export_onnx, export_torchscript, onnx_file
from gradsculpt.models.plain import Plain, detached, trial
from tests.models.exports import FORMATS, OTHERS, OWN, SPACE, classifier
from tests.odd import RETURNED, SAME, SEVERED, SIDE, UNREADABLE, Returning, plain

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load.* is deprecated:FutureWarning")

QUICK = ("lenet", "convnet", "resnet18-cifar", "torchvision:mobilenet_v3_small", "timm:vit_tiny_patch16_224")
"""Those of the script that TorchScript takes no time for; as ONNX, which takes seconds, one of them."""

WITHOUT_US = """
import importlib.abc, json, sys
class Barred(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {"gradsculpt", *sys.argv[4:]}:
            raise ImportError(name)
sys.meta_path.insert(0, Barred())
import numpy as np
images = np.load(sys.argv[2])
if sys.argv[1].endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1])
    logits, texts = session.run(None, {"images": images})[0], session.get_modelmeta().custom_metadata_map
else:
    import torch
    extra = {"metadata.json": ""}
    logits = torch.jit.load(sys.argv[1], _extra_files=extra)(torch.from_numpy(images)).detach().numpy()
    texts = json.loads(extra["metadata.json"])
np.save(sys.argv[3], logits)
classes = json.loads(texts["classes"])
print(json.dumps([classes[i] for i in logits.argmax(1)]))
print(json.dumps(texts))
"""


def run_alone(path: Path, images: Tensor, *barred: str) -> tuple[list[str], dict[str, str], Tensor]:
    """Return the classes, the metadata and the logits that a process has which cannot import this package."""
    given, got = path.parent / "images.npy", path.parent / "logits.npy"
    np.save(given, images.numpy())
    words = [sys.executable, "-c", WITHOUT_US, str(path), str(given), str(got), *barred]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    classes, texts = done.stdout.splitlines()
    return json.loads(classes), json.loads(texts), torch.from_numpy(np.load(got))


def logits_of_file(path: Path, images: Tensor) -> Tensor:
    """Return the logits that a file gives."""
    if path.suffix != ".onnx":
        return torch.jit.load(path)(images)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def agrees(its: Classifier, path: Path, size: int, *, share: float = 1e-4) -> None:
    """Check the file on batches that nobody has tried, of sizes that nobody has tried either."""
    its = its.eval()
    for count in (1, 3, 7):
        images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            ours = its(images)
        assert float((logits_of_file(path, images) - ours).abs().max()) <= share * float(ours.abs().max())


@pytest.mark.parametrize("name", QUICK)
def test_networks_are_written_as_torchscript(name: str, tmp_path: Path) -> None:
    size = (OWN | OTHERS)[name]
    its = classifier(name, size)
    exported = export_torchscript(its, tmp_path / "net.pt")
    assert exported.difference <= 1e-4 * exported.largest
    agrees(its, tmp_path / "net.pt", size)


def test_a_network_is_written_as_onnx_of_the_version_that_was_asked_for(tmp_path: Path) -> None:
    its = classifier("convnet", 16)
    exported = export_onnx(its, tmp_path / "net.onnx", opset=23)
    assert exported.difference <= 1e-4 * exported.largest
    agrees(its, tmp_path / "net.onnx", 16)
    versions = {each.domain: each.version for each in onnx.load(tmp_path / "net.onnx").opset_import}
    assert versions[""] == 23


class Attentive(nn.Module):
    """What transformers are made of: patches, an encoder with a fused path for inference, a token for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.ones(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], dim=1)
        logits: Tensor = self.head(self.encoder(tokens)[:, 0])
        return logits


@pytest.mark.parametrize("kind", FORMATS)
def test_attention_is_written(kind: str, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        its = Classifier(Attentive(), SPACE, tuple("abc"), 8)
    path = tmp_path / f"net{FORMATS[kind][0]}"
    FORMATS[kind][1](its, path)
    agrees(its, path, 8)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, dict[str, Path]]:
    """A network with Softplus layers of ours, and its files by format."""
    its, folder = classifier("lenet", 8, softplus=3.0).eval(), tmp_path_factory.mktemp("smooth")
    paths = {kind: folder / f"net{ending}" for kind, (ending, _) in FORMATS.items()}
    for kind, path in paths.items():
        FORMATS[kind][1](its, path, source="a network of 2026")
    return its, paths


Smooth = tuple[Classifier, dict[str, Path]]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_process_without_us_gets_the_same_classes_and_knows_what_they_mean(kind: str, smooth: Smooth) -> None:
    its, path = smooth[0], smooth[1][kind]
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    classes, texts, logits = run_alone(path, images, *(("torch",) if kind == "onnx" else ("onnx", "onnxruntime")))
    with torch.no_grad():
        ours = its(images)
    assert classes == [its.classes[i] for i in ours.argmax(dim=1)]
    torch.testing.assert_close(logits, ours, rtol=1e-4, atol=1e-5)
    assert json.loads(texts["classes"]) == list(its.classes)
    assert json.loads(texts["mean"]) == list(SPACE.mean)
    assert json.loads(texts["std"]) == list(SPACE.std)
    assert texts["image_size"] == "8"
    assert texts["source"] == "a network of 2026"
    assert "gradsculpt_version" in texts
    assert "[N, 3, 8, 8]" in texts["input"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_holds_no_path_of_this_machine(kind: str, smooth: Smooth) -> None:
    content = smooth[1][kind].read_bytes()
    for place in (str(Path(__file__).parents[2]), sys.prefix, "site-packages", "/plain.py", "outputs.py"):
        assert place.encode() not in content, place
    assert b"__torch__" in content or kind == "onnx"  # it is not compressed, or nothing would be seen


def test_of_the_layers_of_ours_nothing_is_left(smooth: Smooth) -> None:
    model = onnx.load(smooth[1]["onnx"])
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert "Softplus" in {node.op_type for node in model.graph.node}
    (images,), (logits,) = model.graph.input, model.graph.output
    assert [each.dim_param or each.dim_value for each in images.type.tensor_type.shape.dim] == ["batch", 3, 8, 8]
    assert [each.dim_param or each.dim_value for each in logits.type.tensor_type.shape.dim] == ["batch", 3]
    graph = str(torch.jit.load(smooth[1]["torchscript"]).network.inlined_graph)
    assert "aten::softplus" in graph
    assert "^" not in graph  # a function of Python's


class Odd(nn.Module):
    """Logits of the mean colours, in many forms."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.form = form
        self.weights = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Any:
        return self.form(self.weights(x.mean(dim=(2, 3))))


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "mapping": lambda logits: {"logits": logits, "more": logits[:, :2]},
    "tuple": lambda logits: (logits, logits.sum()),
    "single": lambda logits: logits[:, 0],
    "single row": lambda logits: logits[:, :1],
}


@pytest.mark.parametrize(("form", "kind"), [*((form, "torchscript") for form in FORMS), ("single", "onnx")])
def test_logits_are_found_wherever_they_are(form: str, kind: str, tmp_path: Path) -> None:
    path, network = tmp_path / f"net{FORMATS[kind][0]}", Odd(FORMS[form])
    classes = ("no", "yes") if form.startswith("single") else tuple("abcd")
    FORMATS[kind][1](Classifier(network, SPACE, classes, 6), path)
    images = torch.rand(3, 3, 6, 6)
    logits = logits_of_file(path, images)
    assert logits.shape == (3, len(classes))
    plain = network.weights(SPACE.normalize(images).mean(dim=(2, 3)))
    if form.startswith("single"):
        torch.testing.assert_close(logits.softmax(dim=1)[:, 1], plain[:, 0].sigmoid())
    else:
        torch.testing.assert_close(logits, plain)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_chosen_output_is_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{FORMATS[kind][0]}"
    network = OutputOf(Odd(lambda logits: {"a": logits, "b": logits[:, :3]}), "b")
    FORMATS[kind][1](Classifier(network, SPACE, tuple("abc"), 6), path)
    assert logits_of_file(path, torch.rand(5, 3, 6, 6)).shape == (5, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_changed_and_nothing_is_said(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    its = classifier("convnet", 16, softplus=3.0).train()
    its.network.to(torch.bfloat16)
    before = {key: value.clone() for key, value in its.state_dict().items()}
    layers, random = [type(module) for module in its.modules()], torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FORMATS[kind][1](its, tmp_path / f"net{FORMATS[kind][0]}")
    assert capfd.readouterr() == ("", "")
    assert all(torch.equal(value, before[key]) for key, value in its.state_dict().items())
    assert [type(module) for module in its.modules()] == layers
    assert all(module.training for module in its.modules())
    assert all(parameter.requires_grad for parameter in its.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert [path.name for path in tmp_path.iterdir()] == [f"net{FORMATS[kind][0]}"]


ODD = {
    **{f"returns {name}": way for name, way in (RETURNED | UNREADABLE).items()},
    **{f"goes by {name}": way for table in (SEVERED, SAME) for name, (way, _) in table.items()},
}
"""Networks that nobody tests with and everybody has."""

NOT_TRACED = {"goes by numpy", "goes by data", "goes by list", "goes by checkpointed, reentrant"}


def told_or_right(name: str, kind: str, folder: Path) -> str:
    """Return how an odd network was refused, in a line and without a file; "" if its file is right."""
    path = folder / f"net{FORMATS[kind][0]}"
    its, refused = Classifier(Returning(plain(), ODD[name]), SPACE, tuple("abc"), SIDE), ""
    try:
        FORMATS[kind][1](its, path)
    except GradsculptError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused
        assert list(folder.iterdir()) == []
    else:
        agrees(its.float(), path, SIDE)
    return refused


@pytest.mark.parametrize("name", [name for name in ODD if name.removeprefix("returns ") not in UNREADABLE])
def test_odd_networks_are_written_or_refused(name: str, tmp_path: Path) -> None:
    refused = told_or_right(name, "torchscript", tmp_path)
    assert bool(refused) == (name in NOT_TRACED), refused


@pytest.mark.parametrize("name", ["branching", "by batch"])
def test_odd_networks_are_written_as_onnx(name: str, tmp_path: Path) -> None:
    assert told_or_right(f"goes by {name}", "onnx", tmp_path) == ""


@pytest.mark.parametrize("name", UNREADABLE)
def test_networks_without_logits_are_told_as_everywhere(name: str, tmp_path: Path) -> None:
    assert re.match("the model returns", told_or_right(f"returns {name}", "torchscript", tmp_path))


class Cross(nn.Module):
    """Answers that depend on the rest of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x.mean(dim=(2, 3)) * self.seen


class Drawn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) + torch.rand(x.shape[0], 3)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3))
        return means * 3 if bool((means.sum() > 0.0).item()) else means


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3))
        return torch.stack([means[i] for i in range(len(x))])


class Counting(nn.Module):
    """Takes the number of images as a number of Python's, which a trace holds fast."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)).reshape(len(x) * 3).reshape(len(x), 3)


class Blind(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) / 0.0


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 2


class ByHand(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        means: Tensor = Doubled.apply(x.mean(dim=(2, 3)))
        return means


class Kept(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.kept = self.weight * 2

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) * self.weight


WRONG: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], str]] = {
    "its calls count": (Cross, ("torchscript",), "differ by"),
    "chance": (Drawn, ("onnx", "torchscript"), "differ by|cannot be written"),
    "branches": (Branching, ("onnx", "torchscript"), "cannot be written|differ by"),
    "number of images": (Fixed, ("onnx", "torchscript"), "cannot be written|cannot be run on|gives logits"),
    "len(x)": (Counting, ("torchscript",), r"x\.shape\[0\] instead of len\(x\)"),
    "not finite": (Blind, ("onnx", "torchscript"), "logits are not finite"),
    "by hand": (ByHand, ("torchscript",), "cannot be written as TorchScript"),
    "computed": (Kept, ("onnx", "torchscript"), "cannot be copied"),
    "scripted": (lambda: torch.jit.script(nn.Flatten()), ("onnx", "torchscript"), "is TorchScript"),
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (_, kinds, _) in WRONG.items() for kind in kinds])
def test_what_would_give_other_answers_is_one_line_and_no_file(
    name: str, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build, _, said = WRONG[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        its = Classifier(build(), SPACE, tuple("abc"), 4)
    with pytest.raises(ModelError, match=said) as refused:
        FORMATS[kind][1](its, tmp_path / f"net{FORMATS[kind][0]}")
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("network", "factor"), [(ByHand, 2), (Counting, 1)])
def test_what_a_trace_does_not_take_is_written_as_onnx(network: type[nn.Module], factor: int, tmp_path: Path) -> None:
    export_onnx(Classifier(network(), SPACE, tuple("abc"), 4), tmp_path / "net.onnx")
    images = torch.rand(3, 3, 4, 4)
    expected = SPACE.normalize(images).mean(dim=(2, 3)) * factor
    torch.testing.assert_close(logits_of_file(tmp_path / "net.onnx", images), expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_differs_is_not_left(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is shown to see a network whose normalisation was forgotten."""
    forward = Plain.forward

    def forgetful(self: Plain, images: Tensor) -> Tensor:
        return forward(self, images + 1e-3)

    monkeypatch.setattr(Plain, "forward", forgetful)
    with pytest.raises(ModelError, match="differ by"):
        FORMATS[kind][1](classifier("lenet", 8), tmp_path / f"net{FORMATS[kind][0]}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("images", [(3, 8, 8), (2, 3, 8, 9), (2, 1, 8, 8), (2, 3, 16, 16), (1, 2, 3, 8, 8)], ids=str)
def test_images_of_another_shape_are_refused_by_what_was_written(images: tuple[int, ...], smooth: Smooth) -> None:
    with pytest.raises(Exception, match=r"takes float32 \[N, 3, 8, 8\] in \[0, 1\]"):
        logits_of_file(smooth[1]["torchscript"], torch.rand(images))
    with pytest.raises(Exception, match="nvalid"):
        logits_of_file(smooth[1]["onnx"], torch.rand(images))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.float16])
def test_images_of_another_type_are_refused_by_what_was_written(dtype: torch.dtype, smooth: Smooth) -> None:
    for kind, said in (("torchscript", "takes float32"), ("onnx", "Unexpected input data type")):
        with pytest.raises(Exception, match=said):
            logits_of_file(smooth[1][kind], torch.zeros(1, 3, 8, 8, dtype=dtype))


@pytest.mark.parametrize("size", [0, -3, 1.5, True, "8", 10**6])
def test_a_size_that_is_none_is_told(size: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="image_size"):
        export_torchscript(classifier("convnet", 16), tmp_path / "net.pt", image_size=size)


def test_a_size_that_the_network_does_not_take_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot take 12 x 12 images .*built for, 8\."):
        export_torchscript(classifier("lenet", 8), tmp_path / "net.pt", image_size=12)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opset", [17, 24, 18.5, "18"])
def test_an_opset_that_is_none_is_told(opset: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="opset"):
        export_onnx(classifier("lenet", 8), tmp_path / "net.onnx", opset=opset)


@pytest.mark.parametrize("name", ["net.txt", "net", "x" * 300])
def test_a_name_that_says_something_else_is_told(name: str, tmp_path: Path) -> None:
    for _, export_as in FORMATS.values():
        with pytest.raises(ArgumentError):
            export_as(classifier("lenet", 8), tmp_path / name)


@pytest.mark.parametrize("given", [nn.Flatten(), None, "runs/en"])
def test_what_is_no_classifier_is_told(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="classifier="):
        export_torchscript(given, tmp_path / "net.pt")


def test_what_was_compiled_is_written_as_what_it_was_made_from(tmp_path: Path) -> None:
    its = classifier("lenet", 8).eval()
    network: Any = torch.compile(its.network)
    compiled = Classifier(network, SPACE, its.classes, 8)
    export_torchscript(compiled, tmp_path / "net.pt")
    agrees(its, tmp_path / "net.pt", 8)


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_text("mine")
    with pytest.raises(RunError, match="is there already"):
        export_torchscript(classifier("lenet", 8), tmp_path / "net.pt")
    assert (tmp_path / "net.pt").read_text() == "mine"


def test_weights_that_onnx_does_not_hold_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MOST", 1000)
    with pytest.raises(ModelError, match=r"less than 2 GiB. Write TorchScript"):
        export_onnx(classifier("lenet", 8), tmp_path / "net.onnx")


def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"onnx, onnxscript, onnxruntime.*pip install 'gradsculpt\[onnx\]'"):
        export_onnx(classifier("lenet", 8), tmp_path / "net.onnx")


def test_images_of_one_channel_have_a_network_too(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    its = Classifier(network, InputSpace((0.5,), (0.2,)), ("a", "b"), 6)
    export_torchscript(its, tmp_path / "net.pt")
    images = torch.rand(2, 1, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(logits_of_file(tmp_path / "net.pt", images), its(images))


def test_the_trial_has_the_extremes() -> None:
    batches = trial(3, 8)
    assert [len(batch) for batch in batches] == [1, 2, 5]
    assert all(0 <= float(batch.min()) <= float(batch.max()) <= 1 for batch in batches)
    assert [float(image.std()) for image in batches[1]] == [0.0, 0.0]
    assert all(batch.shape[1:] == (3, 8, 8) for batch in batches)


def test_a_copy_is_what_its_original_is() -> None:
    its = classifier("lenet", 8, softplus=3.0)
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(detached(its)(images), its.eval()(images))


def test_what_was_found_is_told_in_a_line(tmp_path: Path) -> None:
    exported = export_torchscript(classifier("lenet", 8), tmp_path / "net.pt")
    assert re.fullmatch(
        r"the logits of .*net\.pt differ from the network's by \S+ at most, on 8 images in batches of 1, 2 and 5, "
        r"where the largest is \S+: a share of 0\.0001 of it is rounding",
        str(exported),
    )
