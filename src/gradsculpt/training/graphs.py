"""Whole training steps as CUDA graphs: recorded once, and replayed without the host, which is slower."""

import gc
import math
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradsculpt.errors import first_line
from gradsculpt.isolation import default_generator, sown_in_graph, times_sown
from gradsculpt.kernels import quick_step
from gradsculpt.objectives import Objective

Inputs = tuple[Tensor, Tensor, Tensor | None]
"""Images, labels and attention of a batch."""

Step = Callable[[Inputs, Objective], None]
"""A whole step: forward and backward passes, the optimiser, and what is noted, in place on tensors that stay."""

Recorder = Callable[[Callable[[], None], int], Callable[[], None]]
"""Makes a function that does to the same tensors what another does, which it calls once, without any effect.

It is told how often the random state begins anew in it; 0 if nothing is drawn from it.
"""

_WARM = 3  # steps that are taken as they are before one is recorded, so that everything is there that they make
_LOSS, _GRADIENT = 1e-3, 2e-2
"""How far a replayed step may differ from the step that was recorded, relative to its numbers."""


def recorder(device: torch.device, generators: Iterable[torch.Generator]) -> Recorder:
    """Return what records a function as a CUDA graph, in which these generators go on from the seeds that they have.

    The device's own generator begins anew as often as `sow` says so, with the seed that it is given before a replay.

    Source: PyTorch's notes on CUDA graphs, "whole network capture", here with the optimiser in the graph.
    """

    def record(function: Callable[[], None], sown: int) -> Callable[[], None]:
        """Capture the function, and return what replays it; a capture that fails leaves nothing behind."""
        graph, stream, own = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device), default_generator(str(device))
        before, spare = own.graphsafe_get_state(), [own.clone_state(), *(each.clone_state() for each in generators)]
        states = [own.clone_state() for _ in range(sown)]
        for generator in (*generators, *states):
            graph.register_generator_state(generator)
        try:
            # Other threads, such as one that reads ahead, may go on with what is forbidden to this one.
            with (
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
                sown_in_graph(str(device), states),
            ):
                function()
        except BaseException:
            # A capture that failed leaves its stream behind, and generators that wait for its end.
            torch.cuda.set_stream(stream)
            for generator, state in zip((own, *generators), spare, strict=True):
                generator.graphsafe_set_state(state)
            raise
        own.graphsafe_set_state(before)

        def replay() -> None:
            for state in states:
                state.manual_seed(own.initial_seed())
            graph.replay()

        return replay

    return record


