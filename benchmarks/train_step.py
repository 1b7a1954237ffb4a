"""What a training step costs: every method beside cross entropy, its floor, and the published formula written plainly.

Times whole steps (zero the gradients, objective, backward pass, optimiser) of the same network on the same batch,
alternating in one process, and prints the median of the pairwise ratios with its quartiles. Networks are the
shipped ones. "Plain" is the method's formula as the papers' authors wrote it, on PyTorch's own layers in PyTorch's
default memory format. The process is prepared as the commands prepare theirs.

The floor counts passes: cross entropy is a forward pass, one backward pass to the inputs of each layer and one to the
weights, 3. Memory is the peak of the tensors that a step makes, gradients included, and is the same on every machine.

    python benchmarks/train_step.py [--pairs 20] [--case NAME ...]

On a GPU another table is printed, of the steps that papers train with, in eager mode and as a CUDA graph: times from
the GPU's own clock, memory from its allocator. Each row takes about so many seconds, and a row that fails says why.

    python benchmarks/train_step.py --device cuda [--seconds 8] [--case NAME ...] [--profile] [--json FILE]
"""

import argparse
import gc
import statistics
import time
from pathlib import Path

import torch
from _methods import ALIGNMENT, ELASTIC, Case
from torch import Tensor

from gradsculpt import prepare_process
from gradsculpt.models import build
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    GradientPenalty,
    HessianNorm,
    Objective,
)
from gradsculpt.penalties import L1, GroupL21, Harmonization, SquaredL2
from gradsculpt.perturbations import Free, Iterative
from gradsculpt.studies.experiments.counting import Peak
from gradsculpt.studies.experiments.plain import Formula, with_stock_layers

CASES = (
    *(
        Case(f"one-step, {type(penalty).__name__}", network, batch, side, AdversarialTraining(penalty), 5)
        for network, batch, side in (("lenet", 128, 32), ("efficientnet_b0", 16, 128))
        for penalty in (ELASTIC, L1(0.01), SquaredL2(0.1), GroupL21(0.1, patch=14), Harmonization(1.0))
    ),
    Case("7-step, elastic net", "lenet", 128, 32, AdversarialTraining(ELASTIC, Iterative(7)), 19),
    Case("7-step, L1", "lenet", 128, 32, AdversarialTraining(L1(0.01), Iterative(7)), 19),
    Case("free, 4 replays", "lenet", 128, 32, AdversarialTraining(L1(0.01), Free(4)), 3),
    Case("penalty, L1", "lenet", 128, 32, GradientPenalty(L1(0.01)), 8),
    Case("l2 + cosine", "lenet", 128, 32, ALIGNMENT, 10, "2.75x", 3.0),
    Case("l2 + cosine", "resnet18-cifar", 32, 32, ALIGNMENT, 10, "4.10x", 3.0),
    Case("l2 + cosine, bf16", "lenet", 128, 32, ALIGNMENT, 10, "2.75x", 3.0, bf16=True),
    Case("Hessian", "lenet", 128, 32, HessianNorm(1e-3), 12, "4.25x", 3.0),
    Case("Hessian", "resnet18-cifar", 32, 32, HessianNorm(1e-4), 12, "8.95x", 3.0),
)
"""The passes of seven steps are those of the published count: eight input gradients, 16, and a training step."""


def main() -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    words = "only cases in whose names one of these is: of the method, or of the network and its batch, as lenet/128"
    parser.add_argument("--case", "--only", nargs="*", default=None, help=words)
    parser.add_argument("--device", default=None, help="print the table of a GPU, cuda; with cpu, try the same there")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each row of a GPU's table")
    parser.add_argument("--batch", type=int, default=None, help="another batch for each row of a GPU's table")
    parser.add_argument("--profile", action="store_true", help="also the GPU's busy time and its longest kernels")
    parser.add_argument("--json", type=Path, default=None, help="also write a GPU's table to this file")
    options = parser.parse_args()
    if options.device not in (None, "cpu", "cuda") or (options.device == "cuda" and not torch.cuda.is_available()):
        parser.error(f"--device {options.device} is not here; it is cuda, where PyTorch finds one, or cpu.")
    if options.device is not None:
        from _on_device import table  # which need not be there for a CPU's table

        table(options.device, options.case, options.seconds, options.batch, options.profile, options.json)
        return
    prepare_process()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.pairs} pairs", flush=True)
    for case in CASES:
        if case.called(options.case):
            print(line(case, options.pairs), flush=True)
    if options.case is None:
        print(after_a_thousand_steps(), flush=True)


