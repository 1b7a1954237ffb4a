"""Metrics beside the forward passes that they need and beside Quantus: pixel flipping, sparseness, SSIM.

One thread. Each contender runs in turn, several rounds over; the median of the ratios is printed, with quartiles.
"""

import argparse
import statistics
from typing import NamedTuple

import numpy as np
import quantus
import torch
from quantus.functions.similarity_func import ssim as quantus_ssim
from torch import Tensor, nn
from train_step import ratio

from attributions import alternate
from gradsculpt.metrics import aopc_morf, deletion, gini, insertion, ssim
from gradsculpt.models import build

STEPS = 24
"""Quantus wants a step's entries to divide the pixels of an image: with three channels, a multiple of three steps."""


class Case(NamedTuple):
    """A network, the side of its images, and how many there are."""

    network: str
    side: int
    images: int


CASES = (Case("lenet", 32, 64), Case("resnet18-cifar", 32, 64), Case("torchvision:resnet18", 64, 64))


def main() -> None:
    """Print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", nargs="*", help="only the networks whose names contain one of these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, quantus {quantus.__version__}, one thread, {options.rounds} rounds", flush=True)
    for case in CASES:
        if options.case is None or any(word in case.network for word in options.case):
            fidelity(case, options.rounds)
    if options.case is None:
        sparsity_and_similarity(options.rounds)


def fidelity(case: Case, rounds: int) -> None:
    """Compare what takes one forward pass a step and image."""
    torch.manual_seed(0)
    network = build(case.network, num_classes=10, image_size=case.side).eval()
    x, maps = torch.randn(2, case.images, 3, case.side, case.side)
    y = torch.randint(10, (case.images,))
    pixels = maps.abs().sum(dim=1, keepdim=True)
    flipping = quantus.PixelFlipping(
        features_in_step=3 * case.side**2 // STEPS,
        abs=True,
        normalise=False,
        perturb_baseline=0.0,
        disable_warnings=True,
    )
    arrays = {"x_batch": x.numpy(), "y_batch": y.numpy(), "a_batch": pixels.numpy()}
    rows = STEPS * case.images
    times = alternate(
        {
            "bare": lambda: forward(network, x, rows + 1),
            "bare, channels_last": lambda: forward(network, x.contiguous(memory_format=torch.channels_last), rows + 1),
            "bare, one more step": lambda: forward(network, x, rows + case.images),
            "quantus": lambda: flipping(model=network, batch_size=case.images, softmax=True, **arrays),
            "insertion": lambda: insertion(network, x, y, maps, STEPS),
            "deletion": lambda: deletion(network, x, y, maps, STEPS),
            "aopc_morf": lambda: aopc_morf(network, x, y, maps, STEPS),
        },
        rounds,
    )
    for name in ("insertion", "deletion", "aopc_morf"):
        bare = "bare, one more step" if name == "aopc_morf" else "bare"
        shown = [f"{case.network:20} {case.side} px, {case.images} images, {STEPS} steps  {name:10}"]
        shown.append(f"{ratio(times[name], times[bare])} bare passes")
        shown.append(f"{ratio(times[name], times['bare, channels_last'])} bare passes in channels_last")
        shown.append(f"{ratio(times[name], times['quantus'])} quantus pixel flipping")
        shown.append(f"{1e3 * statistics.median(times[name]):.0f} ms")
        print("  ".join(shown), flush=True)


def forward(network: nn.Module, x: Tensor, count: int) -> None:
    """Pass a number of images through a network, a batch at a time."""
    with torch.no_grad():
        for start in range(0, count, len(x)):
            network(x[: min(len(x), count - start)])


def sparsity_and_similarity(rounds: int) -> None:
    """Compare what needs no network."""
    for side in (64, 224):
        maps_alone(64, side, rounds)


def maps_alone(images: int, side: int, rounds: int) -> None:
    """Compare on random maps of one size."""
    a, b = torch.rand(2, images, side, side, generator=torch.Generator().manual_seed(0))
    sparseness = quantus.Sparseness(abs=True, normalise=False, disable_warnings=True)
    nothing = nn.Flatten().eval()
    arrays = {"x_batch": a[:, None].numpy(), "y_batch": np.zeros(images, dtype=int), "a_batch": a[:, None].numpy()}
    times = alternate(
        {
            "gini": lambda: gini(a),
            "quantus gini": lambda: sparseness(model=nothing, **arrays),
            "ssim": lambda: ssim(a, b),
            "quantus ssim": lambda: quantus_ssim(a.numpy(), b.numpy(), batched=True),
        },
        rounds,
    )
    for name in ("gini", "ssim"):
        shown = f"{ratio(times[name], times[f'quantus {name}'])} quantus  {1e3 * statistics.median(times[name]):.1f} ms"
        print(f"{name}, {images} maps of {side} px: {shown}", flush=True)


if __name__ == "__main__":
    main()
