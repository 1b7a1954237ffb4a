"""Sanity checks: whether a map changes when what the network has learnt is taken away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.attributions import Attribution, heatmap
from gradsculpt.attributions.heatmap import magnitudes
from gradsculpt.eager import eager
from gradsculpt.errors import ModelError, first_line
from gradsculpt.evaluation.layer_randomization import find_stages, redraw, restore, selected
from gradsculpt.evaluation.parametrized import copied
from gradsculpt.gradients import Model
from gradsculpt.isolation import undisturbed
from gradsculpt.metrics import Score, spearman, ssim, topk_intersection
from gradsculpt.outputs import logits_at, predicted

SANITY_SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "ssim": Score(
            "ssim",
            -1.0,
            1.0,
            "lower",
            meaning="How alike the map of a randomised network looks: 1 is the same.",
        ),
        "spearman": Score(
            "spearman",
            -1.0,
            1.0,
            "lower",
            meaning="Whether the map of a randomised network puts the pixels in the same order: 1 is the same.",
        ),
        "topk_intersection": Score(
            "topk_intersection",
            0.0,
            1.0,
            "lower",
            "fraction",
            "How many of the map's strongest pixels stay when what the network has learnt is taken away.",
        ),
        "magnitude": Score(
            "magnitude",
            0.0,
            float("inf"),
            None,
            meaning="How strong the map of a randomised network is, as a multiple of what it was.",
        ),
        "blank": Score(
            "blank", 0.0, 1.0, None, "fraction", "At how many pixels the map of a randomised network is zero."
        ),
    }
)
"""What a map is compared by with that of a randomised network: the less alike, the more the map owes to training.

