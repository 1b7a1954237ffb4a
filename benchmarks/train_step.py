"""What a training step costs: one-step adversarial training beside cross entropy.

Times whole steps (zero the gradients, objective, backward pass, optimiser) of the same network on the same batch,
alternating in one process, and prints the median of the pairwise ratios with its quartiles. Counting passes, cross
entropy is a forward pass, a backward pass to the input side and one to the weights: 3. A one-step perturbation adds a
forward pass and a backward pass to the input: 5 / 3 = 1.667. The process is prepared as the commands prepare theirs.

    python benchmarks/train_step.py [--pairs 30] [--case NAME]
"""

import argparse
import statistics
import time

import torch
from torch import nn

from gradsculpt.cli.process import prepare
from gradsculpt.models import build
from gradsculpt.objectives import AdversarialTraining, CrossEntropy, Objective
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization, Penalty, SquaredL2

FLOOR = 5 / 3
GOAL = 1.75
CASES = {"lenet": ("lenet", 128, 32), "efficientnet_b0": ("efficientnet_b0", 16, 128)}
PENALTIES: tuple[Penalty, ...] = (
    ElasticNet(0.01, 0.05),
    L1(0.01),
    SquaredL2(0.1),
    GroupL21(0.1, patch=14),
    Harmonization(1.0),
)


def main() -> None:
    """Print one line a network and penalty."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--case", choices=CASES, default=None)
    options = parser.parse_args()
    prepare()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.pairs} pairs; "
        f"floor {FLOOR:.3f}, goal {GOAL}"
    )
    for name in [options.case] if options.case else CASES:
        model, batch, size = CASES[name]
        for penalty in PENALTIES:
            ratios, base = compare(model, batch, size, penalty, options.pairs)
            low, median, high = statistics.quantiles(ratios, n=4)
            print(
                f"{name:16} batch {batch:3} {size:3} px  {type(penalty).__name__:13} {median:.3f}x cross entropy "
                f"[quartiles {low:.3f}, {high:.3f}]  cross entropy {base * 1e3:.0f} ms",
                flush=True,
            )


def compare(model: str, batch: int, size: int, penalty: Penalty, pairs: int) -> tuple[list[float], float]:
    """Return the ratio of each pair of steps, and the median time of a cross-entropy step in seconds."""
    torch.manual_seed(0)
    network = build(model, num_classes=10, image_size=size).to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    y, attention = torch.randint(0, 10, (batch,)), torch.rand(batch, 1, size, size)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    objectives = (CrossEntropy(), AdversarialTraining(penalty))
    for objective in objectives * 2:
        step(network, optimizer, objective, x, y, attention)
    times = [[step(network, optimizer, objective, x, y, attention) for objective in objectives] for _ in range(pairs)]
    return [adversarial / plain for plain, adversarial in times], statistics.median(plain for plain, _ in times)


def step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    attention: torch.Tensor,
) -> float:
    """Take one training step and return its seconds."""
    started = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    objective(network, x, y, attention).loss.backward()
    optimizer.step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
