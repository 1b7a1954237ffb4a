"""The run directory: what a training leaves behind and reports, and how it is started, resumed and finished."""

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from gradsculpt.accidents import told
from gradsculpt.data import ImageSet, Outline, Splits, load_data, outline_of, outlined
from gradsculpt.data.batches import Share
from gradsculpt.errors import GradsculptError, Interrupted, RunError
from gradsculpt.extensions import modules_of, trusted
from gradsculpt.files import sweep
from gradsculpt.fingerprint import fingerprint
from gradsculpt.links import inside
from gradsculpt.locks import locked
from gradsculpt.machine import is_first_process, threads_of_each
from gradsculpt.models import Classifier, load
from gradsculpt.models.checkpoint import describe
from gradsculpt.progress import Estimate, Progress, Reporter
from gradsculpt.runs import BEST, CHECKPOINTS, CONFIG, DESCRIPTION, LAST, METRICS, WEIGHTS
from gradsculpt.seals import OPEN, SEAL, seal
from gradsculpt.training.broken import BrokenStepError
from gradsculpt.training.distillation import with_teacher
from gradsculpt.training.fitting import batches, build_module, build_trainer, finished, held_out_batches, quietly
from gradsculpt.training.keeping import MetricsTable, NotKeptError, UsableNetwork, WholeCheckpoints, in_run
from gradsculpt.training.module import ClassifierModule
from gradsculpt.training.preparation import nothing_left, prepare, strategy_for
from gradsculpt.training.restoring import Restored, check_progress
from gradsculpt.training.resuming import (
    CheckpointInRun,
    Kept,
    Origin,
    cache_aside,
    check_data,
    check_fit,
    checkpoint,
    identity,
    resumed,
)
from gradsculpt.training.settings import MAY_CHANGE, TrainSettings
from gradsculpt.training.stopping import Course, Interruptible, TimeIsUp, WithinTime, left_behind
from gradsculpt.training.together import in_turn, started_here, together
from gradsculpt.wording import counted

_SCORES = "scorecard.json"

_WRITTEN = (CONFIG, METRICS, WEIGHTS, DESCRIPTION, *(f"{CHECKPOINTS}/{name}.ckpt" for name in (BEST, LAST)))


class EpochLines(Callback):
    """Writes one plain line an epoch, for logs; terminals get a progress bar instead."""

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter, self._estimate = reporter, Estimate(clock)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; epochs of a training that is resumed took none of its time."""
        self._estimate.resumed(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's line with an estimate of the time left."""
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        metrics = trainer.callback_metrics
        shown = [name for name in ("train_loss", "train_accuracy", "val_accuracy", "val_gini") if name in metrics]
        left_out = [name for name in ("train_skipped", "val_skipped") if metrics.get(name)]
        values = "  ".join(
            [f"{name} {float(metrics[name]):.3f}" for name in shown]
            + [f"{name} {float(metrics[name]):.0f}" for name in left_out]
        )
        spent, left = self._estimate.spent(), self._estimate.left(done, total)
        self._reporter.say(f"epoch {done}/{total}  {values}  {spent:.0f} s, about {left:.0f} s left")


