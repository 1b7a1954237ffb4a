"""`gradsculpt push`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.images import evenly_spaced, pixels01
from gradsculpt.cli.known import check_out
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.parser import Options, Parser, command_parser
from gradsculpt.cli.process import DEVICES, prepare
from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.hub import HubName, is_hub, parse
from gradsculpt.hub.names import check_license, check_revision
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter
from gradsculpt.runs import check_trained
from gradsculpt.wording import counted, size_of

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.cli.opened import Run

_SHOWN, _MOST = 4, 24
_TOLD = (
    "Share a run on the Hugging Face Hub: its weights, how the network is built and was trained, its scores, and a "
    "card written from them. Nothing else leaves this machine, and the list is told before. Others open it as "
    "hf:NAMESPACE/NAME."
)
_EXAMPLES = (
    "gradsculpt push runs/en me/cells --license mit",
    "gradsculpt push runs/en me/cells --out shared",
    "gradsculpt explain hf:me/cells cat.jpg --out maps",
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Make the files that are to be shared, tell which, and send them or keep them here."""
    options = _parser().read(words)
    target, stays = _target(options), options["dry_run"] or options["out"] is not None
    if is_hub(options["run"]):
        raise ArgumentError(f"{options['run']} is on the Hub already; pass the run directory that it was made from.")
    check_trained(Path(options["run"]))
    if options["license"] is not None:
        check_license(options["license"])
    if options["out"] is not None:
        check_out(options["out"])
    if not stays:
        from gradsculpt.hub.sending import check_may_send

        check_may_send()
    prepare()
    with nullcontext() if options["out"] is None else locked(options["out"], "push", reporter.say):
        _share(options, target, reporter, stays=stays)


def _parser() -> Parser:
    parser = command_parser("push", _TOLD, _EXAMPLES)
    parser.add_argument("run", type=str, help="Run directory.")
    parser.add_argument("name", type=str, help="NAMESPACE/NAME of the repository; it is made if need be.")
    parser.add_argument("--private", action="store_true", help="Let nobody else see it.")
    parser.add_argument("--revision", type=str | None, help="Branch that takes the commit; default the main one.")
    told = "Under which terms it is shared, as the Hub calls them: mit, apache-2.0, cc-by-4.0."
    parser.add_argument("--license", type=str | None, help=told)
    told = f"Held-out images that the card shows with their maps; default {_SHOWN}, or none where the images are your "
    told += "own (a folder or a function): everybody would see them."
    parser.add_argument("--count", type=int | None, limit=at_least(0, _MOST), help=told)
    told = "Write the files into this folder instead, and send nothing."
    parser.add_argument("--out", type=Path | None, help=told)
    parser.add_argument("--dry_run", action="store_true", help="Tell what would be sent, and send nothing.")
    where = "where, and on what"
    parser.add_argument("--data_dir", type=Path | None, group=where, rare=True, help="Where downloaded sets live.")
    parser.add_argument(
        "--cache_dir", type=Path | None, group=where, rare=True, help="Where decoded images are cached."
    )
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", group=where, help="Where to compute.")
    return parser


def _target(options: Options) -> HubName:
    """Return where a run goes: the name with the branch."""
    target, branch = parse(options["name"]), options["revision"]
    if branch is None:
        return target
    check_revision(branch, "--revision")
    if target.revision not in (None, branch):
        raise ArgumentError(f"{target} names a branch, and --revision {branch} another; pass one of them.")
    return HubName(target.repository, branch)


def _share(options: Options, target: HubName, reporter: Reporter, *, stays: bool) -> None:
    from gradsculpt.cli.networks import named_network
    from gradsculpt.cli.opened import Run
    from gradsculpt.hub.sending import send
    from gradsculpt.sharing.bundle import FILES, bundle, check_vacant

    if options["out"] is not None:
        check_vacant(options["out"])
    by_name: dict[str, Any] = {"network": options["run"], "model": None, "weights": None, "mean": [], "std": []}
    network = named_network({**options, **by_name, "image_size": None}, reporter)
    if not isinstance(network, Run):
        raise ArgumentError(f"{options['run']} is no run directory; pass the --out of a `gradsculpt train`.")
    name = f"{target.repository}@{target.revision}" if target.revision else target.repository
    shared = bundle(network.path, name, images=_images(network, options, reporter), license=options["license"])
    reporter.say(*(f"note: {note}" for note in shared.notes))
    total = counted(len(shared.files), "files")
    size = sum(map(len, shared.files.values()))
    whose = "for nobody else to see" if options["private"] else "for everybody to see"
    where = options["out"] if options["out"] is not None else f"{target}, {whose}"
    would = "would go" if options["dry_run"] else "go"
    reporter.say(f"{total}, {_size(size)}, {would} to {where}:")
    reporter.say(*(f"  {file:<18} {_size(len(content)):>9}" for file, content in shared.files.items()))
    if options["dry_run"]:
        return
    if stays:
        shared.write(options["out"])
        return
    with reporter.alive(lambda: f"sending {_size(size)} to {target}"):
        address = send(
            shared.files, target, private=options["private"], replaces=FILES, message=f"Share {network.name}"
        )
    sys.stdout.write(f"It is at {address}; others open it as {target}.\n")


def _images(network: Run, options: Options, reporter: Reporter) -> Tensor | None:
    """Return the held-out images that the card shows, [N, 3, S, S] in [0, 1]; None if it shows none."""
    import numpy as np

    own, count = ":" in network.settings.data, options["count"]
    if count is None and own:
        reporter.say(
            f"note: the card shows no maps, as everybody would see the images, which are your own; --count {_SHOWN} "
            "shows some"
        )
    count = (0 if own else _SHOWN) if count is None else count
    if not count:
        return None
    try:
        held_out = network.data({**options, "data": None}, reporter).test
    except DataError as error:
        reporter.say(f"note: the card shows no maps, as the images are not to be had ({str(error).rstrip('.')})")
        return None
    return pixels01(np.asarray(held_out.images[evenly_spaced(len(held_out), count)]))


def _size(count: int) -> str:
    return f"{max(1, round(count / 1000))} kB" if count < 1_000_000 else size_of(count)
