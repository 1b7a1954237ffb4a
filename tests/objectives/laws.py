"""What holds of every objective, and of every sum of them; a law fails with an AssertionError."""

import copy

import torch
from torch import Tensor, nn

from gradsculpt.objectives import CrossEntropy, Losses, Objective
from tests.objectives.cases import maps

DATA_TERMS = ("cross_entropy", "adversarial_cross_entropy", "perturbed_cross_entropy")


def evaluate(objective: Objective, model: nn.Module, x: Tensor, y: Tensor, seed: int = 0) -> Losses:
    """Return the losses on a fresh copy of the network, always with the same randomness."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return objective(copy.deepcopy(model), x, y, maps(x), generator=torch.Generator().manual_seed(seed))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def terms_sum_to_the_loss(objective: Objective, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """The terms are the parts of the loss: one data term, which comes first, and regularisers."""
    losses = evaluate(objective, model, x, y)
    close(torch.stack(list(losses.terms.values())).sum(), losses.loss)
    names = list(losses.terms)
    assert names[0] in DATA_TERMS
    assert not set(names[1:]) & set(DATA_TERMS)
    assert all(term.shape == () for term in losses.terms.values())


def cross_entropy_is_neutral(objective: Objective, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Adding the cross entropy, on whatever side, changes neither value nor names nor logits."""
    alone = evaluate(objective, model, x, y)
    for added in (objective + CrossEntropy(), CrossEntropy() + objective):
        found = evaluate(added, model, x, y)
        assert list(found.terms) == list(alone.terms)
        close(found.loss, alone.loss)
        close(found.logits, alone.logits)


def a_factor_scales_all_but_the_cross_entropy(objective: Objective, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """0.5 * a has a's regularisers halved; a factor of 1 changes nothing, and 0.5 * (2 * a) is a."""
    alone = evaluate(objective, model, x, y).terms
    for same in (1 * objective, 0.5 * (2 * objective)):
        for name, value in evaluate(same, model, x, y).terms.items():
            close(value, alone[name])
    scaled = evaluate(0.5 * objective, model, x, y).terms
    assert list(scaled) == list(alone)
    for name, value in scaled.items():
        if name not in DATA_TERMS:
            close(value, 0.5 * alone[name])
        elif name == "cross_entropy":
            close(value, alone[name])


def adding_keeps_one_data_term(
    data: Objective, first: Objective, second: Objective, model: nn.Module, x: Tensor, y: Tensor
) -> None:
    """A data term keeps its value beside regularisers, and they theirs beside it; the sum has the terms of all."""
    alone = evaluate(data, model, x, y)
    names = list(alone.terms)
    for regulariser in (first, second):
        own, found = evaluate(regulariser, model, x, y), evaluate(data + regulariser, model, x, y)
        assert list(found.terms) == list(alone.terms) + list(own.terms)[1:]
        close(found.logits, alone.logits)
        for name, value in found.terms.items():
            close(value, (alone if name in alone.terms else own).terms[name])
        names += list(own.terms)[1:]
    both = evaluate(data + first + second, model, x, y)
    assert list(both.terms) == names
    close(both.logits, alone.logits)
    close(torch.stack(list(both.terms.values())).sum(), both.loss)
