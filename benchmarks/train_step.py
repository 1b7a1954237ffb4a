"""What a training step costs: every method beside cross entropy, its floor, and the published formula written plainly.

Times whole steps (zero the gradients, objective, backward pass, optimiser) of the same network on the same batch,
alternating in one process, and prints the median of the pairwise ratios with its quartiles. Networks are the
shipped ones. "Plain" is the method's formula as the papers' authors wrote it, on PyTorch's own layers in PyTorch's
default memory format. The process is prepared as the commands prepare theirs.

The floor counts passes: cross entropy is a forward pass, one backward pass to the inputs of each layer and one to the
weights, 3. Memory is the peak of the tensors that a step makes, gradients included, and is the same on every machine.

    python benchmarks/train_step.py [--pairs 20] [--case NAME ...]
"""

import argparse
import copy
import gc
import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradsculpt import prepare_process
from gradsculpt.models import build
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    GradientPenalty,
    HessianNorm,
    LocalGradientAlignment,
    Objective,
)
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization, SquaredL2
from gradsculpt.perturbations import Free, Iterative

EPS = 4 / 255 / 0.25
Formula = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Case(NamedTuple):
    """One line of the table: a step, and what it is measured against."""

    name: str
    network: str
    batch: int
    side: int
    objective: Objective
    passes: float
    published: str = "-"
    softplus: float | None = None
    plain: Formula | None = None
    bf16: bool = False


def plain_alignment(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the loss of local gradient alignment as printed, with the squared distance that its weights assume."""
    x = x.clone().requires_grad_()
    logits = network(x)
    source = torch.autograd.grad(logits[range(len(y)), y].sum(), x, create_graph=True)[0].detach()
    loss = F.cross_entropy(logits, y)
    other = (x + EPS * (2 * torch.rand_like(x) - 1)).detach().requires_grad_()
    near = torch.autograd.grad(network(other)[range(len(y)), y].sum(), other, create_graph=True)[0]
    distance = (source - near).flatten(1).norm(dim=1).square().mean()
    cosine = F.cosine_similarity(source.flatten(1), near.flatten(1)).mean()
    return loss + 0.01 * distance + (1 - cosine) / 2


def plain_hessian(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return cross entropy plus the estimated squared norm of the Hessian."""
    x = x.clone().requires_grad_()
    logits = network(x)
    gradient = torch.autograd.grad(logits[range(len(y)), y].sum(), x, create_graph=True)[0]
    product = torch.autograd.grad((gradient * torch.randn_like(x)).sum(), x, create_graph=True)[0]
    return F.cross_entropy(logits, y) + 1e-3 * product.flatten(1).square().sum(dim=1).mean()


def plain_penalty(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return cross entropy plus the L1 norm of its gradient."""
    x = x.clone().requires_grad_()
    losses = F.cross_entropy(network(x), y, reduction="none")
    gradient = torch.autograd.grad(losses.sum(), x, create_graph=True)[0]
    return losses.mean() + 0.01 * gradient.abs().flatten(1).sum(dim=1).mean()


ELASTIC = ElasticNet(0.01, 0.05)
ALIGNMENT = LocalGradientAlignment(l2=0.01, cosine=1.0, eps=EPS)
CASES = (
    *(
        Case(f"one-step, {type(penalty).__name__}", network, batch, side, AdversarialTraining(penalty), 5)
        for network, batch, side in (("lenet", 128, 32), ("efficientnet_b0", 16, 128))
        for penalty in (ELASTIC, L1(0.01), SquaredL2(0.1), GroupL21(0.1, patch=14), Harmonization(1.0))
    ),
    Case("7-step, elastic net", "lenet", 128, 32, AdversarialTraining(ELASTIC, Iterative(7)), 19),
    Case("7-step, L1", "lenet", 128, 32, AdversarialTraining(L1(0.01), Iterative(7)), 19),
    Case("free, 4 replays", "lenet", 128, 32, AdversarialTraining(L1(0.01), Free(4)), 3),
    Case("penalty, L1", "lenet", 128, 32, GradientPenalty(L1(0.01)), 8, plain=plain_penalty),
    Case("l2 + cosine", "lenet", 128, 32, ALIGNMENT, 10, "2.75x", 3.0, plain_alignment),
    Case("l2 + cosine", "resnet18-cifar", 32, 32, ALIGNMENT, 10, "4.10x", 3.0, plain_alignment),
    Case("l2 + cosine, bf16", "lenet", 128, 32, ALIGNMENT, 10, "2.75x", 3.0, plain_alignment, bf16=True),
    Case("Hessian", "lenet", 128, 32, HessianNorm(1e-3), 12, "4.25x", 3.0, plain_hessian),
    Case("Hessian", "resnet18-cifar", 32, 32, HessianNorm(1e-4), 12, "8.95x", 3.0, plain_hessian),
)
"""The passes of seven steps are those of the published count: eight input gradients, 16, and a training step."""


def main() -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--case", nargs="*", default=None, help="only cases whose names contain one of these")
    options = parser.parse_args()
    prepare_process()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.pairs} pairs", flush=True)
    for case in CASES:
        if options.case is None or any(word in f"{case.name} {case.network}" for word in options.case):
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
            network = with_stock_layers(network, third=loss is plain_hessian)
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


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are made, and alive, inside it."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, int] = {}
        self._now = self.most = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the operation and add what it made."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._alive:
                    self._alive[key] = storage.nbytes()
                    self._now += storage.nbytes()
                    self.most = max(self.most, self._now)
                    weakref.finalize(storage, self._freed, key)
        return result

    def _freed(self, key: int) -> None:
        self._now -= self._alive.pop(key, 0)


class PlainBatchNorm(nn.BatchNorm2d):
    """Batch normalisation out of plain operations: PyTorch's own refuses a third derivative."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised by the statistics of the batch."""
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
        scaled = (x - mean) * (variance + self.eps).rsqrt()
        return scaled * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def with_stock_layers(network: nn.Module, *, third: bool) -> nn.Module:
    """Return a copy of a network with PyTorch's own Softplus, and normalisation that bears a third derivative."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Softplus):
                setattr(parent, name, nn.Softplus(child.beta))
            elif third and isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, PlainBatchNorm(child.num_features))
    return network


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
