"""The bounds of the cosine criterion by the size of the noise, against what one direction of noise gives by hand."""

import csv
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradsculpt.data import ImageSet, Splits
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Scorecard
from gradsculpt.evaluation.per_image_values import VALUES
from gradsculpt.evaluation.scorecard import FILE
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier
from gradsculpt.progress import Reporter
from gradsculpt.studies.experiments import Given
from gradsculpt.studies.experiments.base import ARRAYS
from gradsculpt.studies.experiments.upper_bounds import UpperBounds

SPACE = InputSpace(mean=(0.5, 0.4, 0.3), std=(0.25, 0.5, 0.2))


class Quadratic(nn.Module):
    """Logits x'A x / 2 + b'x, whose gradient is A x + b and whose Hessian is A, everywhere."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        drawn = torch.randn(3, 12, 12, generator=generator, dtype=torch.float64)
        self.a = nn.Parameter(drawn + drawn.mT)
        self.b = nn.Parameter(torch.randn(3, 12, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return torch.einsum("ni,kij,nj->nk", flat, self.a, flat) / 2 + flat @ self.b.T


def images(count: int) -> ImageSet:
    generator = np.random.default_rng(0)
    pixels = generator.integers(60, 190, (count, 2, 2, 3), dtype=np.uint8)  # far from the edges: nothing is clamped
    labels = np.arange(count, dtype=np.int64) % 3
    return ImageSet(pixels, labels, ("a", "b", "c"), tuple(f"image {i}" for i in range(count)))


def given(folder: Path, count: int = 7, seed: int = 0) -> Given:
    network = Quadratic()
    classifier, part = Classifier(network, SPACE, ("a", "b", "c"), 2).double(), images(count)

    class Here(Given):
        def classifier(self, name: str = "network") -> Classifier:
            return classifier

        def data(self, name: str = "network") -> Splits:
            return Splits(part, part, part)

    values: dict[str, Any] = {field.name: None for field in fields(Given)}
    values |= {"folder": folder, "runs": {"network": folder}, "seed": seed, "device": "cpu", "reporter": Reporter()}
    return Here(**values)


def kept(folder: Path) -> tuple[Scorecard, list[dict[str, str]], dict[str, Any]]:
    with (folder / VALUES).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with np.load(folder / ARRAYS) as arrays:
        return Scorecard.load(folder / FILE), rows, dict(arrays)


def test_criterion_and_bound_are_those_of_the_theorem_at_each_level(tmp_path: Path) -> None:
    UpperBounds(levels=(4.0, 16.0), images=7, draws=3, probes=2, batch_size=4).run(given(tmp_path))
    card, _, arrays = kept(tmp_path)
    network, part = Quadratic(), images(7)
    drawn = torch.Generator().manual_seed(0)
    noise = [(2 * torch.rand(1, 3, 2, 2, generator=drawn) - 1).double() for _ in range(3)]
    for place, level in enumerate((4.0, 16.0)):
        eps = torch.tensor([level / 255 / std for std in SPACE.std]).view(3, 1, 1)
        for i in range(7):
            pixels = torch.from_numpy(part.images[i]).permute(2, 0, 1).double() / 255
            x = ((pixels - torch.tensor(SPACE.mean).view(3, 1, 1)) / torch.tensor(SPACE.std).view(3, 1, 1)).flatten()
            matrix, slope = network.a[i % 3].detach(), network.b[i % 3].detach()
            turned, bounds = [], []
            for u in noise:
                d = (u[0] * eps).flatten().double()
                here, there = matrix @ x + slope, matrix @ (x + d) + slope
                turned.append(float((1 - here @ there / here.norm() / there.norm()) / 2))
                bounds.append(float((matrix @ d).norm() / there.norm()))
            assert arrays["cosine_criterion"][place, i] == pytest.approx(np.mean(turned), rel=1e-3)
            assert arrays["directional_bound"][place, i] == pytest.approx(np.mean(bounds), rel=1e-3)
    assert arrays["levels"].tolist() == [4.0, 16.0]
    for name in ("cosine_criterion", "directional_bound"):
        assert card.curves[name].x == (4.0, 16.0)
        assert card.curves[name].mean == pytest.approx(arrays[name].mean(axis=1))
        for place, level in enumerate((4, 16)):
            assert card.entries[f"{name}_{level}"].mean == pytest.approx(arrays[name][place].mean())


def test_it_says_at_how_many_levels_the_bound_holds_and_how_alike_both_rank_images(tmp_path: Path) -> None:
    UpperBounds(levels=(1.0, 30.0), images=7, draws=2, probes=1).run(given(tmp_path))
    card, rows, arrays = kept(tmp_path)
    held = (arrays["cosine_criterion"] <= arrays["directional_bound"]).mean(axis=0)
    by_image = {row["image"]: float(row["bound_held"]) for row in rows if row["bound_held"]}
    assert by_image == {f"image {i}": held[i] for i in range(7)}
    ranks = [[sorted(row).index(value) for value in row] for row in arrays["cosine_criterion"].tolist()]
    others = [[sorted(row).index(value) for value in row] for row in arrays["directional_bound"].tolist()]
    alike = [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(ranks, others, strict=True)]
    assert card.entries["alignment"].mean == pytest.approx(np.mean(alike), abs=1e-6)


def test_images_are_drawn_by_the_seed_and_never_more_than_there_are(tmp_path: Path) -> None:
    names: list[list[str]] = []
    for seed in (0, 0, 1):
        folder = tmp_path / str(len(names))
        folder.mkdir()
        UpperBounds(levels=(4.0,), images=3, draws=1, probes=1).run(given(folder, 20, seed))
        names.append([row["image"] for row in kept(folder)[1] if row["bound_held"]])
    assert names[0] == names[1] != names[2]
    assert len(set(names[0])) == 3
    UpperBounds(levels=(4.0,), images=500, draws=1, probes=1).run(given(tmp_path))
    assert len(kept(tmp_path)[2]["bound"][0]) == 7


@pytest.mark.parametrize(
    "wrong", [{"levels": ()}, {"levels": (-1.0,)}, {"levels": (300.0,)}, {"images": 1}, {"draws": 0}, {"probes": 0}]
)
def test_what_cannot_be_measured_is_refused_when_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        UpperBounds(**wrong)