class Graphs:
    """Takes training steps: each kind of step a few times as it is, then from a recording.

    What a recording does is compared with the step itself once, from the same state: loss and gradients have to agree.
    A kind that cannot be recorded, or does not agree, is taken as it is from then on, with one line that says why.

    Args:
        step: Takes one step.
        sow: Gives all random generators the seed of the step that is to be taken.
        record: Makes the recordings.
        network, optimizer: What the step changes, with `kept`: further tensors.
        loss: Returns the sum of the losses of all steps so far, by which a recording is judged.
        tell: Is given the lines.
    """

    def __init__(
        self,
        step: Step,
        sow: Callable[[], None],
        record: Recorder,
        *,
        network: nn.Module,
        optimizer: Optimizer,
        kept: Callable[[], Sequence[Tensor]],
        loss: Callable[[], Tensor],
        tell: Callable[[str], None],
    ) -> None:
        self._step, self._sow, self._record, self._tell = step, sow, record, tell
        self._network, self._optimizer, self._kept, self._loss = network, optimizer, kept, loss
        self._quick = partial(quick_step, modes=not _is_compiled(network))
        self._seen, self._refused = Counter[Hashable](), set[Hashable]()
        self._replays: dict[Hashable, Callable[[], None]] = {}
        self._inputs: dict[Hashable, Inputs] = {}
        self._rates = [torch.zeros((), device=group["params"][0].device) for group in optimizer.param_groups]

    @property
    def recorded(self) -> int:
        """How many kinds of steps are replayed."""
        return len(self._replays)

    def take(self, inputs: Inputs, objective: Objective, phase: Hashable | None) -> None:
        """Take a step.

        Args:
            inputs: The batch.
            objective: What is minimised, resolved for the moment.
            phase: What the moment decides; None if steps like this one do not come again.
        """
        shapes = tuple(map(_shape, inputs))
        kind = (phase, shapes, tuple(map(_shape, self._kept())))
        if phase is None or kind in self._refused or self._seen[kind] < _WARM:
            if phase is None:
                self._refuse(None, "as long as a weight of the objective changes at each step")
            self._seen[kind] += 1
            self._sow()
            # The last step before a recording is taken in its way: what it needs is compiled, which cannot be recorded.
            with _aside(inputs[0].device), self._quick() if self._seen[kind] == _WARM else nullcontext():
                self._step(inputs, objective)
            return
        static = self._inputs.setdefault(shapes, tuple(t if t is None else t.clone() for t in inputs))  # type: ignore[arg-type]
        for place, value in zip(static, inputs, strict=True):
            if place is not None and value is not None:
                place.copy_(value)
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        self._sow()
        if kind in self._replays:
            self._replays[kind]()
        else:
            self._begin(kind, static, objective)

    def _begin(self, kind: Hashable, inputs: Inputs, objective: Objective) -> None:
        """Take a step as it is, undo it, record it, and take it from the recording.

        Where that cannot be done, or the two differ, it stays the step as it is.
        """
        before, base = [tensor.clone() for tensor in self._changed], self._loss().clone()
        waits, sown = None, times_sown(str(inputs[0].device))
        with _told_of_waits(inputs[0].device), _aside(inputs[0].device):
            try:
                self._step(inputs, objective)
            except RuntimeError as error:
                waits = error
        if waits is None:
            sown = times_sown(str(inputs[0].device)) - sown
            stepped, loss = self._gradients(), self._loss() - base
            after = [tensor.clone() for tensor in self._changed]
        self._restore(before)
        try:
            if waits is not None:
                raise waits
            replay = self._recorded(inputs, objective, sown)
        except Exception as error:
            # PyTorch refuses what it cannot record by errors of many kinds; the step itself raises what it has to.
            self._refuse(kind, f"one cannot be recorded ({first_line(error)})")
            self._sow()
            self._step(inputs, objective)
            return
        replayed = self._gradients()
        self._sow()
        replay()
        apart, found = _distance(replayed, stepped), self._loss() - base
        if bool(torch.isclose(found, loss, rtol=_LOSS, equal_nan=True)) and not apart > _GRADIENT:
            self._replays[kind] = replay
        else:
            self._restore(after)
            self._refuse(
                kind, f"what was recorded differs (loss by {float(found - loss):.2g}, gradients by {apart:.1%})"
            )
        self._optimizer.zero_grad(set_to_none=True)  # the gradients of a recording stay its own

    def _refuse(self, kind: Hashable, why: str) -> None:
        if kind not in self._refused:
            self._refused.add(kind)
            self._tell(f"steps are taken one by one, and not as CUDA graphs: {why}")

    def _recorded(self, inputs: Inputs, objective: Objective, sown: int) -> Callable[[], None]:
        groups, kept = self._optimizer.param_groups, self._kept()
        rates = [group["lr"] for group in groups]
        self._sow()
        gc.collect()  # a graph of an earlier step that is still there would be reached on the stream of that step
        torch.clear_autocast_cache()  # or weights would stay what they are now, in another precision
        try:
            for rate, group in zip(self._rates, groups, strict=True):
                group["lr"] = rate
            replay = self._record(lambda: self._quickly(inputs, objective), sown)
        finally:
            for number, group in zip(rates, groups, strict=True):
                group["lr"] = number
        if any(a is not b for a, b in zip(kept, self._kept(), strict=True)):
            raise ValueError("what is carried from step to step changes its shape")
        return replay

    def _quickly(self, inputs: Inputs, objective: Objective) -> None:
        with self._quick():
            self._step(inputs, objective)

    def _gradients(self) -> list[Tensor | None]:
        return [parameter.grad for group in self._optimizer.param_groups for parameter in group["params"]]

    @property
    def _changed(self) -> list[Tensor]:
        """All that a step changes."""
        averages = [value for state in self._optimizer.state.values() for value in state.values()]
        tensors = [*self._network.parameters(), *self._network.buffers(), *averages, *self._kept()]
        return [tensor.detach() for tensor in tensors if isinstance(tensor, Tensor)]

    def _restore(self, before: Sequence[Tensor]) -> None:
        for tensor, value in zip(self._changed, before, strict=True):
            tensor.copy_(value)


@contextmanager
def _told_of_waits(device: torch.device) -> Iterator[None]:
    """Have what waits for a CUDA device fail, before it spoils a recording, and with it whatever comes after."""
    if device.type != "cuda":
        yield
        return
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """Use a stream other than the default one, on which nothing that is recorded may ever have waited."""
    if device.type != "cuda":
        yield
        return
    here, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        yield
    here.wait_stream(aside)


def _is_compiled(network: nn.Module) -> bool:
    """Tell whether `torch.compile` has made a part of it into functions that no mode sees."""
    return any(hasattr(each, "_orig_mod") or each._compiled_call_impl is not None for each in network.modules())


def _shape(t: Tensor | None) -> Hashable:
    return None if t is None else (t.shape, t.dtype, t.stride(), t.device)


def _distance(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> float:
    """Return the L2 norm of the difference of two lists of tensors, relative to that of the second."""
    if [t is None for t in a] != [t is None for t in b]:
        return math.inf
    pairs = [(s.double(), t.double()) for s, t in zip(a, b, strict=True) if s is not None and t is not None]
    apart = sum(float((s - t).square().sum()) for s, t in pairs)
    size = sum(float(t.square().sum()) for _, t in pairs)
    return math.sqrt(apart / size) if size else math.sqrt(apart)
