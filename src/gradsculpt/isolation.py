"""Passes that leave no trace: buffers and random state are afterwards what they were, whatever other threads do."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

RandomState = dict[str, Tensor]
"""States of random generators by device: cpu, cuda:0, ..."""


def random_state(devices: Iterable[str] | None = None) -> RandomState:
    """Return the state of PyTorch's random generators, of the CPU and of some or all CUDA devices.

    Within `seeded` it is empty: the seed tells the state, which is not read.
    """
    if _turn.seed() is not None:
        return {}
    if devices is None:
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{device: torch.cuda.get_rng_state(device) for device in devices}}


@contextmanager
def undisturbed(model: object, *, random: RandomState | None = None) -> Iterator[None]:
    """Let forward passes inside the block leave no trace in the model or in the random state.

    Every buffer (running statistics of BatchNorm, vectors of spectral normalisation, counters) and the random state are
    afterwards what they were: a dropout mask drawn inside is drawn again by the next pass outside. The mode of the
    model is not touched, so that batch statistics are used as in training.

    Threads may share a model. Where a part of it is in training, its buffers are replaced by copies for the time of the
    block, and one such block waits for another. In evaluation nothing of the model is replaced, and threads go on side
    by side; a buffer that a network changes all the same gets its values back when the last of them has left.

    Args:
        model: A module; any other callable only has the random state put back.
        random: The random state to start the block with, from `random_state`; by default the one there is.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    tensors = [tensor for module in modules[:1] for tensor in (*module.parameters(), *module.buffers())]
    used = {str(tensor.device) for tensor in tensors if tensor.device.type == "cuda"}
    devices = sorted(used | ((random or {}).keys() - {"cpu"}))
    if random is not None or any(module.training for module in modules):
        with _turn.alone(devices), _replaced(modules):
            _set(random or {})
            yield
    else:
        with _turn.beside(devices), _watched(modules):
            yield


@contextmanager
def own_randomness(*, seed: int | None = None, devices: Iterable[str] = ()) -> Iterator[None]:
    """Put the random state back at the end of the block, which no such block of another thread meets.

    Args:
        seed: What the random state is derived from within the block; by default it goes on.
        devices: The CUDA devices whose state it is, besides the CPU's, on which alone a seed acts.
    """
    with _turn.alone(tuple(devices)):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def seeded(seed: int, devices: Iterable[str] = ()) -> Iterator[None]:
    """Begin with a random state that a seed gives, and have every `undisturbed` block begin and end with it.

    No state is read then, which a CUDA graph could not do while it is captured, and a block costs less. For passes of
    which each draws alike, as those of a training step; what the random state was is lost.
    """
    with _turn.sown(seed, tuple(devices)):
        yield


class _Turn:
    """Who may change the random state, which all threads share: one block alone, or any number that should not."""

    def __init__(self) -> None:
        self._lock, self._brief = threading.RLock(), threading.Lock()
        self._owner: int | None = None
        self._before: RandomState = {}
        self._seed: int | None = None
        self._devices: tuple[str, ...] = ()

    def seed(self) -> int | None:
        """Return the seed of the block of `sown` that this thread is in, if it is in one."""
        return self._seed if self._owner == threading.get_ident() else None

    @contextmanager
    def sown(self, seed: int, devices: Sequence[str]) -> Iterator[None]:
        """Wait until no other thread is alone, and be it with the states that a seed gives."""
        with self._lock:
            with self._brief:
                outer = self._owner, self._before, self._seed, self._devices
                self._owner, self._before, self._seed, self._devices = threading.get_ident(), {}, seed, tuple(devices)
                sow(seed, devices)
            try:
                yield
            finally:
                with self._brief:
                    self._owner, self._before, self._seed, self._devices = outer

    @contextmanager
    def alone(self, devices: Sequence[str]) -> Iterator[None]:
        """Wait until no other thread is alone, and put the random state back at the end; blocks of a thread nest."""
        if (seed := self.seed()) is not None:
            sow(seed, self._devices)
            try:
                yield
            finally:
                sow(seed, self._devices)
            return
        with self._lock:
            with self._brief:
                before, outermost = random_state(devices), self._owner is None
                if outermost:
                    self._owner, self._before = threading.get_ident(), before
            try:
                yield
            finally:
                with self._brief:
                    _set(before)
                    if outermost:
                        self._owner = None

    @contextmanager
    def beside(self, devices: Sequence[str]) -> Iterator[None]:
        """Wait for nobody, and put the random state back if it changed, unless another thread is about to do so."""
        if self._owner == threading.get_ident():
            with self.alone(devices):
                yield
            return
        with self._brief:
            before = random_state(devices) if self._owner is None else self._before
        try:
            yield
        finally:
            with self._brief:
                if self._owner is None:
                    now = random_state(before.keys() - {"cpu"})
                    _set({device: state for device, state in before.items() if not torch.equal(state, now[device])})


