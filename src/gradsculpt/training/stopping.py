"""How a training ends before its last epoch: by a signal or by its time limit; and what is there then."""

import shlex
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradsculpt.errors import RunError
from gradsculpt.models.checkpoint import opened
from gradsculpt.progress import Progress, seconds
from gradsculpt.runs import CONFIG
from gradsculpt.training.settings import TrainSettings

_SHARE, _ENDING = 0.1, 5.0
"""What is kept of the time for ending: a share of it, and no more than so many seconds."""

_EPOCHS = 3  # so many of the last ones say how long the next one takes


class TimeIsUp(BaseException):
    """The time limit of a training is near; raised between two of its steps, as a stop by a signal would be."""


class Course:
    """Where a training is, in all of its stages, and how long it may still go on.

    Args:
        limit: Its time, as `gradsculpt.progress.seconds` reads it; None for as long as it takes.
        started: Since when the time counts, on the clock; None for now.
        clock: Seconds.
    """

    def __init__(
        self, limit: str | None = None, started: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock, self.where, self.stage = clock, "while it got ready", ""
        allowed = float("inf") if limit is None else seconds(limit)
        self._end = (clock() if started is None else started) + allowed - min(_ENDING, _SHARE * allowed)
        self._since = clock()

    @property
    def left(self) -> float:
        """Seconds that are left; infinitely many without a limit."""
        return self._end - self.clock()

    def check(self, needed: float = 0.0) -> None:
        """Raise `TimeIsUp` if less time is left than what comes next needs."""
        if self.left <= needed:
            raise TimeIsUp

    def watched(self, tell: Progress) -> Progress:
        """Return what tells of work, and looks at the time whenever it does."""

        def told(done: int, among: int | None = None) -> None:
            tell(done, among)
            self.check()

        return told

    def started(self, epoch: int, epochs: int) -> None:
        """Note the epoch that has begun, from 1."""
        self.where = f"in epoch {epoch} of {epochs}{self.stage}"


class WithinTime(Callback):
    """Tells the course which epoch has begun, and stops the training in time.

    It stops at the end of an epoch if the next one would not fit, by the times of those before, and in the middle of
    one if it takes longer than that. Only the clock is asked, never the device. Processes that do not end with this one
    stop at the ends of epochs alone: not `alone`, one that stopped in the middle would leave the others waiting.

    It comes before what reads metrics: these are gathered from all processes when one of them first asks.
    """

    def __init__(self, course: Course, *, alone: bool = True) -> None:
        self._course, self._took, self._alone = course, list[float](), alone
        self._epoch = self._step = course.clock()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note when the first epoch began."""
        self._epoch = self._course.clock()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which epoch has begun."""
        self._course.started(trainer.current_epoch + 1, trainer.max_epochs or 0)
        self._step = self._course.clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if there is no time for another step."""
        now = self._course.clock()
        took, self._step = now - self._step, now
        self._check(trainer, took if batch_idx + 1 < trainer.num_training_batches else 0.0)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop if there is no time left."""
        self._check(trainer)

    def _check(self, trainer: Trainer, needed: float = 0.0) -> None:
        if trainer.is_global_zero and self._alone:
            self._course.check(needed)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, when the epoch has been kept, if another one would be too long; all processes at once."""
        now = self._course.clock()
        self._took.append(now - self._epoch)
        self._epoch = now  # what is kept of an epoch is written in the time of the next one
        # The first one is longer: what is used for the first time gets ready in it.
        needed = max(self._took[1:][-_EPOCHS:] or self._took)
        last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.should_stop |= bool(trainer.strategy.broadcast(not last and self._course.left <= needed))


class Interruptible(Callback):
    """Lets a second Ctrl-C end a training that stops because of a first one, in which Lightning would not hear it."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGINT)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Hear it again."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._handler)


def left_behind(settings: TrainSettings) -> str:
    """Say what a training that was stopped has left in its folder, and how it goes on."""
    again = f"`gradsculpt train --out {shlex.quote(str(settings.out))} --resume`"
    with suppress(RunError):
        if (network := opened(settings.out)[2]) is None:  # an older version wrote it
            return f"the network that was there before can be used as it is, and {again} goes on"
        which = "the last whole one" if network.keep == "last" else "the best so far"
        return f"epoch {network.epoch} ({which}) can be used as it is, and {again} goes on"
    going_on = f"{again} goes on" if (settings.out / CONFIG).is_file() else "the same command starts it anew"
    return f"there is no network to look at yet, as none of its epochs is whole, and {going_on}"
