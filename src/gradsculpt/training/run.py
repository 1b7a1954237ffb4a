"""The run directory: what a training leaves behind, and how it is started, resumed and finished."""

import logging
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from gradsculpt.data import Splits, load_data, loader, pixel_statistics
from gradsculpt.data.sources import find_source
from gradsculpt.errors import RunError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, save
from gradsculpt.training.module import ClassifierModule
from gradsculpt.training.progress import EpochLines, MetricsTable
from gradsculpt.training.settings import TrainSettings

CONFIG = "config.yaml"


def fit(settings: TrainSettings, config: str, console: Console) -> Classifier:
    """Train a classifier and leave a run directory.

    Args:
        settings: What to train, on what, how long.
        config: The text of config.yaml, from which the same training can be started again.
        console: Where progress goes.

    Returns:
        The classifier with the weights of the epoch that was best on the validation images.

    Raises:
        GradsculptError: If the folder is in the way, or data, network or objective cannot be used.
    """
    _keep_others(settings)
    # What Lightning says of itself is not news to who runs a command.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    splits = open_data(settings, console)
    module = _module(settings, splits)
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / CONFIG).write_text(config)
    best, last = _train(module, settings, splits, console)
    state = torch.load(best.best_model_path or last, map_location="cpu", weights_only=True)["state_dict"]
    network = module.network.cpu().eval()
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    size = splits.train.images.shape[1]
    classifier = Classifier(network, module.space, splits.train.classes, size)
    made = {"model": settings.model, "softplus": settings.softplus}
    score = None if best.best_model_score is None else float(best.best_model_score)
    save(
        settings.out,
        classifier,
        build=made | {"num_classes": len(splits.train.classes), "image_size": size},
        extra={"recipe": settings.recipe, "objective": repr(settings.objective), "val_accuracy": score},
    )
    return classifier


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
        classes=classes,
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
    best = ModelCheckpoint(
        folder, filename="best", monitor="val_accuracy", mode="max", save_last=True, enable_version_counter=False
    )
    trainer = _trainer(settings, [best, MetricsTable(settings.out / "metrics.csv")], console)
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
                loader(splits.train, settings.batch_size, shuffle=True, seed=settings.seed, drop_last=drop_last),
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
        strict=settings.strict,
        progress=_reading(console) if console else None,
    )
    if console is not None:
        counts = ", ".join(f"{len(getattr(splits, part))} {part}" for part in ("train", "val", "test"))
        console.print(f"{settings.data}: {counts} images of {len(splits.train.classes)} classes", highlight=False)
        if splits.skipped:
            console.print(f"{len(splits.skipped)} unreadable images were skipped:", highlight=False)
            for file in splits.skipped[:10]:
                console.print(f"  {file.name}: {file.reason}", highlight=False)
    return splits


def _reading(console: Console) -> Callable[[int, int], None]:
    """Report the decoding of images: a bar on a terminal, a line each tenth in a log."""
    bar = console.status("reading images") if console.is_terminal else None
    shown = -1

    def report(done: int, total: int) -> None:
        nonlocal shown
        if bar is not None:
            bar.update(f"reading images: {done} of {total}")
            (bar.start if done < total else bar.stop)()
        elif 10 * done // max(1, total) > shown:
            shown = 10 * done // max(1, total)
            console.print(f"reading images: {done} of {total}", highlight=False)

    return report


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
    try:
        return Trainer(
            default_root_dir=settings.out,
            log_every_n_steps=1,
            max_epochs=settings.epochs,
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