def line(case: Case, pairs: int) -> str:
    """Measure a case and say what came out."""
    steps = {"ce": Step(case, CrossEntropy()), "ours": Step(case, case.objective)}
    if case.plain is not None:
        steps["plain"] = Step(case._replace(bf16=False), case.plain)
    for step in list(steps.values()) * 2:
        step.run()
    times = {name: [] for name in steps}  # type: dict[str, list[float]]
    for _ in range(pairs):
        for name, step in steps.items():
            times[name].append(step.run())
    memory = {name: step.peak() for name, step in steps.items()}
    shown = [f"{case.network:15} batch {case.batch:3} {case.side:3} px  {case.name:26}"]
    shown.append(f"{ratio(times['ours'], times['ce'])} cross entropy (floor {case.passes / 3:.2f}x)")
    shown.append(f"published {case.published}")
    if "plain" in times:
        shown.append(f"plain {statistics.median(divided(times['plain'], times['ce'])):.2f}x")
        shown.append(f"ours / plain {ratio(times['ours'], times['plain'])}")
    shown.append("memory " + ", ".join(f"{n} {memory[n] / memory['ce']:.2f}x" for n in memory if n != "ce"))
    shown.append(f"cross entropy {statistics.median(times['ce']) * 1e3:.0f} ms")
    return "  ".join(shown)


class Step:
    """A training step that can be repeated: its own copy of the network, of its optimiser, and the one batch."""

    def __init__(self, case: Case, loss: Objective | Formula) -> None:
        torch.manual_seed(0)
        self._loss, self._bf16 = loss, case.bf16
        self._state = loss.initial_state() if isinstance(loss, Objective) else {}
        network = build(case.network, num_classes=10, image_size=case.side, softplus=case.softplus)
        x = torch.randn(case.batch, 3, case.side, case.side)
        self._y, self._attention = torch.randint(0, 10, (case.batch,)), torch.rand(case.batch, 1, case.side, case.side)
        ours = isinstance(loss, Objective)
        if not ours:
            network = with_stock_layers(network, third=isinstance(case.objective, HessianNorm))
        layout = torch.channels_last if ours else torch.contiguous_format
        self._network = network.to(memory_format=layout)
        self._x = x.contiguous(memory_format=layout)
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=1e-4)

    def run(self) -> float:
        """Take one step and return its seconds."""
        started = time.perf_counter()
        self._optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self._optimizer.step()
        return time.perf_counter() - started

    def loss(self) -> Tensor:
        """Evaluate the loss."""
        if not isinstance(self._loss, Objective):
            return self._loss(self._network, self._x, self._y)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            losses = self._loss(self._network, self._x, self._y, self._attention, state=self._state)
        self._state = losses.state
        return losses.loss

    def peak(self) -> int:
        """Return the largest number of bytes that tensors made in a step take at once."""
        self._optimizer.zero_grad(set_to_none=True)
        gc.collect()
        with Peak() as peak:
            self.loss().backward()
        return peak.most


def after_a_thousand_steps() -> str:
    """Say how much longer a Softplus network's steps take after a thousand of them."""
    step = Step(Case("", "lenet", 32, 32, CrossEntropy(), 3, softplus=3.0), CrossEntropy())
    first = statistics.median(step.run() for _ in range(60))
    for _ in range(940):
        step.run()
    last = statistics.median(step.run() for _ in range(60))
    return f"lenet with Softplus, batch 32: a step after 1,000 steps takes {last / first:.2f}x the time of its first 60"


def divided(a: list[float], b: list[float]) -> list[float]:
    """Return the ratios of pairs."""
    return [x / y for x, y in zip(a, b, strict=True)]


def ratio(a: list[float], b: list[float]) -> str:
    """Return the median ratio of pairs with its quartiles."""
    low, median, high = statistics.quantiles(divided(a, b), n=4)
    return f"{median:.2f}x [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
