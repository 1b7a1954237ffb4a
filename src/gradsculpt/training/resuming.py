"""What a training goes on from, and what it refuses to go on with, before anything of the run is changed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZipFile

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from gradsculpt.configuration import completed, defaults
from gradsculpt.data import Splits
from gradsculpt.errors import RunError, first_line
from gradsculpt.fingerprint import fingerprint
from gradsculpt.machine import free_memory
from gradsculpt.models.states import LARGEST_WEIGHTS
from gradsculpt.reading import check_unpacked, read_json, read_yaml
from gradsculpt.runs import BEST, CHECKPOINTS, CONFIG, DESCRIPTION, LAST, METRICS, check_files, check_free
from gradsculpt.seals import SEAL, UNSEALED, check
from gradsculpt.training import table
from gradsculpt.training.restoring import check_form, damaged
from gradsculpt.training.settings import MAY_CHANGE, Optimization, TrainSettings
from gradsculpt.wording import counted, printable

TABLE, ROWS = "MetricsTable", "rows"
"""Where a checkpoint has the rows of the table of metrics."""

_ORIGIN = "origin"  # what a checkpoint says of the training that it is of
_FOLDER = "folder:"
_SCORES = ("best_model_score", "current_score")  # what the state of a checkpoint is asked for
_LETTERS = 60  # of a value in a message


class Kept(NamedTuple):
    """What a checkpoint says: of the network's tensors, their shapes; of the training, what `Origin` wrote.

    Where the best epoch's checkpoint is needed too, `best` has the shapes of its tensors.
    """

    shapes: Mapping[str, Any]
    settings: Mapping[str, Any] | None
    data: Mapping[str, Any] | None
    best: Mapping[str, Any] | None = None


class CheckpointInRun(ModelCheckpoint):
    """A checkpoint of one file in the run's folder, which takes scores from its state and no path.

    It is the folder and the name that say where that file is: a path in a checkpoint could lead anywhere, and what is
    there would be deleted when a better epoch comes.
    """

    @property
    def state_key(self) -> str:
        """The key of the class above, under which older runs have its state."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the scores that are kept."""
        return {name: value for name, value in super().state_dict().items() if name in _SCORES}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores that were kept, of the file that is this run's; raise `RunError` if they are none."""
        scores = [state_dict.get(name) for name in _SCORES]
        if not all(each is None or isinstance(each, float) or _is_number(each) for each in scores):
            raise RunError(
                f"{self.dirpath} has a checkpoint whose scores are no numbers, so the training cannot go on. Copy it "
                "again from where the run was made, or pass another --out to train anew."
            )
        self.best_model_score, self.current_score = scores
        if self.best_model_score is not None or self.monitor is None:
            self.best_model_path = self.format_checkpoint_name({})
        if self.best_model_score is not None:
            self.kth_best_model_path, self.kth_value = self.best_model_path, self.best_model_score
            self.best_k_models = {self.best_model_path: self.best_model_score}


def _is_number(score: Any) -> bool:
    return isinstance(score, torch.Tensor) and score.numel() == 1


