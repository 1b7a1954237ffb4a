"""What the targeted attack costs and achieves, beside the published formula written plainly.

Times whole attacks on the same batch, alternating in one process, and prints the median of the pairwise ratios with
its quartiles. The network is a shipped one with Softplus, trained for a moment on gratings, so that its classes mean
something. "Plain" is the released formula: Adam, parameters that are differentiated along, PyTorch's own layers in
PyTorch's default memory format, every image to the last step, the last iterate returned.

The count of passes: a step of the plain formula is a forward pass, a backward pass to the images, and a backward pass
through both to images and weights, 1 + 1 + 2 + 2 = 6; a step of ours leaves the weights out, 1 + 1 + 2 = 4.

Success is the mean squared distance of the map from the frame, where an attacked image that lost its class counts as
the clean one; less is better for the attacker.

    python benchmarks/attacks.py [--pairs 5] [--steps 100] [--network NAME ...]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from train_step import ratio, with_stock_layers

from gradsculpt import prepare_process
from gradsculpt.attacks import TargetedManipulation, frame
from gradsculpt.attributions import Gradient
from gradsculpt.models import build

EPS = 4 / 255 / 0.25
SIDE = 32


class Case(NamedTuple):
    """One line of the table."""

    network: str
    batch: int


CASES = (Case("convnet", 32), Case("lenet", 32), Case("resnet18-cifar", 8))


def picture(maps: Tensor) -> Tensor:
    """Return magnitudes, added up over the channels and divided by the largest of each image."""
    sums = maps.abs().sum(dim=1)
    return sums / (sums.amax(dim=(1, 2), keepdim=True) + 1e-8)


def plain(network: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """Return the last iterate of the released attack, without its clamping to the extremes of the batch."""
    target, logits = frame(SIDE, SIDE).expand(len(x), SIDE, SIDE), network(x).detach()
    attacked = x.clone().requires_grad_()
    optimizer = torch.optim.Adam([attacked], lr=4 * EPS / steps)
    for _ in range(steps):
        optimizer.zero_grad()
        found = network(attacked)
        (maps,) = torch.autograd.grad(found[range(len(y)), y].sum(), attacked, create_graph=True)
        explanation = F.mse_loss(picture(maps), target, reduction="sum") / len(x)
        (0.5 * explanation + 0.5 * F.mse_loss(found, logits)).backward()
        optimizer.step()
        with torch.no_grad():
            attacked.copy_(x + (attacked - x).clamp(-EPS, EPS))
    return attacked.detach()


def gratings(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return noisy images of stripes in ten directions, and the direction of each."""
    y = torch.randint(10, (count,), generator=generator)
    angle = y.view(-1, 1, 1, 1) * (torch.pi / 10)
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    shift = 6.3 * torch.rand(count, 3, 1, 1, generator=generator)
    stripes = torch.sin(0.8 * (across * angle.cos() + down * angle.sin()) + shift)
    return stripes + 0.7 * torch.randn(count, 3, SIDE, SIDE, generator=generator), y


def trained(name: str, steps: int = 150) -> nn.Module:
    """Return a network with Softplus that knows gratings, in evaluation mode."""
    torch.manual_seed(0)
    network, generator = build(name, num_classes=10, image_size=SIDE, softplus=3.0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        x, y = gratings(64, generator)
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network.eval()


def line(case: Case, steps: int, pairs: int) -> str:
    """Measure a case and say what came out."""
    network = trained(case.network)
    stock = with_stock_layers(network, third=False)
    network = network.to(memory_format=torch.channels_last)
    x, y = gratings(case.batch, torch.Generator().manual_seed(1))
    attack = TargetedManipulation(EPS, steps=steps)
    ways: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: attack(network, Gradient(), x.contiguous(memory_format=torch.channels_last), y),
        "plain": lambda: plain(stock, x, y, steps),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Tensor] = {}
    for _ in range(pairs):
        for name, way in ways.items():
            started = time.perf_counter()
            results[name] = way()
            times[name].append(time.perf_counter() - started)
    clean = distance(network, x, y)
    scores = {}
    for name, attacked in results.items():
        kept = network(attacked).argmax(dim=1) == network(x).argmax(dim=1)
        scores[name] = torch.where(kept, distance(network, attacked, y), clean), kept.float().mean()
    told = ", ".join(f"{name} {score.mean():.4f} (class kept {kept:.0%})" for name, (score, kept) in scores.items())
    better = (scores["ours"][0] <= scores["plain"][0]).float().mean()
    return (
        f"{case.network}, batch {case.batch}, {steps} steps: {ratio(times['ours'], times['plain'])} of the plain time "
        f"({statistics.median(times['ours']):.1f} s); distance from the frame: clean {clean.mean():.4f}, {told}; "
        f"ours at least as near for {better:.0%} of the images"
    )


def distance(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared distance of each map from the frame."""
    return (picture(Gradient()(network, x, y)) - frame(SIDE, SIDE)).square().mean(dim=(1, 2))


def main() -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--network", nargs="*", default=None)
    options = parser.parse_args()
    prepare_process()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.pairs} pairs", flush=True)
    for case in CASES:
        if options.network is None or case.network in options.network:
            print(line(case, options.steps, options.pairs), flush=True)


if __name__ == "__main__":
    main()
