"""`gradsculpt export`."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from gradsculpt.accidents import check_new
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.networks import add_network_options, check_named, is_built, named_network, the_name
from gradsculpt.cli.parser import Options, command_parser, without_effect
from gradsculpt.cli.process import prepare
from gradsculpt.cli.sources import value
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.files import sweep
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter

_HOME = "gradsculpt.models.export"
_TOLD = (
    "Write a network for those who do not have gradsculpt: it takes images in [0, 1], normalises them itself, and "
    "gives logits. The file is read again, and kept only if its logits are those of the network but for rounding."
)
_EXAMPLES = (
    "gradsculpt export runs/en --onnx en.onnx",
    "gradsculpt export runs/en --torchscript en.pt",
    "gradsculpt export torchvision:resnet18=weights.pth --image-size 64 --onnx resnet18.onnx",
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Write a network as ONNX or TorchScript."""
    parser = command_parser("export", _TOLD, _EXAMPLES)
    add_network_options(parser)
    parser.add_argument("--onnx", type=Path | None, help="The file, as ONNX: a name that ends in .onnx.")
    parser.add_argument("--torchscript", type=Path | None, help="The file, as TorchScript: in .pt, .pth or .ts.")
    lowest, highest = value(f"{_HOME}.LOWEST_OPSET"), value(f"{_HOME}.HIGHEST_OPSET")
    told = "Version of the operators of ONNX; the lower, the more programs read it."
    parser.add_argument("--opset", type=int, default=lowest, limit=at_least(lowest, highest), help=told)
    size = parser.options["--image_size"]
    size.help = "Side of the images that the file takes; default that of the network."
    vars(size).update(group="options", rare=False)
    options = parser.read(words)
    check_named([the_name(options)], None, options["weights"])
    path = _check(options, words)
    prepare()
    with locked(path.parent, "export", reporter.say, f".{path.name}.lock", "name another file"):
        sweep(path)
        _export(path, options, reporter)


def _check(options: Options, words: Sequence[str]) -> Path:
    """Return the file; raise an error if it cannot be, or is not the only one."""
    wanted = [name for name in ("onnx", "torchscript") if options[name] is not None]
    if len(wanted) != 1:
        fact = "two files are named" if wanted else "it is not said what to write"
        raise ArgumentError(f"{fact}; pass one of --onnx FILE and --torchscript FILE.")
    (kind,) = wanted
    path: Path = options[kind]
    check_new(path, value(f"{_HOME}.{kind.upper()}_ENDINGS"), {"onnx": "ONNX", "torchscript": "TorchScript"}[kind])
    if kind == "torchscript":
        without_effect(words, ("opset",), "without --onnx")
    elif missing := [name for name in value(f"{_HOME}.ONNX_PACKAGES") if find_spec(name) is None]:
        raise ModelError(
            f"--onnx needs the packages {', '.join(missing)}, which are not installed; install them with: pip install "
            "'gradsculpt[onnx]', or pass --torchscript FILE."
        )
    return path


def _export(path: Path, options: Options, reporter: Reporter) -> None:
    from gradsculpt.models import export_onnx, export_torchscript

    size = options["image_size"]
    # A network that is built by its name is built for that size; of one that has its own, the same weights take it.
    built = is_built(the_name(options))
    network = named_network({**options, "image_size": size if built else None, "device": "cpu"}, reporter)
    source = ": ".join(filter(None, (network.name, network.about)))
    reporter.say(f"writing {network.name} and comparing what was written, which may take a minute")
    if options["onnx"] is not None:
        exported = export_onnx(network.classifier, path, opset=options["opset"], image_size=size, source=source)
    else:
        exported = export_torchscript(network.classifier, path, image_size=size, source=source)
    shape = f"[N, 3, {exported.image_size}, {exported.image_size}]"
    reporter.say(f"{exported}", f"{path} takes images {shape} in [0, 1], float32, and gives logits")
