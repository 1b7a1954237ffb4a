"""The files of a run as the Hub wants them, made in memory: these and no others leave the machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import RunError
from gradsculpt.evaluation import Scorecard
from gradsculpt.evaluation.scorecard import FILE
from gradsculpt.files import whole
from gradsculpt.fingerprint import fingerprint
from gradsculpt.hub import HubName, parse
from gradsculpt.hub.fetching import LIBRARY
from gradsculpt.hub.names import check_license
from gradsculpt.models import Classifier, load
from gradsculpt.models.checkpoint import stored
from gradsculpt.reading import read_json
from gradsculpt.runs import CONFIG, PUBLISHED, WEIGHTS, check_trained, described
from gradsculpt.seals import OPEN, SEAL, sealed, sealed_json
from gradsculpt.sharing import card, maps
from gradsculpt.sharing.privacy import Veil, shared_data
from gradsculpt.training import Optimization, TrainSettings
from gradsculpt.training.resuming import run_config

CARD, MAPS = "README.md", "maps.png"
FILES = (CARD, PUBLISHED, WEIGHTS, CONFIG, FILE, MAPS)
"""All files that a bundle may have."""

_MACHINE = ("out", "data_dir", "cache_dir", "resume", "device", "threads", "max_time", "tensorboard", "optimization")
_SETTINGS = {each.name for cls in (TrainSettings, Optimization) for each in fields(cls)} - {*_MACHINE}
_SCORES = ("name", "settings", "scores", "curves")
_PRINTS = "fingerprints"


@dataclass(frozen=True)
class Bundle:
    """What is shared of a run: the content of each file by its name, and what has to be known of it.

    Args:
        target: Where it goes.
        files: config.json (how the network is built), model.safetensors, config.yaml (how it was trained), README.md
            (the card), and scorecard.json and maps.png if there are any.
        notes: What has to be known, a sentence each.
    """

    target: HubName
    files: Mapping[str, bytes]
    notes: tuple[str, ...] = field(default=())

    def write(self, folder: str | Path) -> None:
        """Write the files into a folder, which is made if need be; raise `RunError` if that holds something else."""
        folder = Path(folder)
        check_vacant(folder)
        for name in FILES:
            if name in self.files:
                with whole(folder / name) as draft:
                    draft.write_bytes(self.files[name])
            else:
                (folder / name).unlink(missing_ok=True)


def check_vacant(folder: Path) -> None:
    """Raise `RunError` if a folder holds other files than those of an earlier bundle: they could be overwritten."""
    there = sorted(each.name for each in folder.iterdir() if each.name[0] != ".") if folder.is_dir() else []
    if there and not (PUBLISHED in there and set(there) <= {*FILES}):
        strange = next((name for name in there if name not in FILES), there[0])
        raise RunError(
            f"{folder} holds other files ({strange}), beside which nothing is written that is to be shared; pass a "
            "folder that is empty, or not there yet."
        )


def bundle(
    run: str | Path,
    name: str,
    *,
    images: Tensor | None = None,
    license: str | None = None,
    trust_code: Iterable[str] = (),
) -> Bundle:
    """Return what is to be shared of a run; nothing is sent, and nothing written.

    The weights are those of the run, byte by byte. The card is written from its scorecard.json, if that is of these
    weights. Nothing holds a path of this machine; nothing is pickled, and no state of the optimiser is in it.

    Args:
        run: The run directory.
        name: NAMESPACE/NAME of a repository on the Hub, with @BRANCH after it for another branch than the main one.
        images: Pixels in [0, 1] whose maps the card shows, a few; None for none. They are then for all to see.
        license: Under which terms the network is shared, by a name that the Hub knows, such as mit.
        trust_code: As of `load`.

    Shape: images [N, 3, S, S].
    Raises: ArgumentError if the name, the licence or the images can be none; RunError and ModelError as of `load`, if
        the run is damaged or has no network yet.
    """
    run, target = Path(run), parse(name)
    if license is not None:
        check_license(license)
    if images is not None:
        checks.images("images", images)
    check_trained(run)
    _check_own(run)
    classifier = load(run, trust_code=trust_code)
    description, weights, reached = stored(run)
    config = run_config(run / CONFIG)
    veil = Veil(run, config)
    settings = {key: each for key, each in config.items() if key in _SETTINGS}
    settings = veil.over(settings | {key: shared_data(str(settings[key])) for key in ("data",) if key in settings})
    classes = description["classes"]
    description = {**veil.over({key: each for key, each in description.items() if key != SEAL}), "classes": classes}
    scores, why = _scores(run, classifier)
    files = {
        PUBLISHED: sealed_json({"library_name": LIBRARY, **description}),
        WEIGHTS: weights,
        CONFIG: sealed(f"# {SEAL} {OPEN}\n{yaml.safe_dump(settings, sort_keys=False)}".encode()),
    }
    shown = None
    if scores is not None:
        content = read_json(run / FILE)
        content = veil.over({key: content[key] for key in _SCORES if key in content})
        files[FILE] = sealed_json(content)
        most = max((entry.images for entry in scores.entries.values()), default=1)
        shown = Scorecard(scores.name, {"images": most, **content["settings"]}, scores.entries, scores.curves)
    if images is not None and len(images):
        files[MAPS] = maps.picture_of(classifier, images)
    facts = card.Facts(target, description, settings, reached, shown, why, MAPS if MAPS in files else "", license)
    files[CARD] = card.written(facts).encode("utf-8", "backslashreplace")
    return Bundle(target, {each: files[each] for each in FILES if each in files}, tuple(_notes(why, license, files)))


def _check_own(run: Path) -> None:
    """Raise `RunError` if a file that would be shared is a link: what it leads to may be nobody's business."""
    for path in (described(run), *(run / name for name in (WEIGHTS, CONFIG, FILE))):
        if path.is_symlink():
            raise RunError(
                f"{path} is a link to {path.resolve()}, and what is shared has to lie in the run, so that "
                "nothing goes out unseen; put a copy of the file in its place."
            )


def _scores(run: Path, classifier: Classifier) -> tuple[Scorecard | None, str]:
    """Return the scorecard of a run, or why there is none that counts."""
    if not (run / FILE).is_file():
        return None, "there is no scorecard"
    scores = Scorecard.load(run / FILE)
    prints = scores.settings.get(_PRINTS)
    if isinstance(prints, Mapping) and prints.get("network") != fingerprint(classifier):
        return None, "the scorecard is of other weights than these"
    return scores, ""


def _notes(why: str, license: str | None, files: Mapping[str, Any]) -> Iterable[str]:
    if why:
        yield f"{why}, so the card says that nothing was measured; `gradsculpt evaluate RUN` measures it"
    if license is None:
        yield "no licence is named, so nobody may use the network; --license mit names one"
