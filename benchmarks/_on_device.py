"""The table of `train_step.py` for a GPU: training steps in eager mode and as CUDA graphs, by the GPU's own clock."""

import gc
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from _methods import ALIGNMENT, ELASTIC, Case
from torch import Tensor

from gradsculpt import prepare_process
from gradsculpt.isolation import seeded, sow, times_sown
from gradsculpt.kernels import quick_step
from gradsculpt.models import build
from gradsculpt.objectives import AdversarialTraining, CrossEntropy, HessianNorm, Objective
from gradsculpt.penalties import L1
from gradsculpt.perturbations import Iterative
from gradsculpt.studies.experiments.plain import Formula, with_stock_layers
from gradsculpt.training.graphs import recorder

CASES = (
    Case("one-step elastic net", "lenet", 128, 32, AdversarialTraining(ELASTIC), 5),
    Case("l2 + cosine", "lenet", 128, 32, ALIGNMENT, 10, "2.75", 3.0),
    Case("Hessian", "lenet", 128, 32, HessianNorm(1e-3), 12, "4.25", 3.0),
    Case("l2 + cosine", "resnet18-cifar", 128, 32, ALIGNMENT, 10, "4.10", 3.0),
    Case("Hessian", "resnet18-cifar", 128, 32, HessianNorm(1e-4), 12, "8.95", 3.0),
    Case("l2 + cosine", "torchvision:resnet18", 64, 224, ALIGNMENT, 10, "4.94", 3.0),
    Case("one-step elastic net", "efficientnet_b0", 16, 224, AdversarialTraining(ELASTIC), 5),
    Case("one-step elastic net", "efficientnet_b0", 64, 224, AdversarialTraining(ELASTIC), 5),
    Case("7-step L1", "efficientnet_b0", 64, 224, AdversarialTraining(L1(0.01), Iterative(7)), 19),
)

BASE = "cross entropy"
WARM_UP, FEWEST_ROUNDS, MOST_ROUNDS, SPAN = 3, 3, 60, 30.0
"""Steps before any is timed or captured, rounds of a row, and the milliseconds that one timing should take."""
HANG, LONGEST, PROFILED = 90.0, 12, 3
"""Seconds beyond its own after which a row is given up, kernels that are listed, and steps that are profiled."""

Row = dict[str, Any]


