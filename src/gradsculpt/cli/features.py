"""`gradsculpt features`."""

from collections.abc import Sequence
from pathlib import Path

from gradsculpt.cli.folder import WRITTEN, ResultFolder, file_name
from gradsculpt.cli.images import class_index, evenly_spaced, pixels01
from gradsculpt.cli.known import check_out
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.networks import add_data_options, add_network_options, check_named, named_network
from gradsculpt.cli.parser import Options, command_parser, without_effect
from gradsculpt.cli.process import prepare
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter
from gradsculpt.wording import counted

_SHEET_COLUMNS = 5
_COLOUR_IMAGES = 256
_MOST = 20
_TOLD = "Write the image that raises each class's logit the most, and a sheet of them."
_EXAMPLES = (
    "gradsculpt features runs/en --out pictures",
    "gradsculpt features runs/en --classes cat dog --out pictures",
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Write the image that raises each class's logit the most."""
    parser = command_parser("features", _TOLD, _EXAMPLES)
    add_network_options(parser)
    parser.add_argument("--classes", type=str, nargs="+", default=[], help=f"Class names; default the first {_MOST}.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the images.")
    alike = "Whether colours vary together as in ImageNet, or as in the training images."
    parser.add_argument("--colours", type=str, choices=["imagenet", "data"], default="imagenet", help=alike)
    add_data_options(parser, "Other data than the run's, for --colours data.")
    parser.add_argument("--batch_size", type=int, default=16, limit=at_least(1), help="Classes at once.")
    parser.add_settings("gradsculpt.visualize.Ascent", common=("steps", "output", "seed"))
    options = parser.read(words)
    check_named([options["model"], options["network"]], options["data"], options["weights"])
    if options["colours"] != "data":
        without_effect(words, ("data", "data_dir", "cache_dir"), "without --colours data")
    check_out(options["out"], WRITTEN)
    prepare()
    with locked(options["out"], "features", reporter.say):
        _picture(options, reporter)


def _picture(options: Options, reporter: Reporter) -> None:
    import numpy as np
    import torch

    from gradsculpt.models.imagenet import in_words
    from gradsculpt.visualize import Ascent, class_features, colour_matrix, contact_sheet, plain

    ascent = Ascent(**{name: options[name] for name in Ascent.__dataclass_fields__})
    network = named_network(options, reporter)
    classes = network.classifier.classes
    wanted = options["classes"] or classes[:_MOST]
    chosen = list(dict.fromkeys(class_index(name, classes, "--classes") for name in wanted))
    folder, classifier, size, colours = ResultFolder(options["out"]), network.classifier, options["batch_size"], None
    if options["colours"] == "data":
        training = network.data(options, reporter).train.images
        colours = colour_matrix(pixels01(np.asarray(training[evenly_spaced(len(training), _COLOUR_IMAGES)])))
    with reporter.work(f"pictures of {network.name}", unit="steps") as tell:
        images, reached = class_features(
            classifier, chosen, ascent=ascent, colours=colours, batch_size=size, progress=tell
        )
    probabilities = torch.cat([network.probabilities(batch) for batch in torch.split(images, size)])
    pictures, names, rows = plain(images), [classes[index] for index in chosen], []
    for i, (index, name) in enumerate(zip(chosen, names, strict=True)):
        file = f"{index}-{file_name(name)}"
        folder.save(file, pictures[i])
        scores = {"reached": f"{reached[i]:.4f}", "probability": f"{probabilities[i, index]:.4f}"}
        rows.append({"index": index, "class": name, **scores, "file": f"{file}.png"})
    folder.index(rows)
    columns, starts = min(_SHEET_COLUMNS, len(names)), range(0, len(names), _SHEET_COLUMNS)
    sheet = contact_sheet(
        [pictures[start : start + columns] for start in starts],
        [""] * columns,
        [""] * len(starts),
        captions=[[in_words(name) for name in names[start : start + columns]] for start in starts],
        note=f"{network.name}: {ascent.output}, {counted(ascent.steps, 'steps')}",
    )
    folder.put_sheet(sheet)
    reporter.say(f"{counted(len(chosen), 'classes')} pictured in {options['out']}", *folder.others())
