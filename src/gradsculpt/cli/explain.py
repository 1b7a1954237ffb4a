"""`gradsculpt explain`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradsculpt.cli.folder import WRITTEN, ResultFolder, file_name
from gradsculpt.cli.grammar import canonical
from gradsculpt.cli.images import (
    NamedImage,
    add_image_options,
    batches,
    check_images,
    collect,
    predictions,
    target_classes,
    unread,
)
from gradsculpt.cli.known import check_out
from gradsculpt.cli.limits import SHARE, at_least
from gradsculpt.cli.networks import (
    add_network_options,
    check_named,
    named_networks,
    networks_and_images,
    read_words,
)
from gradsculpt.cli.opened import NamedNetwork
from gradsculpt.cli.parser import Options, Parser, command_parser
from gradsculpt.cli.parts import attribution, check_parts
from gradsculpt.cli.process import prepare
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.attributions import Attribution

_ENTRIES = 2**18  # of a batch: few, as some methods take seconds an image, and as they make their own batches
_SHEET_ROWS = 24
_EXAMPLES = (
    "gradsculpt explain runs/en cat.jpg --out maps",
    "gradsculpt explain runs/std runs/en photos --method gradient smoothgrad:samples=64 --out maps",
    "gradsculpt explain torchvision:resnet18 --weights default cat.jpg --target 281 --out maps",
)
_OVERLAID = 4  # with this many maps a row, the sheet leaves the overlays out


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Write heat maps, overlays and raw arrays of images."""
    options = read_words(_parser(), words)
    names, paths = networks_and_images(options)
    check_named(names, options["data"], options["weights"])
    check_images(paths, options, words)
    check_parts(options["method"], "Attribution", "--method")
    check_out(options["out"], WRITTEN)
    prepare()
    with locked(options["out"], "explain", reporter.say):
        _explain(options, words, reporter)


def _explain(options: Options, words: Sequence[str], reporter: Reporter) -> None:
    from gradsculpt.models.networks import grid_in_maps

    if options["signed"] and options["absolute"]:
        raise ArgumentError("--signed and --absolute exclude each other; pass one, or none for --absolute.")
    names, paths = networks_and_images(options)
    networks = named_networks(names, options, reporter)
    for name, shown in [(network.name, network.classifier) for network in networks]:
        if note := grid_in_maps(name, shown.network, shown.image_size):
            reporter.say(f"note: {note}")
    methods = [
        {canonical(text): attribution(text, options["output"], network.bounds) for text in options["method"]}
        for network in networks
    ]
    collected = [collect(each, paths, options, Reporter() if i else reporter) for i, each in enumerate(networks)]
    images, unreadable = [images for images, _ in collected], collected[0][1]
    if any([image.name for image in each] != [image.name for image in images[0]] for each in images):
        raise ArgumentError("the runs split this data in different ways, so their images differ; pass image files.")
    folder = _MapFolder(networks, list(methods[0]), options)
    done, total = 0, sum(map(len, images)) * len(methods[0])
    with reporter.work("explaining", total, "maps") as tell:
        for network, its_images, its_methods in zip(networks, images, methods, strict=True):
            for batch, images01 in batches(its_images, _ENTRIES, network.classifier.device):
                for written in folder.explain(network, its_methods, batch, images01):
                    done += written
                    tell(done, total)
    folder.finish("each map is scaled by itself", "signed" if options["signed"] else "absolute")
    reporter.say(
        f"{counted(len(images[0]), 'images')} explained in {options['out']}", *folder.others(), *unread(unreadable)
    )


