"""The run directory: what a training leaves behind, and how it is started, resumed and finished."""

import logging
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from gradsculpt.data import Splits, load_data, loader, pixel_statistics
from gradsculpt.data.sources import find_source
from gradsculpt.errors import RunError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, save
from gradsculpt.training.distillation import taught
from gradsculpt.training.module import ClassifierModule
from gradsculpt.training.progress import EpochLines, MetricsTable
from gradsculpt.training.settings import TrainSettings

CONFIG = "config.yaml"


def fit(settings: TrainSettings, config: str, console: Console) -> Classifier:
    """Train a classifier and leave a run directory.

    With several devices, the command that called this is run once for each of them; the first process alone writes
    the run and speaks.

    Args:
        settings: What to train, on what, how long.
        config: The text of config.yaml, from which the same training can be started again.
        console: Where progress goes.

    Returns:
        The classifier with the weights of the epoch that was best on the validation images; of the last epoch if labels
        are shuffled.

    Raises:
        GradsculptError: If the folder is in the way, or data, network or objective cannot be used.
    """
    first = _is_first_process()
    if first:
        _keep_others(settings)
    console.quiet = console.quiet or not first
    # What Lightning says of itself is not news to who runs a command.
    for part in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(part).setLevel(logging.ERROR)
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    splits = open_data(settings, console)
    objective = settings.objective
    if objective.requirements.teacher is not None:
        if settings.devices * settings.nodes > 1:
            raise RunError(
                f"{type(objective).__name__} trains a teacher first, whose maps one process computes; "
                f"--devices {settings.devices} --nodes {settings.nodes} cannot share them. Leave both at 1."
            )
        if first:
            _claim(settings, config)  # now, so that a run can be resumed whose teacher was interrupted
        progress = _progress(console, "explaining images")
        splits, objective = taught(settings, config, splits, console, progress, fit)
    module = _module(replace(settings, objective=objective), splits)
    if first:
        _claim(settings, config)
    best, last = _train(module, settings, splits, console)
    # Where labels are shuffled, validation is chance in every epoch, and the last one has learnt most by heart.
    chosen = last if settings.shuffle_labels else best.best_model_path or last
    state = torch.load(chosen, map_location="cpu", weights_only=True)["state_dict"]
    network = module.network.cpu().eval()
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    size = splits.train.images.shape[1]
    classifier = Classifier(network, module.space, splits.train.classes, size)
    if not first:
        return classifier
    made = {"model": settings.model, "softplus": settings.softplus}
    score = None if settings.shuffle_labels or best.best_model_score is None else float(best.best_model_score)
    save(
        settings.out,
        classifier,
        build=made | {"num_classes": len(splits.train.classes), "image_size": size},
        extra={"recipe": settings.recipe, "objective": repr(settings.objective), "val_accuracy": score},
    )
    return classifier


def _claim(settings: TrainSettings, config: str) -> None:
    """Make the folder of the run, with what its training can be started from again."""
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / CONFIG).write_text(config)


def _module(settings: TrainSettings, splits: Splits) -> ClassifierModule:
    """Build the network and everything that trains it, from the seed."""
    classes, size = len(splits.train.classes), splits.train.images.shape[1]
    seed_everything(settings.seed, verbose=False)
    return ClassifierModule(
        build(settings.model, num_classes=classes, image_size=size, softplus=settings.softplus),
        settings.objective,
        InputSpace(*pixel_statistics(splits.train)),
        settings.augment or find_source(settings.data).augment(),
        settings.optimization,
        epochs=settings.epochs,
        seed=settings.seed,
        channels_last=settings.channels_last,
    )


def _train(
    module: ClassifierModule, settings: TrainSettings, splits: Splits, console: Console
) -> tuple[ModelCheckpoint, Path]:
    """Train, and return what remembers the best epoch and the checkpoint of the last one.

    Raises:
        KeyboardInterrupt: If the user stopped the training; the last whole epoch is kept.
    """
    folder = settings.out / "checkpoints"
    best = ModelCheckpoint(folder, filename="best", monitor="val_accuracy", mode="max", enable_version_counter=False)
    # With save_last in the above, "last" would be the last epoch that was the best so far.
    latest = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
    trainer = _trainer(settings, [best, latest, MetricsTable(settings.out / "metrics.csv")], console)
    last = folder / "last.ckpt"
    # A last batch of a few images would make the statistics of BatchNorm jump.
    drop_last = len(splits.train) >= 2 * settings.batch_size
    with warnings.catch_warnings():
        # Whole batches come straight from a memory map, so worker processes would only add copies.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
        try:
            trainer.fit(
                module,
                loader(
                    splits.train,
                    settings.batch_size,
                    shuffle=True,
                    seed=settings.seed,
                    drop_last=drop_last,
                    replays=settings.objective.requirements.replays,
                ),
                loader(splits.val, settings.batch_size, shuffle=False, seed=settings.seed),
                ckpt_path=last if settings.resume and last.exists() else None,
                weights_only=True,
            )
        except SystemExit as stopped:
            # Lightning ends the process at Ctrl-C, and leaves the signal switched off.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from stopped
    return best, last


