"""Processes that train together: how they are started, wait for each other, and end."""

import _thread
import atexit
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from gradsculpt.companions import Companion, end
from gradsculpt.errors import GradsculptError, RunError, first_line
from gradsculpt.machine import is_first_here

_WAIT = timedelta(minutes=10)
"""How long a process waits for the others in a step, before it takes them for lost."""
_PREPARING = timedelta(days=1)
"""How long it waits for one that prepares what all read."""
_GRACE = 10.0  # seconds that are left to a process for ending in good order
_MOMENT = 0.2
_PARENT = "GRADSCULPT_PARENT"
_UNUSED = "Expected to have finished reduction in the prior iteration"
_LOST = re.compile(r"gloo|nccl|socket|connection|broken pipe|process group|timed out", re.IGNORECASE)

_HOW = re.compile(r"connection [a-z ]+ by peer|timed out[^\n.\[]*", re.IGNORECASE)


class _Children:
    """The other processes of this machine, started by this one; there are none where a launcher starts all."""

    def __init__(self) -> None:
        self._all: list[Companion] = []
        self._ended = threading.Event()
        self.failure, self.called_off = "", False

    def start(self, processes: int, trainer: Trainer) -> None:
        """Run this process's command once more for each further device, and watch over all."""
        place = trainer.strategy.cluster_environment  # type: ignore[attr-defined]
        here = {"MASTER_ADDR": place.main_address, "MASTER_PORT": place.main_port, "NODE_RANK": place.node_rank()}
        here |= {"WORLD_SIZE": trainer.world_size, "LOCAL_RANK": 0}
        os.environ.update({name: str(value) for name, value in here.items()})
        for rank in range(1, processes):
            self._all.append(Companion.started(sys.argv[1:], {"LOCAL_RANK": str(rank), _PARENT: str(os.getpid())}))
        if self._all:
            threading.Thread(target=self._watch, daemon=True).start()
            atexit.register(self.end, _GRACE)

    def __bool__(self) -> bool:
        return bool(self._all)

    def _watch(self) -> None:
        while not self._ended.wait(_MOMENT):
            for rank, each in enumerate(self._all, 1):
                name = f"process {rank} of the {len(self._all) + 1} that train together"
                self.failure = self.failure or each.failure(name)
            if self.failure:
                break
        # This process notices by itself if it is about to hear from the other; or else it is told, and at last ended.
        for step in (self._interrupt, self._exit):
            if self._ended.wait(_GRACE / 2):
                return
            step()

    def _interrupt(self) -> None:
        self.called_off = True
        _thread.interrupt_main()

    def _exit(self) -> None:
        sys.stderr.write(f"gradsculpt: {self.failure}\n")
        sys.stderr.flush()
        self.end()
        os._exit(2)

    def end(self, patience: float = 0.0) -> None:
        """End the others, after they had some seconds to do so by themselves."""
        self._ended.set()
        end(self._all, patience)

    def why(self) -> str:
        """Return what went wrong in one of the others, which may be about to end; nothing if nothing did."""
        until = time.monotonic() + _GRACE / 2
        while self._all and not self.failure and time.monotonic() < until:
            time.sleep(_MOMENT)
        return self.failure


_CHILDREN = _Children()
_WAITING: list[Any] = []  # the group in which processes wait for what one of them prepares


def several(**options: Any) -> DDPStrategy:
    """Return how Lightning trains in several processes; options are those of PyTorch's `DistributedDataParallel`."""
    # Buffers are put together before they count, at validation, and not at every step.
    chosen: dict[str, Any] = {"broadcast_buffers": False, "gradient_as_bucket_view": True, **options}
    return DDPStrategy(timeout=_WAIT, **chosen)


@contextmanager
def together(trainer: Trainer, going_on: Callable[[], str]) -> Iterator[None]:
    """Have all processes of a training here inside the block; when one fails, all end, and one tells why.

    Args:
        trainer: A trainer that says how many there are.
        going_on: Called for what there is of the training then, and how it goes on.

    Raises:
        RunError: If another process failed or is lost.
    """
    if trainer.world_size == 1 or _WAITING:  # which a training has begun that this one is a stage of, or comes after
        yield
        return
    try:
        _join(trainer)
        yield
    except BaseException as error:
        lost = _lost(error)
        why = _CHILDREN.why() if lost else _CHILDREN.failure if _CHILDREN.called_off else ""
        _CHILDREN.end()
        if lost and not why:
            found = _HOW.search(str(error))
            how = found[0] if found else first_line(error)
            why = f"another process of this training ended, or cannot be reached ({how}), so it cannot go on"
        elif _UNUSED in str(error):
            why = (
                "not all parameters take part in the loss of every step, so several processes wait for gradients that "
                "do not come. Train on one device, or with a --model that leaves none of its layers out by chance"
            )
        if why and not isinstance(error, GradsculptError):
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which Lightning switches off
            raise RunError(f"{why}; {going_on()}.") from error
        raise


def _join(trainer: Trainer) -> None:
    strategy: Any = trainer.strategy
    if not strategy.cluster_environment.creates_processes_externally:
        _CHILDREN.start(trainer.num_devices, trainer)
    if parent := os.environ.get(_PARENT):
        threading.Thread(target=_follow, args=(int(parent),), daemon=True).start()
    strategy.setup_environment()
    _WAITING[:] = [distributed.new_group(backend="gloo", timeout=_PREPARING)]


@contextmanager
def in_turn() -> Iterator[None]:
    """Let the first process of each machine do the block first: what it has kept, the others find."""
    first = is_first_here()
    if _WAITING and not first:
        distributed.barrier(_WAITING[0])
    yield
    if _WAITING and first:
        distributed.barrier(_WAITING[0])


def started_here() -> bool:
    """Tell whether this process has started the others that train with it, so that they end with it."""
    return bool(_CHILDREN)


def _follow(parent: int) -> None:
    """End when the process is gone that started this one."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _lost(error: BaseException) -> bool:
    """Tell whether an exception is of PyTorch's about processes that do not answer."""
    if isinstance(error, GradsculptError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, distributed.DistError) or bool(_LOST.search(str(error)))