`ssim`, `spearman` and `topk_intersection` are those of the heat maps (one value a pixel, each map scaled by itself);
`magnitude` is the mean magnitude as a share of what it was (infinite if that was 0); `blank` is the share of pixels
without attribution, 1 for a map that is zero everywhere.
"""


@dataclass(frozen=True, eq=False)
class Randomization:
    """What became of the maps as the network was randomised; the network as it was is no stage and in no value.

    Args:
        stages: Names of the S stages, in the order in which they were randomised: from the output to the input.
        values: One value a stage and image, [S, N]: those of `SANITY_SCORES` by name.
        original: Maps of the first images before, [M, C, H, W]; `maps` are theirs at each stage, [S, M, C, H, W].

    Units: those of `SANITY_SCORES`; of maps, those of the attribution.
    """

    stages: tuple[str, ...]
    values: Mapping[str, Tensor]
    original: Tensor
    maps: Tensor

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    def means(self) -> dict[str, Tensor]:
        """Return the mean over the images at each stage, [S], by name."""
        return {name: values.mean(dim=1) for name, values in self.values.items()}


def randomization(
    model: nn.Module,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None = None,
    seed: int = 0,
    stages: int | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    independent: bool = False,
    k: float = 0.4,
    keep: int = 0,
    batch_size: int = 64,
) -> Randomization:
    """Compare the maps of a network with those after its weights are drawn anew, stage by stage from the output down.

    A stage is a module that owns parameters; `find_stages` says in which order they come, and `redraw` how weights are
    drawn, and why statistics of BatchNorm are reset with them.

    Args:
        model: Any module from [N, C, H, W] to logits. It is copied and stays as it is, and so does the random state.
        attribution: The maps. Copied together with the model, so that it may refer to a layer of it.
        x: What the model takes, [N, C, H, W].
        y: Classes whose maps are read [N]; None for those that the network predicts before it is randomised.
        seed: Seed of the weights, whatever the device; each module has its own stream, in every cascade the same.
        stages: Names of modules, each one stage with all that is in it, while the rest stays; or a number of stages,
            into which neighbours are merged under the name of the one nearest to the input; None for all.
        progress: Called as `progress(done, total)` after each stage.
        independent: Randomise each stage alone instead of all from the output up to it.
        k: Share of the non-zero pixels whose overlap is counted; chance is about this for dense maps.
        keep: For how many of the first images the maps themselves are returned.
        batch_size: Images a pass.

    Returns:
        The values of `SANITY_SCORES` for each stage and image.

    Raises:
        GradsculptError: If an argument is out of range, or the model cannot be copied or has no parameters.

    Source: Adebayo et al., NeurIPS 2018 (Sanity checks for saliency maps); Gong et al., CVPR 2024, C.2.6, Fig. 11, 15.

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
        >>> result = randomization(network, Gradient(), torch.rand(4, 1, 8, 8))
        >>> result.stages, result["ssim"].shape
        (('3', '0'), torch.Size([2, 4]))
    """
    checks.images("x", x)
    for name, value, low in (("seed", seed, 0), ("keep", keep, 0), ("batch_size", batch_size, 1)):
        checks.at_least(name, value, low)
    network, reader = _copies(model, attribution)
    chosen = selected(find_stages(network, x), stages, network)
    target = _classes(network, x, y, batch_size)
    before = _maps(network, reader, x, target, batch_size)
    values, kept = [], []
    for done, stage in enumerate(chosen, start=1):
        redraw(network, stage, seed)
        after = _maps(network, reader, x, target, batch_size)
        values.append(_compared(before, after, k))
        kept.append(after[:keep].clone())
        if independent:
            restore(network, stage, eager(model, "randomisation"))
        if progress is not None:
            progress(done, len(chosen))
    stacked = {name: torch.stack([each[name] for each in values]) for name in SANITY_SCORES}
    return Randomization(tuple(stage.name for stage in chosen), stacked, before[:keep].clone(), torch.stack(kept))


def data_randomization(
    model: Model,
    randomized: Model,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None = None,
    *,
    k: float = 0.4,
    batch_size: int = 64,
) -> dict[str, Tensor]:
    """Compare the maps of a network with those of one that was trained on permuted labels.

    Permuted labels can only be learnt by heart, so a map that shows what labels have to do with images must change; in
    the paper, an adversarially trained network then gives one answer to all images, and its maps are zero.

    `model` was trained on the true labels and `randomized`, the same network, on permuted ones (the recipe
    `random-labels`); both take x, and maps are of the classes y, or of those that `model` predicts. The other arguments
    and the errors are those of `randomization`.

    Returns:
        The values of `SANITY_SCORES`, one an image [N].

    Units: those of `SANITY_SCORES`.
    Source: Adebayo et al., NeurIPS 2018 (Sanity checks for saliency maps); Gong et al., CVPR 2024, C.2.6, Fig. 9.

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> trained, constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), lambda x: torch.zeros(len(x), 3)
        >>> data_randomization(trained, constant, Gradient(), torch.rand(2, 1, 8, 8))["blank"]
        tensor([1., 1.])
    """
    checks.images("x", x)
    checks.at_least("batch_size", batch_size, 1)
    target = _classes(model, x, y, batch_size)
    before, after = (_maps(each, attribution, x, target, batch_size) for each in (model, randomized))
    return _compared(before, after, k)


def _compared(before: Tensor, after: Tensor, k: float) -> dict[str, Tensor]:
    first, second = heatmap(before, clip=100.0), heatmap(after, clip=100.0)
    old, new = (magnitudes("maps", maps).flatten(1).mean(dim=1) for maps in (before, after))
    return {
        "ssim": ssim(first, second),
        "spearman": spearman(first, second),
        "topk_intersection": topk_intersection(first, second, k, nonzero=True),
        "magnitude": torch.where(old == new, 1.0, new / old),  # two zero maps are alike
        "blank": (second == 0).flatten(1).to(second.dtype).mean(dim=1),
    }


def _copies(model: nn.Module, attribution: Attribution) -> tuple[nn.Module, Attribution]:
    if not isinstance(model, nn.Module):
        raise ModelError(f"{type(model).__name__} is no torch module, so its weights are out of reach; pass a module.")
    network: nn.Module = eager(model, "randomisation")
    try:
        copies: tuple[nn.Module, Attribution] = copied((network, attribution), network)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied, and your own must not be changed ({first_line(error)}). Remove "
            "what stands in the way from its modules, such as locks, open files or tensors with a graph."
        ) from error
    return copies


def _classes(model: Model, x: Tensor, y: Tensor | None, batch_size: int) -> Tensor:
    if y is not None:
        return checks.labels(y, len(x)).to(x.device)
    with undisturbed(model), torch.no_grad():
        return torch.cat([predicted(logits_at(model, images)) for images in torch.split(x, batch_size)])


def _maps(model: Model, attribution: Attribution, x: Tensor, target: Tensor, batch_size: int) -> Tensor:
    batches = zip(torch.split(x, batch_size), torch.split(target, batch_size), strict=True)
    return torch.cat([attribution(model, images, classes).detach() for images, classes in batches])