def table(
    device: str, words: Sequence[str] | None, seconds: float, batch: int | None, profile: bool, out: Path | None
) -> None:
    """Print the rows that the words name, as they come, and write them to a file."""
    cases = [case._replace(batch=batch or case.batch) for case in CASES if case.called(words)]
    facts = described(device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    rows = []
    for case, row in zip(cases, measured(cases, device, seconds, profile), strict=True):
        rows.append({"network": case.network, "batch": case.batch, "side": case.side, "method": case.name, **row})
        rows[-1] |= {"floor": round(case.passes / 3, 2), "published": case.published}
        print(text(rows[-1]), flush=True)
        if out is not None:
            out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def described(device: str) -> dict[str, str]:
    """Return what the figures depend on."""
    gpu = torch.device(device).type == "cuda"
    facts = {"card": torch.cuda.get_device_name(device) if gpu else "none (no graphs)", "torch": torch.__version__}
    if gpu:
        facts["TF32 in convolutions"] = "on" if torch.backends.cudnn.allow_tf32 else "off"
        facts["TF32 in matrix products"] = "on" if torch.backends.cuda.matmul.allow_tf32 else "off"
    return facts


def measured(cases: Sequence[Case], device: str, seconds: float, profile: bool) -> Iterator[Row]:
    """Yield the row of each case.

    Rows are measured in a process of their own, and after one that has failed in a new one: a capture that was refused,
    and an error of a kernel even more, leave a process that cannot be trusted with a GPU.
    """
    context = multiprocessing.get_context("spawn")
    worker, connection = None, None
    for case in cases:
        if worker is None or connection is None:
            connection, theirs = context.Pipe()
            worker = context.Process(target=work, args=(theirs, device, seconds, profile), daemon=True)
            worker.start()
            theirs.close()
        try:
            connection.send(case)
            row = connection.recv() if connection.poll(seconds + HANG) else failure("it did not come to an end")
        except (EOFError, OSError):
            worker.join(5)
            row = failure(f"its process ended with status {worker.exitcode}")
        yield row
        if row["failures"]:
            worker.kill()
            worker.join()
            connection.close()
            worker = connection = None
    if worker is not None:
        worker.kill()


def failure(reason: str) -> Row:
    """Return the row of a case of which nothing was measured."""
    return {"failures": {"all": reason}}


def work(connection: Any, device: str, seconds: float, profile: bool) -> None:
    """Measure the cases that come, until none does."""
    prepare_process()
    while True:
        try:
            case = connection.recv()
        except EOFError:
            return
        try:
            row = measure(case, torch.device(device), seconds, profile)
        except Exception as error:
            row = failure(reason(error))
        connection.send(row)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def reason(error: Exception) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


class Step:
    """A training step on one batch, in place: its own network, optimiser and generator, and how it is taken.

    Attributes:
        take: Takes one step, and returns at once where the device works by itself.
    """

    def __init__(self, case: Case, loss: Objective | Formula, device: torch.device) -> None:
        torch.manual_seed(0)
        ours = isinstance(loss, Objective)
        network = build(case.network, num_classes=10, image_size=case.side, softplus=case.softplus)
        if not ours:
            network = with_stock_layers(network, third=isinstance(case.objective, HessianNorm))
        layout = torch.channels_last if ours else torch.contiguous_format
        self._network = network.to(device, memory_format=layout)
        x = torch.randn(case.batch, 3, case.side, case.side)
        self._x = x.to(device).contiguous(memory_format=layout)
        self._y = torch.randint(0, 10, (case.batch,)).to(device)
        self._loss, self._generator = loss, torch.Generator(device).manual_seed(0)
        on_gpu = {"fused": True, "capturable": True} if device.type == "cuda" else {}
        lr = torch.tensor(1e-4, device=device) if on_gpu else 1e-4
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=lr, **on_gpu)
        self._device = device
        self.take: Callable[[], None] = self._eager

    def captured(self) -> "Step":
        """Have the step taken by a CUDA graph."""
        beside = torch.cuda.Stream(self._device)
        beside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                before = times_sown(str(self._device))
                self._recorded()
        torch.cuda.current_stream(self._device).wait_stream(beside)
        sown = times_sown(str(self._device)) - before
        sow(0, [str(self._device)])
        self.take = recorder(self._device, (self._generator,))(self._recorded, sown)
        return self

    def _recorded(self) -> None:
        with quick_step() if isinstance(self._loss, Objective) else nullcontext():  # as `train` has it
            self._eager()

    def _eager(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._evaluated().backward()
        self._optimizer.step()

    def _evaluated(self) -> Tensor:
        if not isinstance(self._loss, Objective):
            return self._loss(self._network, self._x, self._y)
        with seeded(0, [str(self._device)] if self._device.type == "cuda" else []):  # as `train` has it
            return self._loss(self._network, self._x, self._y, generator=self._generator).loss

    def peak(self) -> int:
        """Return the most bytes that a step holds on a GPU beyond what is there before it."""
        self._optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        self.take()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - before


def measure(case: Case, device: torch.device, seconds: float, profile: bool) -> Row:
    """Time the variants of a case in turn, and return medians, quartiles of ratios, memory, and what failed.

    A variant is a loss in a mode: cross entropy, ours or the plain formula, in eager mode or as a graph. Whatever could
    spoil the process comes after what it could spoil: the plain formula is captured last, and nothing after a failure.
    """
    began = time.perf_counter()
    losses: dict[str, Objective | Formula] = {BASE: CrossEntropy(), "ours": case.objective}
    groups = [("eager", losses, 0.5), ("graph", dict(losses), 0.8 if case.plain else 1.0)]
    if case.plain is not None:
        losses["plain"] = case.plain
        groups.append(("graph", losses, 1.0))
    steps: dict[tuple[str, str], Step] = {}
    row: Row = {"modes": {}, "rounds": {}, "memory": {}, "failures": {}}
    for mode, wanted, end in groups if device.type == "cuda" else groups[:1]:
        for name in wanted:
            try:
                if (mode, name) not in steps:
                    steps[mode, name] = prepared(case, wanted[name], device, mode, row["memory"], name)
            except Exception as error:
                row["failures"][f"{name}, {mode}"] = reason(error)
        ready = {name: steps[mode, name] for name in wanted if (mode, name) in steps}
        if mode == "graph" and len(ready) < len(wanted):
            break
        rounds, entries = timed(ready, began + end * seconds, device)
        row["modes"][mode] = {name: entry | row["modes"].get(mode, {}).get(name, {}) for name, entry in entries.items()}
        row["rounds"].setdefault(mode, rounds)
    if profile and not any(variant.endswith("graph") for variant in row["failures"]):
        row["profile"] = {f"{name}, {mode}": profiled(step, device) for (mode, name), step in steps.items()}
    return row


def prepared(
    case: Case, loss: Objective | Formula, device: torch.device, mode: str, memory: dict[str, int], name: str
) -> Step:
    """Return a step of a variant after its first few; note the memory that it takes in eager mode."""
    step = Step(case, loss, device)
    if mode == "graph":
        step.captured()
    for _ in range(WARM_UP):
        step.take()
    if mode == "eager" and device.type == "cuda":
        memory[name] = step.peak()
    milliseconds(step.take, 1, device)
    return step


def timed(steps: dict[str, Step], deadline: float, device: torch.device) -> tuple[int, dict[str, Row]]:
    """Time steps in turn until the deadline, in spans that the clock resolves; return the rounds and what came out."""
    repeats = {name: max(1, round(SPAN / milliseconds(step.take, 1, device))) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    rounds = 0
    while rounds < FEWEST_ROUNDS or (rounds < MOST_ROUNDS and time.perf_counter() < deadline):
        rounds += 1
        for name, step in steps.items():
            times[name].append(milliseconds(step.take, repeats[name], device))
    entries: dict[str, Row] = {name: {"ms": statistics.median(values)} for name, values in times.items()}
    for name, by, title in (("ours", BASE, "ratio"), ("plain", BASE, "ratio"), ("ours", "plain", "by plain")):
        if name in times and by in times:
            ratios = [x / y for x, y in zip(times[name], times[by], strict=True)]
            entries[name][title] = statistics.quantiles(ratios, n=4)
    return rounds, entries


def milliseconds(take: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Return the time of a step: between two events on a GPU, which waits for the host as it would in a training."""
    if device.type != "cuda":
        started = time.perf_counter()
        for _ in range(repeats):
            take()
        return (time.perf_counter() - started) * 1e3 / repeats
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(repeats):
        take()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / repeats


def profiled(step: Step, device: torch.device) -> Row:
    """Return the milliseconds that the GPU is busy in a step, its launches, and the kernels that take longest."""
    if device.type != "cuda":
        return {}
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(PROFILED):
            step.take()
        torch.cuda.synchronize(device)
    on_gpu = [e for e in profile.key_averages() if e.device_type == torch.autograd.DeviceType.CUDA]
    on_gpu = [e for e in on_gpu if not getattr(e, "is_user_annotation", False)]
    on_gpu.sort(key=lambda e: -e.self_device_time_total)
    kernels = [
        {"kernel": e.key[:110], "ms": e.self_device_time_total / 1e3 / PROFILED, "launches": e.count / PROFILED}
        for e in on_gpu
    ]
    total = {"busy ms": sum(k["ms"] for k in kernels), "launches": sum(k["launches"] for k in kernels)}
    return {**total, "longest": kernels[:LONGEST]}


def text(row: Row) -> str:
    """Say what a row holds: a line for the case, one for each mode, and the reasons of what is missing."""
    lines = [
        f"{row['network']}, batch {row['batch']}, {row['side']} px: {row['method']}  floor {row['floor']:.2f}x  "
        f"published {row['published']}"
    ]
    for mode, entries in row.get("modes", {}).items():
        parts = []
        for name, entry in entries.items():
            parts.append(f"{name} {entry['ms']:.3f} ms")
            if "ratio" in entry:
                low, median, high = entry["ratio"]
                parts[-1] += f" {median:.2f}x [{low:.2f}, {high:.2f}]"
            if "by plain" in entry:
                parts[-1] += f", {entry['by plain'][1]:.2f} of plain"
        lines.append(f"    {mode:6} {'  '.join(parts)}  {row['rounds'][mode]} rounds")
    if row.get("memory"):
        sizes = (f"{name} {size / 2**20:.0f} MiB" for name, size in row["memory"].items())
        lines.append(f"    memory {', '.join(sizes)}")
    for variant, profile in row.get("profile", {}).items():
        if profile:
            busy = f"{profile['busy ms']:.3f} ms busy, {profile['launches']:.0f} launches"
            lines.append(f"    profile of {variant}: {busy}")
            for kernel in profile["longest"]:
                lines.append(f"        {kernel['ms']:8.4f} ms {kernel['launches']:6.1f}x  {kernel['kernel']}")
    lines += [f"    not measured, {variant}: {why}" for variant, why in row["failures"].items()]
    return "\n".join(lines)