_turn = _Turn()


def sow(seed: int, devices: Iterable[str]) -> None:
    """Have the generators of the CPU and of CUDA devices begin anew with a seed."""
    torch.default_generator.manual_seed(seed)
    for device in devices:
        _Sown.times += 1
        generator = default_generator(device)
        if (states := _Sown.states.get(device)) is None:
            if generator.get_offset():
                _Sown.drawn.add(device)
            generator.manual_seed(seed)
        elif (state := next(states, None)) is not None:
            generator.graphsafe_set_state(state)


class _Sown:
    """What is known of the seeds that CUDA generators were given, and what they begin anew with in a CUDA graph."""

    times = 0
    drawn: ClassVar[set[str]] = set()
    states: ClassVar[dict[str, Iterator[torch.Generator]]] = {}


def default_generator(device: str) -> torch.Generator:
    """Return the generator that a CUDA device draws from by itself."""
    return torch.cuda.default_generators[torch.device(device).index or 0]


def times_sown(device: str) -> int:
    """Return how often the generator of a CUDA device was given a seed so far; 0 if nothing was ever drawn from it."""
    return _Sown.times if device in _Sown.drawn else 0


@contextmanager
def sown_in_graph(device: str, states: Iterable[torch.Generator]) -> Iterator[None]:
    """While a CUDA graph is captured, have each `sow` take one of these states, which the graph has to know.

    A graph gives its generators one seed a replay, and there is no way back within it: to draw the same twice, it takes
    two generators of one seed. Where nothing is drawn from the generator of the device, it takes none.
    """
    _Sown.states[device] = iter(states)
    try:
        yield
    finally:
        del _Sown.states[device]


def _set(states: RandomState) -> None:
    for device, state in states.items():
        torch.set_rng_state(state) if device == "cpu" else torch.cuda.set_rng_state(state, device)


@contextmanager
def _replaced(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Have copies in the place of buffers for the time of the block."""
    originals = [(module, name, buffer) for module in modules for name, buffer in _buffers(module)]
    try:
        with torch.inference_mode(False):  # or no backward pass could go through the copies
            buffers = [buffer for _, _, buffer in originals]
            recording = any(buffer.is_cuda for buffer in buffers) and torch.cuda.is_current_stream_capturing()
            copies = [torch.empty_like(buffer) for buffer in buffers]
            if buffers:
                with torch.no_grad():
                    torch._foreach_copy_(copies, buffers)  # at once: an accelerator takes as long for each as for all
            for (module, name, _), copy in zip(originals, copies, strict=True):
                # What only counts batches up costs a CUDA graph a kernel each, and nobody is there to read it.
                counter = recording and name == "num_batches_tracked" and type(module) in _BATCH_NORM
                setattr(module, name, None if counter and module.momentum is not None else copy)
        yield
    finally:
        for module, name, buffer in originals:
            setattr(module, name, buffer)


_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Kept:
    """The buffers of a module as they were when the first of so many blocks came to it."""

    def __init__(self, module: nn.Module) -> None:
        self.blocks = 0
        with torch.inference_mode(False), torch.no_grad():
            self._before = [(name, buffer, _version(buffer), buffer.clone()) for name, buffer in _buffers(module)]

    def restore(self, module: nn.Module) -> None:
        """Give every buffer that was replaced or overwritten its identity and its values back."""
        for name, buffer, version, values in self._before:
            if getattr(module, name, None) is not buffer:
                setattr(module, name, buffer)
            if version is None or version != _version(buffer):
                with torch.inference_mode(buffer.is_inference()), torch.no_grad():
                    buffer.copy_(values)


def _buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the buffers that a module itself has: what `named_buffers` gives, in a fraction of its time."""
    own = module._buffers
    return [(name, buffer) for name, buffer in own.items() if buffer is not None] if len(own) else []


def _version(buffer: Tensor) -> int | None:
    """Return how often a buffer was overwritten; None if that is not counted."""
    return None if buffer.is_inference() else buffer._version


_kept: "WeakKeyDictionary[nn.Module, _Kept]" = WeakKeyDictionary()
_keeping = threading.Lock()


@contextmanager
def _watched(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Leave buffers in their place, and see to it that they are as they were when the last of several blocks ends."""
    owners = [module for module in modules if _buffers(module)]
    with _keeping:
        for module in owners:
            if module not in _kept:
                _kept[module] = _Kept(module)
            _kept[module].blocks += 1
    try:
        yield
    finally:
        with _keeping:
            for module in owners:
                kept = _kept[module]
                kept.blocks -= 1
                if not kept.blocks:
                    kept.restore(module)
                    del _kept[module]