def _parser() -> Parser:
    parser = command_parser(
        "explain", "Write heat maps, overlays and raw arrays of images, and a sheet of them all.", _EXAMPLES
    )
    add_network_options(parser)
    parser.add_argument("images", type=str, nargs="*", help="More networks, then image files or folders of them.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the maps.")
    add_image_options(parser, count=16)
    methods = "Attributions, one or more, with settings as in smoothgrad:samples=64,sigma=0.1; gradsculpt list."
    parser.add_argument("--method", type=str, nargs="+", default=["gradient"], help=methods)
    parser.add_argument(
        "--clip",
        type=float,
        default=99.0,
        limit=at_least(0, 100, whole=False),
        help="Percentile of a map that becomes the brightest.",
    )
    parser.add_argument(
        "--top_k", type=float | None, limit=SHARE, help="Show only this share of the pixels, the largest."
    )
    parser.add_argument("--absolute", action="store_true", help="Show magnitudes, from black to bright: the default.")
    parser.add_argument("--signed", action="store_true", help="Show signs: blue below 0, white at 0, red above.")
    return parser


def _of_files(method: str) -> str:
    """Return a method as it stands in names of files; without the dots of a class path, as of names of networks."""
    name, colon, settings = method.partition(":")
    return re.sub("[:,]", "-", f"{name.replace('.', '_')}{colon}{settings}")


class _MapFolder(ResultFolder):
    """A folder of maps; its sheet has, for each method, the maps of all networks side by side.

    With several networks, names are in those of the files.
    """

    def __init__(self, networks: Sequence[NamedNetwork], methods: Sequence[str], options: Options) -> None:
        self._rendering = {"clip": options["clip"], "signed": options["signed"], "top": options["top_k"]}
        self._target, self._several = options["target"], len(networks) > 1
        self._finest = max(networks, key=lambda network: network.classifier.image_size)
        self._overlaid = len(networks) * len(methods) < _OVERLAID
        headings = [heading for each in methods for network in networks for heading in self._headings(each, network)]
        super().__init__(options["out"], _SHEET_ROWS, ["image", *headings])

    def explain(
        self, network: NamedNetwork, methods: Mapping[str, Attribution], images: Sequence[NamedImage], images01: Tensor
    ) -> Iterator[int]:
        """Write maps of a few images with pixels [N, 3, S, S] in [0, 1]; yield their number after each method."""
        from gradsculpt.visualize import colour, overlay, plain

        classifier, probabilities = network.classifier, network.probabilities(images01)
        target = target_classes(self._target, [image.label for image in images], probabilities, classifier.classes)
        said = predictions(probabilities, target, classifier.classes)
        # Without dots, so that no name of an image and a network is that of another two.
        inner = [file_name(network.name).replace(".", "_")] if self._several else []
        if network is self._finest:
            self.show("image", plain(images01), [image.called for image in images])
            self.label([image.name for image in images])
        for method, attribute in methods.items():
            try:
                maps = attribute(classifier.network, classifier.space.normalize(images01), target)
            except ModelError as error:
                raise ModelError(f"{method} cannot explain {network.name}: {error}") from error
            heat, over = colour(maps, **self._rendering), list(overlay(images01, maps, **self._rendering))
            rows = []
            for i, (image, prediction) in enumerate(zip(images, said, strict=True)):
                name = ".".join([image.name, *inner, file_name(_of_files(method))])
                self.save(name, heat[i], maps[i])
                self.save(f"{name}.overlay", over[i])
                row = {"image": image.name, "source": image.source, "network": network.name, "method": method}
                row["true"] = image.label or ""
                row |= {"predicted": prediction.predicted, "target": prediction.target}
                rows.append(row | {"probability": f"{prediction.probability:.4f}", "array": f"{name}.npy"})
            self.index(rows)
            heading, *overlaid = self._headings(method, network)
            self.show(heading, heat, [str(each) for each in said])
            for heading in overlaid:
                self.show(heading, over)
            yield len(images)

    def _headings(self, method: str, network: NamedNetwork) -> list[str]:
        """Return the headings of a method's maps and, where there is room for them, of the overlays."""
        heading = method.replace(":", "\n", 1).replace(",", ", ") + (f"\n{network.name}" if self._several else "")
        gap = "\n" if "\n" in heading else " "
        return [heading, f"{heading}{gap}on image"] if self._overlaid else [heading]
