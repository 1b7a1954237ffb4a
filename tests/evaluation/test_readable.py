"""One image of which a network finds nothing finite: its batch mates keep their scores, and it is counted and named."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Protocol, Scorecard, ScoreGroup, evaluate
from tests.evaluation.cases import GROUPS
from tests.odd import plain
from tests.test_odd_networks import images

BAD = 2
HOW = ("nan", "inf", "gradient", "never")


class Breaks(nn.Module):
    """A network that finds nothing finite in one image: in its logits, or in their gradient alone."""

    def __init__(self, image: Tensor, how: str) -> None:
        super().__init__()
        self.net, self.image, self.how = plain(), image, how

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        bad = ((x.detach() - self.image).abs().flatten(1).mean(dim=1) < 0.03).view(-1, 1)
        if self.how in ("nan", "inf"):
            return torch.where(bad, torch.full_like(logits, float(self.how)), logits)
        size = logits.sum(dim=1, keepdim=True)
        kink = torch.where(bad, (size - size.detach()).square(), torch.ones_like(size)).sqrt()
        return logits + (kink - kink.detach() if self.how == "gradient" else 0 * size)


def data() -> tuple[Tensor, Tensor, Tensor]:
    x, y = images(4)
    x = x.sigmoid()
    return x, y, (torch.rand(4, 1, *x.shape[2:], generator=torch.Generator().manual_seed(0)) > 0.5).double()


def scored(how: str, groups: Any, out: Path) -> tuple[Scorecard, list[dict[str, str]]]:
    x, y, truth = data()
    card = evaluate(Breaks(x[BAD], how), [(x, y, truth)], Protocol(groups), folder=out, names=list("abcd"))
    with (out / "scorecard.csv").open(newline="") as file:
        return card, list(csv.DictReader(file))


@pytest.mark.parametrize("how", HOW[:3])
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_batch_mates_keep_their_scores(group: ScoreGroup, how: str, tmp_path: Path) -> None:
    (card, rows), (whole, expected) = (scored(each, (group,), tmp_path / each) for each in (how, "never"))
    if group.name == "accuracy" and how == "gradient":
        assert "not_finite" not in card.entries  # no map was wanted
        return
    for i, (row, other) in enumerate(zip(rows, expected, strict=True)):
        for name in other.keys() - {"image"}:
            if name.startswith("checksum"):
                continue
            if i == BAD:
                assert row[name] == "", name
            else:
                assert row[name] == pytest.approx(other[name]) if not other[name] else True
                assert not other[name] or float(row[name]) == pytest.approx(float(other[name]), rel=1e-6, abs=1e-9)
    assert (card["not_finite"].mean, card["not_finite"].images) == (0.25, 4)
    assert card.settings["left_out"] == ["c"]
    assert card.warning.startswith("1 OF 4 IMAGES HAVE NO FINITE LOGITS OR MAP (c)")
    assert "not_finite" not in whole.entries
    assert whole.warning == ""
    assert all(entry.images <= 3 for name, entry in card.entries.items() if name != "not_finite")


def test_an_interrupted_evaluation_still_names_what_it_left_out(tmp_path: Path) -> None:
    x, y, _ = data()
    model, group = Breaks(x[BAD], "nan"), next(each for each in GROUPS if each.name == "sparsity")
    batches = [(x[:3], y[:3]), (x[3:], y[3:])]

    def stop(done: int, total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"folder": tmp_path, "names": list("abcd")}
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, batches, Protocol((group,)), progress=stop, **options)
    card = evaluate(model, batches, Protocol((group,)), **options)
    assert card.settings["left_out"] == ["c"]
    assert (card["not_finite"].mean, card["gini"].images) == (0.25, 3)


def test_where_nothing_is_finite_that_is_one_line() -> None:
    class Never(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = plain()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) * torch.nan

    x, y, _ = data()
    with pytest.raises(ArgumentError, match="not finite for any of the 4 images") as caught:
        evaluate(Never(), [(x, y)])
    assert "\n" not in str(caught.value)
