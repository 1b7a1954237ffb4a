"""What a training asks of the machine: the memory and the time of a step, from a few steps of a copy."""

import copy
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import finalize

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from gradsculpt.data import ImageSet, Outline
from gradsculpt.errors import GradsculptError
from gradsculpt.isolation import own_randomness
from gradsculpt.models.networks import construct, grid_in_maps
from gradsculpt.models.smooth import has_corners
from gradsculpt.objectives import Moment
from gradsculpt.training.fitting import build_module
from gradsculpt.training.settings import Optimization, TrainSettings

_LARGEST_SIDE = 224  # larger images are judged by these: what a network holds grows with the number of pixels
_FEW, _MORE = 2, 4
_MOST_STEPS, _ENOUGH_SECONDS, _SHARE = 9, 1.5, 0.02
_MAPS_A_VALIDATION = 128
_WIDTHS = {"64": 2.0, "16": 0.5}
"""Bytes of an activation by the precision, relative to 32 bits."""
_OVERHEAD = 1.15  # what the allocator and the kernels take beside the tensors


@dataclass(frozen=True)
class Demand:
    """What a training needs.

    Args:
        parameters: Number of parameters of the network.
        fixed: Bytes of weights, gradients and the optimiser's averages.
        image: Bytes for each image of a batch.
        batch: Images a batch.
        kept: Bytes on the disk of the network and of two checkpoints, with what the optimiser keeps.
    """

    parameters: int
    fixed: float
    image: float
    batch: int
    kept: float = 0.0

    @property
    def memory(self) -> float:
        """The bytes that a step holds at most, beside what the process holds already; see `Trial.demand`."""
        return self.fixed + self.image * self.batch