def fit(
    settings: TrainSettings,
    reporter: Reporter | None = None,
    *,
    started: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> Classifier:
    """Train a classifier and leave a run directory.

    With several devices, the command that called this is run once for each of them; the first process alone writes
    the run and speaks.

    config.yaml is written from the settings. The reporter is silenced in every process but the first. From the end of
    the first epoch on, the network of the best epoch so far is in the run, and `load` opens it.

    Args:
        settings: What is trained, how and where.
        reporter: Where it tells how it goes.
        started: When the time of `max_time` began, by `time.monotonic()`; now, if None.
        callbacks: More of Lightning's callbacks, which come after those that keep the run; of a teacher they hear none.

    Returns:
        The classifier with the weights of the epoch that was best on the validation images; of the last epoch if labels
        are shuffled. Its `reached` says whether the training ended or its time did.

    Raises:
        GradsculptError: If the folder is in the way, data, network or objective cannot be used or written down, or the
            time was over before an epoch was whole.
        Interrupted: If the training was stopped by Ctrl-C or a signal; it says which epoch is kept. It is a
            `KeyboardInterrupt`.
    """
    reporter = reporter or Reporter()
    reporter.console.quiet |= not is_first_process()
    torch.set_num_threads(settings.threads or threads_of_each(settings.devices))
    course = Course(settings.max_time, started)
    try:
        with quietly(), trusted(modules_of(settings.config())):
            return _fit(settings, None, reporter, course, callbacks)
    except KeyboardInterrupt as stopped:
        number = getattr(stopped, "number", signal.SIGINT)
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        raise Interrupted(f"stopped {course.where}{by}; {left_behind(settings)}", number) from stopped
    except TimeIsUp as stopped:
        stop = f"stopped {course.where}, as its time of {settings.max_time} is nearly over; {left_behind(settings)}"
        try:
            network = load(settings.out, trust_code=modules_of(settings.config()))
        except RunError:
            raise RunError(f"{stop}. A longer --max-time gets further.") from stopped
        reporter.say(stop)
        return network
    except BrokenStepError as error:
        if not any((settings.out / CHECKPOINTS).glob("*.ckpt")):
            raise
        raise BrokenStepError(f"{error} Before it, {left_behind(settings)}.") from error
    except NotKeptError as error:
        raise RunError(
            f"{error}, so the training stopped {course.where}. Make room there, or let it be written to; "
            f"{left_behind(settings)}."
        ) from error
    except GradsculptError:
        raise
    except Exception as error:
        if (accident := told(error)) is None:
            raise
        raise RunError(f"{accident} The training stopped {course.where}; {left_behind(settings)}.") from error


def _fit(
    settings: TrainSettings,
    splits: Splits | None,
    reporter: Reporter,
    course: Course,
    callbacks: Sequence[Callback] = (),
) -> Classifier:
    """Train on data that may be open already, as those of a teacher's run are."""
    settings.config()  # what cannot be written down is refused at once
    first = is_first_process()
    if first:
        resumed(settings)  # what is refused leaves no trace, not even that of the lock
    with locked(settings.out, "train", reporter.say) if first else nullcontext(), nothing_left(settings):
        kept = resumed(settings) if first or settings.resume else None
        if first:
            for name in _WRITTEN:
                sweep(settings.out / name)
        known = _announced(settings, reporter) if splits is None else outline_of(splits)
        with together(build_trainer(settings), lambda: left_behind(settings)):
            if splits is None:
                with in_turn():
                    splits = _data(settings, kept, reporter, course)
            if known is None:
                prepare(settings, outline_of(splits), reporter)
            course.check()
            data = identity(splits)
            check_data(settings, kept, data)
            return _train(settings, splits, data, kept, reporter, course, callbacks)


def _announced(settings: TrainSettings, reporter: Reporter) -> Outline | None:
    """Say what is going to be done, and refuse what cannot be, as early as possible; return what the data are like."""
    _logger(settings)
    known = outlined(settings.data, **_selection(settings), cache_dir=settings.cache_dir or settings.out / "cache")
    prepare(settings, known, reporter)
    return known


def _selection(settings: TrainSettings) -> dict[str, Any]:
    """Return which images of the data are wanted, as `load_data` takes it."""
    return {name: getattr(settings, name) for name in ("image_size", "val_fraction", "seed", "train_count")}


def _data(settings: TrainSettings, kept: Kept | None, reporter: Reporter, course: Course) -> Splits:
    """Return the data; decode none into a run that goes on until they are known to be those that it was trained on."""
    if kept is None:
        return open_data(settings, reporter, course.watched)
    with cache_aside(settings) as aside:
        splits = open_data(aside, reporter, course.watched)
        if all(each.is_symlink() for each in (aside.cache_dir or Path()).iterdir()):
            return splits
        check_data(settings, kept, identity(splits))
    return open_data(settings)


def _train(
    settings: TrainSettings,
    splits: Splits,
    data: Mapping[str, Any],
    kept: Kept | None,
    reporter: Reporter,
    course: Course,
    more: Sequence[Callback],
) -> Classifier:
    """Train, from a checkpoint if there is one, on data that suit it."""
    first, config = is_first_process(), settings.config()
    if first and settings.objective.requirements.teacher is not None:
        build_trainer(settings)  # or it would be refused only after the teacher
        _claim(settings, config)  # now, so that a run can be resumed whose teacher was interrupted
    splits, objective = with_teacher(settings, splits, reporter, partial(_teach, course), course.watched)
    seed_everything(settings.seed, verbose=False)
    module = build_module(
        replace(settings, objective=objective), splits.train, lambda note: reporter.say(f"note: {note}")
    )
    if kept is not None:
        check_fit(settings, kept, module)
    folder = inside(settings.out, CHECKPOINTS)
    best = CheckpointInRun(folder, filename=BEST, monitor="val_accuracy", mode="max", enable_version_counter=False)
    # With save_last in the above, "last" would be the last epoch that was the best so far.
    latest = CheckpointInRun(folder, filename=LAST, enable_version_counter=False)
    usable = UsableNetwork(settings, best, _description(settings, module, splits.train))
    start = None if kept is None else folder / f"{LAST}.ckpt"
    alone = settings.devices * settings.nodes == 1 or started_here()
    restored, ours = Restored(start), (Interruptible(), WithinTime(course, alone=alone), best, latest, usable)
    callbacks = [restored, *ours, Origin(config, data), *_callbacks(settings, reporter), *more]
    shown: Any = {"enable_progress_bar": reporter.interactive, "logger": _logger(settings)}
    shown |= strategy_for(settings, splits)
    trainer = build_trainer(settings, callbacks=callbacks, plugins=[WholeCheckpoints()], **shown)
    if start is not None:
        check_progress(checkpoint(start), start, module.network, settings.optimization, trainer)
    if first:
        _claim(settings, config)
        if kept is not None:  # whatever an older version, or one that was killed, has left there
            usable.take(module)
    loaders = _loaders(settings, splits, trainer, reporter.say)
    with reporter.alive(lambda: _whereabouts(trainer)), restored.watched():
        trainer.fit(module, *loaders, ckpt_path=start, weights_only=True)
    if trainer.current_epoch < settings.epochs:
        course.where = f"after epoch {trainer.current_epoch} of {settings.epochs}{course.stage}"
        raise TimeIsUp
    classifier = finished(module.cpu(), splits.train)
    classifier.reached = usable.take(module, finished=True)
    if first and kept is not None and (settings.out / _SCORES).exists():
        reporter.say(f"note: {settings.out / _SCORES} is of the network before it was trained further")
    return classifier


def _loaders(settings: TrainSettings, splits: Splits, trainer: Trainer, tell: Callable[[str], None]) -> tuple[Any, Any]:
    """Return the batches of a process to train on, and those to validate on."""
    device, share = trainer.strategy.root_device, Share(trainer.global_rank, trainer.world_size)
    training = batches(settings, splits.train, device, tell, share)
    return training, held_out_batches(settings, splits.val, device, share)


def _teach(course: Course, settings: TrainSettings, splits: Splits, reporter: Reporter) -> Classifier:
    """Train the teacher of a run, in the time that is left to the whole."""
    course.stage = " of its teacher"
    teacher = _fit(settings, splits, reporter, course)
    course.stage, course.where = "", "while its teacher explained the images"
    return teacher


def open_data(
    settings: TrainSettings,
    reporter: Reporter | None = None,
    watched: Callable[[Progress], Progress] = lambda tell: tell,
) -> Splits:
    """Return the data of a run: the same split each time, decoded once; who is told of the work may be watched."""
    reporter = reporter or Reporter()
    with reporter.work("reading images") as tell:
        splits = load_data(
            settings.data,
            data_dir=settings.data_dir or inside(settings.out, "data"),
            cache_dir=settings.cache_dir or inside(settings.out, "cache"),
            **_selection(settings),
            swap=settings.swap,
            shuffle_labels=settings.shuffle_labels,
            strict=settings.strict,
            progress=watched(tell),
            tell=lambda line: reporter.say(f"note: {line}"),
        )
    counts = f"{len(splits.train)} train, {len(splits.val)} val, {counted(len(splits.test), 'test images')}"
    reporter.say(f"{settings.data}: {counts} of {counted(len(splits.train.classes), 'classes')}")
    if splits.skipped:
        reporter.say(f"skipped {counted(len(splits.skipped), 'unreadable images')}:")
    reporter.say(*(f"  {file.name}: {file.reason}" for file in splits.skipped[:10]))
    reporter.say(*(f"note: {note}" for note in splits.notes))
    return splits


def _description(settings: TrainSettings, module: ClassifierModule, images: ImageSet) -> dict[str, Any]:
    """Return what the run says of its network in every epoch."""
    classifier = Classifier(module.network, module.space, images.classes, images.images.shape[1])
    build = {"model": settings.model, "softplus": settings.softplus}
    build |= {"num_classes": len(classifier.classes), "image_size": classifier.image_size}
    lasting = {name: value for name, value in settings.config().items() if name not in MAY_CHANGE}
    extra = {"recipe": settings.recipe, "objective": repr(settings.objective), "settings": fingerprint(lasting)}
    return describe(classifier, build=build, extra=extra)


def _whereabouts(trainer: Trainer) -> str:
    done, steps = trainer.fit_loop.epoch_loop.batch_progress.current.completed, trainer.num_training_batches
    if steps == math.inf:  # before the first epoch
        return "getting ready"
    doing = "validating" if trainer.validating or done == steps else f"{done} of {counted(int(steps), 'steps')}"
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {doing}"


def _claim(settings: TrainSettings, config: Mapping[str, Any]) -> None:
    """Make the folder of the run, with what its training can be started from again."""
    with in_run(settings.out / CONFIG) as draft:
        draft.write_text(f"# {SEAL} {OPEN}\n{yaml.safe_dump(config, sort_keys=False)}", encoding="utf-8")
        seal(draft)


def _callbacks(settings: TrainSettings, reporter: Reporter) -> list[Callback]:
    table = MetricsTable(settings.out / METRICS, lambda note: reporter.say(f"note: {note}"))
    shown: Callback = RichProgressBar(leave=True) if reporter.interactive else EpochLines(reporter)
    # Lightning divides the cores among processes on one machine, whatever number was asked for.
    threads = torch.get_num_threads()
    return [table, shown, LambdaCallback(on_fit_start=lambda *_: torch.set_num_threads(threads))]


def _logger(settings: TrainSettings) -> Any:
    if not settings.tensorboard:
        return False
    try:
        return TensorBoardLogger(inside(settings.out, "tensorboard").parent, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise RunError(
            "TensorBoard is not installed, so nothing can be logged for it. Run "
            "`pip install 'gradsculpt[tensorboard]'`, or leave --tensorboard out."
        ) from error
