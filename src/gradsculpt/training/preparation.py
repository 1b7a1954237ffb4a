"""What is said and refused before a training: what it is going to do, how long it takes, and what cannot be had."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from gradsculpt.accidents import check_room
from gradsculpt.data import Outline
from gradsculpt.errors import DataError, GradsculptError, RunError
from gradsculpt.machine import cores, free_memory, resident_memory
from gradsculpt.progress import Reporter, seconds
from gradsculpt.runs import CHECKPOINTS, CONFIG, METRICS
from gradsculpt.training.demand import Demand, Trial, tried, untouched_randomness
from gradsculpt.training.fitting import build_trainer
from gradsculpt.training.recordable import records
from gradsculpt.training.settings import TrainSettings
from gradsculpt.wording import counted, size_of

_UNTRIED = 2**20
"""Pixels of a batch that fit anywhere: where nobody listens, no time is spent on them."""
_FEW_A_CLASS, _FEW_STEPS, _STEP = 50, 200, 32
_LONG = 2000
"""Steps from which on one adversarial step was seen to make the maps of networks with ReLU sparser."""
_MAPS = 128
_LIBRARIES = 150e6  # bytes that are taken when a library works for the first time

_DRAWN = ("cells", "digits")


def prepare(settings: TrainSettings, outline: Outline | None, reporter: Reporter) -> None:
    """Refuse what cannot be trained, and say what is going to be done and how long it takes; nothing is written.

    Without an outline, what the settings alone tell is checked.

    Raises:
        GradsculptError: If device, objective or network cannot be had, the data lack the attention that the objective
            follows, or the training takes more memory than there is.
    """
    device = build_trainer(settings).strategy.root_device
    needs = settings.objective.requirements
    if outline is None:
        return
    if needs.attention and not outline.attention:
        raise DataError(
            f"{type(settings.objective).__name__} needs attention maps, and {settings.data} has none. Use "
            "data that has them (cells and cub-gha have; a folder of images has if maps, masks or boxes lie in its "
            "attention/, as attention/train/cat/x.png for train/cat/x.jpg), or another --recipe."
        )
    if reporter.console.quiet and settings.batch_size * outline.size**2 <= _UNTRIED:
        return
    with untouched_randomness([str(device)] if device.type == "cuda" else []):
        if (trial := tried(settings, outline)) is None:
            return
        _check_memory(settings, outline, trial[1], device)
        if not (settings.out / CHECKPOINTS).exists():
            check_room(settings.out, trial[1].kept, "the network and its two checkpoints")
        if not reporter.console.quiet:
            _announce(settings, outline, *trial, device, reporter)


def _check_memory(settings: TrainSettings, outline: Outline, demand: Demand, device: torch.device) -> None:
    """Raise `RunError` unless the memory suffices, as far as it is known."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    needed = demand.memory + _LIBRARIES
    if free is None or needed <= free:
        return
    left, advice = free - demand.fixed - _LIBRARIES, list[str]()
    if (fitting := int(left / max(1.0, demand.image))) >= 2:
        batch = 2 ** int(math.log2(fitting))
        steps = math.ceil(settings.accumulate * demand.batch / batch)
        advice.append(f"--batch-size {batch} --accumulate {steps} for as many images in each step")
    side = outline.size * math.sqrt(max(0.0, left) / max(1.0, demand.image * demand.batch))
    if side >= _STEP:
        advice.append(f"--image-size {int(side) // _STEP * _STEP}")
    raise RunError(
        f"training {settings.model} on {counted(demand.batch, 'images')} of {outline.size} x {outline.size} pixels at "
        f"a time takes about {size_of(needed)} of memory, and {size_of(free)} are free, so the system would end it. "
        f"Pass {', or '.join(advice) or 'a smaller --image-size, or another --model'}."
    )