class Trial:
    """A copy of what a training would begin with, on noise; the training itself is not touched.

    Raises what would be raised by building the network, and by the objective's first step.

    Args:
        settings: Those of the training; of an objective with a teacher, the teacher's part is tried.
        outline: What is known of the data.
    """

    def __init__(self, settings: TrainSettings, outline: Outline) -> None:
        self._settings, self._outline = settings, outline
        teacher = settings.objective.requirements.teacher
        objective = settings.objective if teacher is None else teacher.teacher
        settings, self._side = replace(settings, objective=objective), min(outline.size, _LARGEST_SIDE)
        try:
            module = build_module(settings, _noise(outline, self._side))
        except GradsculptError:
            if self._side == outline.size:
                raise
            self._side = outline.size  # the network may be for this size alone; and the message is to name it
            module = build_module(settings, _noise(outline, self._side))
        self._space, self._objective = module.space, objective
        # A function of the user's own may return the same network each time.
        self._network = copy.deepcopy(module.network)

    @property
    def has_corners(self) -> bool:
        """Whether the network has activations like ReLU."""
        return has_corners(self._network)

    @property
    def grid(self) -> str:
        """What is to be said of a regular grid in the network's maps: nothing where there is none."""
        return grid_in_maps(self._settings.model, self._network, self._outline.size)

    def demand(self) -> Demand:
        """Return the memory that the training needs, from two steps with few images.

        Source: every tensor that is made in a step counts from when it is made until it is freed, which makes what two
        batches hold differ by what their images do.
        Deviation: what is held is taken to grow with the number of pixels beyond those of 224 x 224. What kernels take
        for the time of a call is not seen: second derivatives of small networks held up to 2.1 times as much.
        """
        optimization, batch = self._settings.optimization, self._batch
        few, more = (self._held(count) for count in (_FEW, _MORE))
        weights = sum(tensor.nbytes for tensor in self._network.parameters())
        parameters = sum(tensor.numel() for tensor in self._network.parameters())
        here = self._parameters_there() or parameters
        step = max(0.0, 2 * few - more) * here / max(1, parameters)
        whole = weights * here / max(1, parameters)
        fixed = whole * (1 + _averages(optimization)) + step
        wider = (self._outline.size / self._side) ** 2 * _width(self._settings.precision)
        image = max(0.0, (more - few) / (_MORE - _FEW)) * wider
        return Demand(here, fixed * _OVERHEAD, image * _OVERHEAD, batch, whole * (3 + 2 * _averages(optimization)))

    def seconds(self, steps: int, device: torch.device) -> tuple[float, float]:
        """Return the seconds of a step and of a prediction for a batch, on a device.

        It takes a few seconds, or a fiftieth of so many steps if that is more; the first step counts if it is long.
        """
        network, parameters = self._network.to(device), list(self._network.parameters())
        optimizer, _ = self._settings.optimization.build(parameters, self._settings.epochs)
        x, y, attention = (None if each is None else each.to(device) for each in self._input(self._batch))
        times, started = list[float](), time.monotonic()
        for step in range(_MOST_STEPS):
            begun = time.monotonic()
            optimizer.zero_grad()
            self._loss(x, y, attention, step).backward()
            optimizer.step()
            _wait(device)
            times.append(time.monotonic() - begun)
            spent = time.monotonic() - started
            if spent + times[-1] > max(_ENOUGH_SECONDS, _SHARE * steps * min(times)) and (step or spent > 1):
                break
        begun = time.monotonic()
        with torch.no_grad():
            network.eval()(x)
        _wait(device)
        timed = times[1:] or times
        return sum(timed) / len(timed), time.monotonic() - begun

    @property
    def _batch(self) -> int:
        counts = self._outline.counts
        return self._settings.batch_size if counts is None else min(self._settings.batch_size, counts[0])

    def _held(self, count: int) -> int:
        x, y, attention = self._input(count)
        for parameter in self._network.parameters():
            parameter.grad = None
        with _Held() as held:
            self._loss(x, y, attention, 0).backward()
        most: int = held.most
        return most

    def _loss(self, x: Any, y: Any, attention: Any, step: int) -> Tensor:
        moment = Moment(self._settings.epochs / 2, step, self._space)
        objective, state = self._objective.at(moment), self._objective.initial_state()
        self._network.train()
        losses = objective(self._network, x, y, attention, generator=torch.Generator(x.device), state=state)
        return losses.loss

    def _input(self, count: int) -> tuple[Tensor, Tensor, Tensor | None]:
        parameter = next((each for each in self._network.parameters() if each.is_floating_point()), torch.zeros(()))
        images = torch.rand(count, 3, self._side, self._side)
        x = self._space.normalize(images).to(parameter.dtype).contiguous(memory_format=torch.channels_last)
        maps = images[:, :1] if self._objective.requirements.attention else None
        return x, torch.arange(count) % self._outline.classes, maps

    def _parameters_there(self) -> int | None:
        """Return the number of parameters of the network for larger images, whose last layers may be larger."""
        if self._side < self._outline.size:
            with suppress(Exception), torch.device("meta"):  # a function of the user's own may want real numbers
                network = construct(self._settings.model, self._outline.classes, self._outline.size)
                return int(sum(each.numel() for each in network.parameters()))
        return None


@contextmanager
def untouched_randomness(devices: list[str]) -> Iterator[None]:
    """Put back every random state that a network may draw from: PyTorch's, Python's and NumPy's."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with own_randomness(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def tried(settings: TrainSettings, outline: Outline) -> tuple[Trial, Demand] | None:
    """Return a trial and what the training needs; None where a copy of the network cannot be made to work on noise.

    What the network or the objective refuses is raised.
    """
    try:
        trial = Trial(settings, outline)
        return trial, trial.demand()
    except (GradsculptError, KeyboardInterrupt):
        raise
    except Exception:
        return None


class _Held(TorchDispatchMode):
    """The bytes of the tensors that are made inside the block and not freed yet: how many at most at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._counted = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, made)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._counted:
            size = storage.nbytes()
            self._counted[storage] = size
            self.now += size
            self.most = max(self.most, self.now)
            finalize(storage, self._free, size).atexit = False

    def _free(self, size: int) -> None:
        self.now -= size


def _noise(outline: Outline, side: int) -> ImageSet:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (_MORE, side, side, 3), dtype=np.uint8)
    labels, names = np.arange(_MORE) % outline.classes, tuple(map(str, range(_MORE)))
    return ImageSet(images, labels, tuple(map(str, range(outline.classes))), names)


def _averages(optimization: Optimization) -> int:
    """Return how many numbers the optimiser keeps for each parameter."""
    return 2 if optimization.optimizer != "sgd" else int(optimization.momentum > 0)


def _width(precision: str) -> float:
    return next((width for bits, width in _WIDTHS.items() if bits in precision), 1.0)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
