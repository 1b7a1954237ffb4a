"""One training by Lightning, quietly: what a run and a retraining have in common."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from gradsculpt.data import Augment, ImageSet, loader, pixel_statistics
from gradsculpt.data.batches import WHOLE, Share
from gradsculpt.data.load import find_source
from gradsculpt.data.resident import ResidentLoader, fits, size_on_device
from gradsculpt.errors import ArgumentError, Interrupted, RunError, first_line
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, freeze, started
from gradsculpt.training.module import ClassifierModule
from gradsculpt.training.normalisation import batch_normalised, synchronize
from gradsculpt.training.settings import TrainSettings
from gradsculpt.training.together import several
from gradsculpt.wording import counted, size_of

Loader = DataLoader[Any] | ResidentLoader

_HALF = ("16-mixed", "16")


def build_module(
    settings: TrainSettings, images: ImageSet, tell: Callable[[str], None] = lambda note: None
) -> ClassifierModule:
    """Build a network for some training images, and everything that trains it, from the seed.

    `tell` is given what has to be known of the weights that it starts from.
    """
    classes, size = images.classes, images.images.shape[1]
    torch.manual_seed(settings.seed)
    space = None
    if settings.weights is None:
        network = build(settings.model, num_classes=len(classes), image_size=size, softplus=settings.softplus)
    else:
        start = started(settings.model, settings.weights, classes=classes, image_size=size, softplus=settings.softplus)
        network, space = start.network, start.space
        left = freeze(network, settings.freeze, start.head)
        for note in start.notes:
            tell(note)
        if settings.freeze:
            total = sum(parameter.numel() for parameter in network.parameters())
            tell(f"{left:,} of {total:,} parameters are trained, the others stay as they are")
    if settings.devices * settings.nodes > 1:
        if settings.sync_batchnorm:
            synchronize(network)
        elif batch_normalised(network):
            tell(
                f"batch normalisation takes its statistics from the {counted(settings.batch_size, 'images')} of each "
                "device; with --sync-batchnorm, from those of all, which takes longer"
            )
    return ClassifierModule(
        network,
        settings.objective,
        _space(settings, images, space, tell),
        augment_of(settings),
        settings.optimization,
        epochs=settings.epochs,
        seed=settings.seed,
        channels_last=settings.channels_last,
        graphs=settings.graphs,
        on_nan=settings.on_nan,
        tell=tell,
    )


def _space(
    settings: TrainSettings, images: ImageSet, wanted: InputSpace | None, tell: Callable[[str], None]
) -> InputSpace:
    """Return how images are normalised: as the settings say, else as the weights want, else by the images."""
    said = settings.statistics
    if said is None:
        if wanted is None:
            raise ArgumentError(
                f"it is not known how the images were normalised that the weights {settings.weights} of "
                f"{settings.model} were trained on; pass --statistics '[[R, G, B], [R, G, B]]', mean and standard "
                "deviation, or --statistics data for those of your images."
            )
        return wanted
    space = InputSpace(*(pixel_statistics(images) if said == "data" else said))
    if wanted is not None and space != wanted:
        tell(f"the weights want images normalised by {wanted.mean} and {wanted.std}, and --statistics says otherwise")
    return space


def build_trainer(settings: TrainSettings, **options: Any) -> Trainer:
    """Return Lightning's trainer, `RunError` if there is none here; options are added to what the settings decide."""
    decided: dict[str, Any] = {
        "default_root_dir": settings.out,
        "max_epochs": settings.epochs,
        "accumulate_grad_batches": settings.accumulate,
        "gradient_clip_val": settings.clip,
        "accelerator": {"cuda": "gpu"}.get(settings.device, settings.device),
        "devices": settings.devices,
        "num_nodes": settings.nodes,
        "use_distributed_sampler": False,  # batches come shared out
        "precision": settings.precision,
        "inference_mode": False,  # gradient maps are read during validation
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "logger": False,
    }
    if settings.devices * settings.nodes > 1:
        decided["strategy"] = several()
    if settings.precision in _HALF and settings.device in ("cpu", "auto") and not torch.accelerator.is_available():
        # Lightning would take bfloat16 in silence, and scale no loss.
        options["plugins"] = [*options.get("plugins", ()), MixedPrecision("16-mixed", "cpu")]
        decided["precision"] = None
    try:
        return Trainer(**decided | options)
    except (MisconfigurationException, ValueError, ImportError) as error:
        raise RunError(
            f"--device {settings.device} --devices {settings.devices} --precision {settings.precision} cannot be had "
            f"here: {first_line(error, kind=False)}"
        ) from error


def batches(
    settings: TrainSettings,
    images: ImageSet,
    device: torch.device | None = None,
    tell: Callable[[str], None] = lambda note: None,
    share: Share = WHOLE,
) -> Loader:
    """Return the training batches of some images, in the order of the seed; of several processes, the share of one.

    Where a single CUDA device trains that has room for them, they stay there, and batches come augmented; `tell` is
    given where they are.
    """
    # A last batch of a few images would make the statistics of BatchNorm jump.
    drop_last = len(images) >= 2 * settings.batch_size * share.of
    order = {"shuffle": True, "seed": settings.seed, "drop_last": drop_last}
    order["replays"] = settings.objective.requirements.replays
    return _loader(settings, images, device, tell, order, augment_of(settings), share)


def held_out_batches(
    settings: TrainSettings, images: ImageSet, device: torch.device | None = None, share: Share = WHOLE
) -> Loader:
    """Return the batches of images to validate on, in the order of the set; where they are, as of `batches`."""
    share = share if len(images) >= share.of else WHOLE  # sums that all have count as often as each other
    return _loader(settings, images, device, lambda note: None, {"shuffle": False}, None, share)


def augment_of(settings: TrainSettings) -> Augment:
    """Return how training images are changed: as the settings say, or else as suits the data."""
    return settings.augment or find_source(settings.data).augment()


def _loader(
    settings: TrainSettings,
    images: ImageSet,
    device: torch.device | None,
    tell: Callable[[str], None],
    order: Mapping[str, Any],
    augment: Augment | None,
    share: Share,
) -> Loader:
    device, size, alone = device or torch.device("cpu"), settings.batch_size, settings.devices * settings.nodes == 1
    taken = size_of(size_on_device(images))
    if alone and fits(images, device):
        tell(f"images stay on {device} ({taken})")
        return ResidentLoader(images, size, device, augment=augment, **order)
    if device.type != "cuda":
        return loader(images, size, share=share, placed=True, **order)
    tell(f"images ({taken}) are sent to {device} batch by batch" + (", where they do not all fit" if alone else ""))
    return loader(images, size, ahead=device, share=share, placed=True, **order)


def finished(module: ClassifierModule, images: ImageSet) -> Classifier:
    """Return the classifier of a trained module, where its network is, in evaluation mode."""
    return Classifier(module.network, module.space, images.classes, images.images.shape[1]).eval()


@contextmanager
def quietly() -> Iterator[None]:
    """Keep Lightning from telling about itself inside the block, and from ending the process at a signal."""
    before = signal.getsignal(signal.SIGINT)
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    except SystemExit as stopped:
        # Lightning ends the process at a signal, and leaves that of Ctrl-C switched off.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
        if isinstance(stopped, SIGTERMException):
            raise Interrupted(number=signal.SIGTERM) from stopped
        raised = stopped.__context__
        raise (raised if isinstance(raised, KeyboardInterrupt) else KeyboardInterrupt()) from stopped
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