def open_data(settings: TrainSettings, console: Console | None = None) -> Splits:
    """Return the data of a run: the same split each time, decoded once."""
    splits = load_data(
        settings.data,
        data_dir=settings.data_dir or settings.out / "data",
        cache_dir=settings.cache_dir or settings.out / "cache",
        image_size=settings.image_size,
        val_fraction=settings.val_fraction,
        seed=settings.seed,
        train_count=settings.train_count,
        shuffle_labels=settings.shuffle_labels,
        strict=settings.strict,
        progress=_progress(console, "reading images") if console else None,
    )
    if console is not None:
        counts = ", ".join(f"{len(getattr(splits, part))} {part}" for part in ("train", "val", "test"))
        console.print(f"{settings.data}: {counts} images of {len(splits.train.classes)} classes", highlight=False)
        if splits.skipped:
            console.print(f"{len(splits.skipped)} unreadable images were skipped:", highlight=False)
            for file in splits.skipped[:10]:
                console.print(f"  {file.name}: {file.reason}", highlight=False)
        for note in splits.notes:
            console.print(f"note: {note}", highlight=False)
    return splits


def _progress(console: Console, work: str) -> Callable[[int, int], None]:
    """Report work on images: a bar on a terminal, a line each tenth in a log."""
    bar = console.status(work) if console.is_terminal else None
    shown = -1

    def report(done: int, total: int) -> None:
        nonlocal shown
        if bar is not None:
            bar.update(f"{work}: {done} of {total}")
            (bar.start if done < total else bar.stop)()
        elif 10 * done // max(1, total) > shown:
            shown = 10 * done // max(1, total)
            console.print(f"{work}: {done} of {total}", highlight=False)

    return report


def _is_first_process() -> bool:
    """Tell whether this process is the first of those that train together, by what their launcher has told it."""
    ranks = [os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")]
    return next((rank for rank in ranks if rank), "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def _keep_others(settings: TrainSettings) -> None:
    """Refuse to write over a run or a file."""
    if (settings.out / CONFIG).exists() and not settings.resume:
        raise RunError(
            f"{settings.out} already holds a run, which would be overwritten. Pass --resume to go on with it, "
            "or another --out."
        )
    if settings.out.exists() and not settings.out.is_dir():
        raise RunError(f"{settings.out} is a file, so no run can be written there. Pass another --out.")


def _trainer(settings: TrainSettings, callbacks: list[Callback], console: Console) -> Trainer:
    progress: Callback = RichProgressBar(leave=True) if console.is_terminal else EpochLines(console)
    if settings.threads is not None:
        # Lightning divides the cores among processes on one machine, whatever number was asked for.
        threads = settings.threads
        callbacks = [*callbacks, LambdaCallback(on_fit_start=lambda *_: torch.set_num_threads(threads))]
    try:
        return Trainer(
            default_root_dir=settings.out,
            log_every_n_steps=1,
            max_epochs=settings.epochs,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip,
            accelerator={"cuda": "gpu"}.get(settings.device, settings.device),
            devices=settings.devices,
            num_nodes=settings.nodes,
            precision=settings.precision,  # type: ignore[arg-type]
            callbacks=[*callbacks, progress],
            enable_progress_bar=console.is_terminal,
            logger=_tensorboard(settings.out) if settings.tensorboard else False,
            # Gradient maps are read during validation.
            inference_mode=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise RunError(
            f"--device {settings.device} --devices {settings.devices} --precision {settings.precision} cannot be had "
            f"here: {error}"
        ) from error


def _tensorboard(folder: Path) -> TensorBoardLogger:
    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise RunError(
            "TensorBoard is not installed, so nothing can be logged for it. Run "
            "`pip install 'gradsculpt[tensorboard]'`, or leave --tensorboard out."
        ) from error