def _announce(
    settings: TrainSettings, outline: Outline, trial: Trial, demand: Demand, device: torch.device, reporter: Reporter
) -> None:
    side, counts = f"{outline.size} x {outline.size} pixels", outline.counts
    what = f"{settings.model}, {demand.parameters:,} parameters, for {counted(outline.classes, 'classes')} of images of"
    memory = f"{size_of(demand.memory + _LIBRARIES + resident_memory())} of memory"
    if counts is None:
        reporter.say(f"to train: {what} {side}; about {memory}")
        return
    processes = settings.devices * settings.nodes
    batch, (train, val, _) = settings.batch_size * processes, counts
    # As the loader does: the last batch is left out if it is not full, but for very few images.
    steps = train // batch if train >= 2 * batch else math.ceil(train / batch)
    total = settings.epochs * steps
    reporter.say(
        f"to train: {what} {side}; {counted(settings.epochs, 'epochs')} of {counted(steps, 'steps')}, "
        f"{counted(train, 'images')} and {val} to validate"
    )
    if processes == 1 and settings.objective.requirements.teacher is None:
        step, prediction = trial.seconds(total, device)
        batches = (val + 3 * min(val, _MAPS, settings.batch_size)) / demand.batch
        epoch = steps * step + batches * prediction
        where = counted(settings.threads or cores().threads, "threads") if device.type == "cpu" else str(device)
        # From recordings, which are not tried here, steps are shorter.
        about = "at most" if settings.graphs != "off" and records(device) else "about"
        reporter.say(f"{about} {_lasting(settings.epochs * epoch)} on {where}, {_lasting(epoch)} an epoch; {memory}")
        if about == "about" and settings.max_time and settings.epochs * epoch > seconds(settings.max_time):
            reporter.say(
                f"note: that is longer than --max-time {settings.max_time}, so it will stop before its last epoch; "
                "called again with --resume, it goes on"
            )
    else:
        reporter.say(f"about {memory}{' a process' if processes > 1 else ''}")
    reporter.say(*(f"note: {note}" for note in _advice(settings, trial, train / outline.classes, total)))


def _advice(settings: TrainSettings, trial: Trial, a_class: float, steps: int) -> Iterator[str]:
    """Yield what does not suit small images, or a small set of photographs; the synthetic ones are easier."""
    if trial.grid:
        yield trial.grid
    if settings.weights is not None:
        if settings.objective.requirements.smooth and trial.has_corners and steps < _LONG:
            yield (
                f"in {counted(steps, 'steps')} from given weights, one adversarial step steadies the maps of a network "
                "with ReLUs less, and may not make them sparser; --softplus 10, as in --recipe fine-tune, is surer"
            )
        return
    if settings.data in _DRAWN or settings.shuffle_labels:
        return
    if a_class < _FEW_A_CLASS:
        yield (
            f"{a_class:.0f} images a class are few to learn from scratch, and validation may stay near chance; "
            "--recipe fine-tune starts from weights that know photographs"
        )
    elif steps < _FEW_STEPS:
        yield (
            f"{counted(steps, 'steps')} are few to learn from scratch; pass more --epochs, a smaller --batch-size, or "
            "--recipe fine-tune"
        )


def _lasting(seconds: float) -> str:
    """Return a time in a unit that suits it."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}" if seconds < 10 * unit else f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1g} s"


@contextmanager
def nothing_left(settings: TrainSettings) -> Iterator[None]:
    """Remove what a training has begun to write in its folder, if it is refused before its first epoch has ended.

    Downloads are kept, and whatever was there before.
    """
    out = settings.out
    begun = [out / name for name in (CONFIG, METRICS, "cache", CHECKPOINTS) if not (out / name).exists()]
    try:
        yield
    except GradsculptError:
        if out / CHECKPOINTS in begun and not any(out.glob(f"**/{CHECKPOINTS}/*.ckpt")):
            for path in begun:
                shutil.rmtree(path, ignore_errors=True)
                with suppress(OSError):
                    path.unlink()
        raise
