"""`gradsculpt explain`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gradsculpt import checks
from gradsculpt.attributions import Attribution
from gradsculpt.cli.grammar import canonical
from gradsculpt.cli.images import NamedImage, add_image_options, batches, collect, unread
from gradsculpt.cli.maps import MapFolder
from gradsculpt.cli.networks import add_network_options, named_networks, networks_and_images, read_words
from gradsculpt.cli.parser import Parser, command_parser
from gradsculpt.cli.parts import attribution
from gradsculpt.cli.predictions import class_probabilities, predictions, target_classes
from gradsculpt.cli.runs import NamedNetwork
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.progress import Reporter

_ENTRIES = 2**18  # of a batch: few, as some methods take seconds an image, and as they make their own batches


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Write heat maps, overlays and raw arrays of images."""
    options = read_words(_parser(), words)
    if options["signed"] and options["absolute"]:
        raise ArgumentError("--signed and --absolute exclude each other; pass one, or none for --absolute.")
    checks.within("--clip", options["clip"], 0.0, 100.0)
    if options["top_k"] is not None and not 0.0 < options["top_k"] <= 1.0:
        raise ArgumentError(
            f"--top-k {options['top_k']:g} is no share of the pixels; pass one above 0 and up to 1, 0.05 for 5%."
        )
    rendering = {"clip": options["clip"], "signed": options["signed"], "top": options["top_k"]}
    names, paths = networks_and_images(options)
    networks = named_networks(names, options)
    methods = [
        {canonical(text): attribution(text, options["output"], network.bounds) for text in options["method"]}
        for network in networks
    ]
    collected = [collect(each, paths, options, Reporter() if i else reporter) for i, each in enumerate(networks)]
    images, unreadable = [images for images, _ in collected], collected[0][1]
    if any([image.name for image in each] != [image.name for image in images[0]] for each in images):
        raise ArgumentError("the runs split this data in different ways, so their images differ; pass image files.")
    folder = MapFolder(options["out"], networks, list(methods[0]), rendering)
    _explain(networks, images, methods, options["target"], folder, reporter)
    folder.finish("red: above 0, blue: below 0; each map is scaled by itself" if options["signed"] else "")
    reporter.say(f"{len(images[0])} images explained in {options['out']}", *unread(unreadable))


def _parser() -> Parser:
    parser = command_parser("explain", "Write heat maps, overlays and raw arrays of images, and a sheet of them all.")
    add_network_options(parser)
    parser.add_argument("images", type=str, nargs="*", help="More networks, then image files or folders of them.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the maps.")
    add_image_options(parser, count=16)
    methods = "Attributions, one or more, with settings as in smoothgrad:samples=64,sigma=0.1; gradsculpt list."
    parser.add_argument("--method", type=str, nargs="+", default=["gradient"], help=methods)
    parser.add_argument("--clip", type=float, default=99.0, help="Percentile of a map that becomes the brightest.")
    parser.add_argument("--top_k", type=float | None, help="Show only this share of the pixels, the largest.")
    parser.add_argument("--absolute", action="store_true", help="Show magnitudes, from black to bright: the default.")
    parser.add_argument("--signed", action="store_true", help="Show signs: blue below 0, white at 0, red above.")
    return parser


def _explain(
    networks: Sequence[NamedNetwork],
    images: Sequence[Sequence[NamedImage]],
    methods: Sequence[Mapping[str, Attribution]],
    wanted: str | None,
    folder: MapFolder,
    reporter: Reporter,
) -> None:
    """Compute and write every map: of the images and by the methods that each network has."""
    done, total = 0, sum(map(len, images)) * len(methods[0])
    with reporter.work("explaining", total, "maps") as tell:
        for network, its_images, its_methods in zip(networks, images, methods, strict=True):
            classifier = network.classifier
            for batch, images01 in batches(its_images, _ENTRIES, classifier.device):
                probabilities = class_probabilities(classifier, images01)
                target = target_classes(wanted, [image.label for image in batch], probabilities, classifier.classes)
                said = predictions(probabilities, target, classifier.classes)
                for method, attribute in its_methods.items():
                    try:
                        maps = attribute(classifier.network, classifier.space.normalize(images01), target)
                    except ModelError as error:
                        raise ModelError(f"{method} cannot explain {network.name}: {error}") from error
                    folder.add(network, method, batch, images01, said, maps)
                    done += len(batch)
                    tell(done, total)