class Origin(Callback):
    """Writes into every checkpoint what it was trained with: settings, and classes, counts and digest of the data."""

    def __init__(self, config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        self._origin = {"settings": dict(config), "data": dict(data)}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what `resumed` and `check_data` read."""
        checkpoint[_ORIGIN] = self._origin


def resumed(settings: TrainSettings) -> Kept | None:
    """Return what is known of the checkpoint that a training goes on from; None if it starts. Nothing is written.

    Raises:
        RunError: If the folder holds a run and the settings do not say to resume it, a file of the run is missing or
            damaged, or a setting is another than it was and is none of `MAY_CHANGE`.
    """
    out, config = settings.out, settings.out / CONFIG
    last, best = (out / CHECKPOINTS / f"{name}.ckpt" for name in (LAST, BEST))
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file, so no run can be written there. Pass another --out.")
    trained = [path for path in (last, out / DESCRIPTION) if path.exists()]
    if not settings.resume:
        check_free(out)
    if not settings.resume or not (config.exists() or trained):
        return None
    check_files(out)
    written = run_config(config)
    table.rows(out / METRICS)
    kept = _checkpoint(last) if last.exists() or _has_trained(out) else None
    if kept is not None and not settings.keeps_last:
        kept = kept._replace(best=_best(best, kept))  # it is needed in the end, if no later epoch is better
    comparable = kept is not None and kept.data is not None
    begun = (kept and kept.settings) or written
    if changes := _changes(begun, written, comparable=comparable):
        name, old, new = changes[0]
        raise RunError(
            f"{config} is not what {last} was trained with: {name} is {_shown(new)} and was {_shown(old)}, so it is "
            "not known what to go on with. Restore the file from where the run was made, or pass another --out."
        )
    _refuse_changes(settings, begun, comparable=comparable)
    return kept


def check_data(settings: TrainSettings, kept: Kept | None, data: Mapping[str, Any]) -> None:
    """Raise `RunError` unless the data are those that a checkpoint was trained on, as far as it tells."""
    then = (kept and kept.data) or _classes(settings.out, kept)
    changed = [name for name in then if data.get(name) != then[name]]
    if not changed:
        return
    name = changed[0]
    old, new = (_shown(value) for value in (then[name], data.get(name)))
    fact = f"{name} {old} became {new}" if name != "digest" else "pixels or labels are not what they were"
    raise RunError(
        f"--data {settings.data} is not what {settings.out} was trained on ({fact}), so its training cannot go on. "
        "Bring the images back as they were, or pass another --out to train anew."
    )


def check_fit(settings: TrainSettings, kept: Kept, module: nn.Module) -> None:
    """Raise `RunError` unless a network has the tensors that a checkpoint has."""
    here = _shapes(module.state_dict())
    strange = [name for name in {**here, **kept.shapes} if here.get(name) != kept.shapes.get(name)]
    if strange:
        raise RunError(
            f"the checkpoint of {settings.out} does not fit the network {settings.model} ({len(strange)} of its "
            f"tensors differ, the first is {strange[0]}), so its training cannot go on. Use the code that it was begun "
            "with, or pass another --out to train anew."
        )
    if kept.best not in (None, kept.shapes):
        raise damaged(settings.out / CHECKPOINTS / f"{BEST}.ckpt", f"it is of another network than {LAST}.ckpt")


def identity(splits: Splits) -> dict[str, Any]:
    """Return what tells training data from others: classes, counts, and a digest of all pixels, labels and maps."""
    parts = (splits.train, splits.val)
    digest = fingerprint(*((part.images, part.labels, part.attention) for part in parts))
    counts = {f"{name} images": len(part) for name, part in zip(("training", "validation"), parts, strict=True)}
    return {"classes": list(splits.train.classes), **counts, "digest": digest}


@contextmanager
def cache_aside(settings: TrainSettings) -> Iterator[TrainSettings]:
    """Yield settings that find the decoded images of a run where they are, and write none there."""
    cache = settings.cache_dir or settings.out / "cache"
    with TemporaryDirectory(prefix="gradsculpt-") as folder:
        for entry in cache.iterdir() if cache.is_dir() else ():
            with suppress(OSError):  # where links are not to be had, images are decoded once more
                (Path(folder) / entry.name).symlink_to(entry.resolve())
        yield replace(settings, cache_dir=Path(folder))


def _classes(out: Path, kept: Kept | None) -> dict[str, Any]:
    """Return the classes of a run whose checkpoint says nothing of its data, as those of older versions do not."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        if kept is not None:
            description = read_json(out / DESCRIPTION)
            return {"classes": [printable(name) for name in description["classes"]]}
    return {}


def _has_trained(out: Path) -> bool:
    """Tell whether a last checkpoint must have been written: all that the first epoch leaves, or more, was there.

    A training that was stopped while it wrote that may have the best checkpoint of its first epoch, and no last one.
    """
    best = out / CHECKPOINTS / f"{BEST}.ckpt"
    if (out / DESCRIPTION).exists() or (best.exists() and checkpoint(best)["epoch"] > 0):
        return True
    return len(table.rows(out / METRICS)) > 1


def run_config(path: Path) -> Mapping[str, Any]:
    """Return what stands in a run's file of settings; raise `RunError` if it is missing or damaged."""
    mend = "Restore the file from where the run was made, or train anew with another --out."
    if path.is_file():
        check(path, f"Restore it from where the run was made, or, if it was changed on purpose, {UNSEALED}.")
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        fact = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({first_line(error)})"
        raise RunError(f"{path} {fact}, so it is not known what the run was trained with. {mend}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no settings, so it is not known what the run was trained with. {mend}")
    return content


def _checkpoint(path: Path) -> Kept:
    return _kept(checkpoint(path))


def _kept(content: Mapping[str, Any]) -> Kept:
    origin = content.get(_ORIGIN, {})
    return Kept(_shapes(content["state_dict"]), origin.get("settings"), origin.get("data"))


def _best(path: Path, kept: Kept) -> Mapping[str, Any]:
    """Return the shapes of the best checkpoint's tensors.

    Raises `RunError` unless it is whole, of the training of the last one, and of its best epoch.
    """
    content = checkpoint(path)
    best = _kept(content)
    scores = [float(row["val_accuracy"]) for row in table_of(content) if row.get("val_accuracy")]
    other = kept.settings and best.settings and _changes(best.settings, kept.settings, comparable=True)
    moved = kept.data and best.data and kept.data != best.data
    if other or moved or (scores and max(scores[:-1], default=-1.0) >= scores[-1]):
        raise RunError(
            f"{path} is not the best checkpoint of the training that {LAST}.ckpt is of, so the training cannot go on. "
            "Copy it again from where the run was made, or pass another --out to train anew."
        )
    return best.shapes


def table_of(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the rows of the table of metrics that a checkpoint has; none if it is an older one."""
    return list(content.get("callbacks", {}).get(TABLE, {}).get(ROWS, []))


def check_archive(path: Path) -> None:
    """Raise `RunError` if a checkpoint is damaged: by its checksum, or if it is an older one by those of its parts."""
    mend = "Copy it again from where the run was made, or pass another --out to train anew."
    check(path, mend)
    with ZipFile(path) as archive:
        if SEAL.encode() not in archive.comment and (part := archive.testzip()):
            raise RunError(f"{path} is damaged (in its part {part}), so the training cannot go on. {mend}")


def checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds; raise `RunError` if it is missing or damaged."""
    try:
        check_unpacked(path, free_memory() or LARGEST_WEIGHTS)
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except FileNotFoundError as error:
        raise RunError(
            f"{path} is missing, so the training cannot go on. Copy it again from where the run was made, or pass "
            "another --out to train anew."
        ) from error
    except Exception as error:  # a damaged file raises nearly anything
        # PyTorch advises to read what it does not know as code.
        fact = (
            "it is no file of PyTorch's with nothing but numbers" if "weights_only" in str(error) else first_line(error)
        )
        raise damaged(path, fact) from error
    check_form(content, path)
    return dict(content)


def _refuse_changes(settings: TrainSettings, begun: Mapping[str, Any], *, comparable: bool) -> None:
    """Raise `RunError` if a setting is not that of a configuration with which a training was begun."""
    now = dict.fromkeys(_names()) | settings.config()
    changes = _changes(begun, now, comparable=comparable)
    epochs = begun.get("epochs", TrainSettings.epochs)
    if settings.epochs < epochs:
        changes.append(("epochs", epochs, settings.epochs))
    if changes:
        (name, old, new), more = changes[0], len(changes) - 1
        option, others = name.replace("_", "-"), f" (so do {counted(more, 'other settings')})" if more else ""
        raise RunError(
            f"--{option} {_shown(new)} cannot be had: {settings.out} is trained with {_shown(old)}, and goes on only "
            f"as it began{others}. Leave --{option} away, or pass another --out to train anew; what may change is "
            f"{', '.join(MAY_CHANGE)}."
        )


def _changes(then: Mapping[str, Any], now: Mapping[str, Any], *, comparable: bool) -> list[tuple[str, Any, Any]]:
    """Return the settings that differ and may not, with both values, those of the recipe first.

    A folder of images may have another path where it is `comparable` by what is in it.
    """
    usual = {**defaults(TrainSettings), **defaults(Optimization)}
    then, now, changes = {**usual, **then}, {**usual, **now}, list[tuple[str, Any, Any]]()
    names = {*then, *now} - {"out", "resume", "optimization", *MAY_CHANGE}
    for name in sorted(names, key=lambda name: (name != "recipe", name)):
        old, new = completed(then.get(name)), completed(now.get(name))
        if not (name == "data" and comparable and all(str(value).startswith(_FOLDER) for value in (old, new))):
            changes += _apart(name, old, new)
    return changes


def _names() -> list[str]:
    return [*TrainSettings.__dataclass_fields__, *Optimization.__dataclass_fields__]


def _apart(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the settings inside a setting that differ, by path."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("class_path") == new.get("class_path"):
        old, new = old.get("init_args", old), new.get("init_args", new)
        for key in {**old, **new}:
            yield from _apart(f"{name}.{key}", old.get(key), new.get(key))
    else:
        yield name, old, new


def _shown(value: Any) -> str:
    """Return a setting as it is typed, in a few letters."""
    if isinstance(value, Mapping) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    shown = ", ".join(map(_shown, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    shown = "none" if value is None else str(value).lower() if isinstance(value, bool) else shown
    return shown if len(shown) <= _LETTERS else f"{shown[: _LETTERS - 1]}…"


def _shapes(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(value, "shape", None) for name, value in state.items()}
