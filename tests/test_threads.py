"""Threads that share a network: what each computes is what it would compute alone, and nothing is left behind."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import gradsculpt
from gradsculpt.errors import GradsculptError
from gradsculpt.isolation import random_state, undisturbed
from tests.networks import same_state, state
from tests.odd import Plain, plain
from tests.test_odd_networks import RUNS, Run, images

THREADS = 8
TOGETHER = {name: run for name, run in RUNS.items() if not name.startswith("objective")}


class Dropping(nn.Module):
    """A network with dropout, whose masks come from the random state that all threads share."""

    def __init__(self, net: Plain) -> None:
        super().__init__()
        self.net, self.dropout = net, nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net.scores(self.dropout(self.net.maps(x)))


def together(work: Callable[[int], Tensor], count: int) -> list[Tensor]:
    """Do so many pieces of work in several threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(count)))


def outcome(run: Run, model: nn.Module, x: Tensor, y: Tensor) -> Tensor | None:
    """Return the result; nothing for what is not defined in training, as relevance is not."""
    try:
        return run(model, x, y)
    except GradsculptError:
        return None


@pytest.mark.parametrize("training", [False, True])
def test_eight_threads_compute_what_one_would_and_leave_nothing_behind(training: bool) -> None:
    model, (x, y) = Dropping(plain()).train(training), images(16)
    runs = list(TOGETHER.values())
    shares = [(x[i : i + 2], y[i : i + 2]) for i in range(0, 16, 2)]
    work = [(run, share) for run in runs for share in shares]
    torch.manual_seed(3)
    expected = [outcome(run, model, *share) for run, share in work]
    before, random = state(model), torch.get_rng_state()
    buffers = [id(buffer) for buffer in model.buffers()]
    found = together(lambda i: outcome(work[i][0], model, *work[i][1]), len(work))  # type: ignore[arg-type, return-value]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert same_state(state(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert [id(buffer) for buffer in model.buffers()] == buffers
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_threads_that_train_and_threads_that_evaluate_do_not_meet() -> None:
    trained, evaluated = Dropping(plain()).train(), Dropping(plain(seed=1)).eval()
    (x, y), run = images(), RUNS["SmoothGrad"]
    torch.manual_seed(3)
    expected = [run(model, x, y) for model in (trained, evaluated)]
    random = torch.get_rng_state()
    found = together(lambda i: run((trained, evaluated)[i % 2], x, y), 40)
    for i, maps in enumerate(found):
        torch.testing.assert_close(maps, expected[i % 2], rtol=1e-10, atol=1e-12)
    assert torch.equal(torch.get_rng_state(), random)


class Counting(nn.Module):
    """A network that counts its passes in a buffer, whatever its mode, by overwriting or by replacing it."""

    def __init__(self, replacing: bool) -> None:
        super().__init__()
        self.net, self.replacing = plain(), replacing
        self.passes: Tensor
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes = self.passes + 1 if self.replacing else self.passes.add_(1)
        return self.net(x)


@pytest.mark.parametrize("replacing", [False, True])
def test_a_buffer_that_changes_in_evaluation_is_as_it_was(replacing: bool) -> None:
    model, (x, y) = Counting(replacing).eval(), images()
    counter = model.passes
    expected = RUNS["SmoothGrad"](model, x, y)
    for maps in together(lambda _: RUNS["SmoothGrad"](model, x, y), 24):
        torch.testing.assert_close(maps, expected)
    assert model.passes is counter
    assert counter == 0


def test_in_evaluation_nothing_changes_identity_even_while_a_pass_runs() -> None:
    model = plain()
    buffers = [id(buffer) for buffer in model.buffers()]
    with undisturbed(model):
        model(images()[0])
        assert [id(buffer) for buffer in model.buffers()] == buffers
    with undisturbed(model.train()):
        assert [id(buffer) for buffer in model.buffers()] != buffers
    assert [id(buffer) for buffer in model.buffers()] == buffers


def test_blocks_nest_and_each_puts_the_random_state_back() -> None:
    torch.manual_seed(0)
    outer = torch.get_rng_state()
    with undisturbed(plain().train()):
        first = torch.rand(3)
        inner = torch.get_rng_state()
        for model in (plain(), plain().train(), None):
            with undisturbed(model):
                torch.rand(3)
            assert torch.equal(torch.get_rng_state(), inner)
        with undisturbed(plain(), random={"cpu": outer}):
            assert torch.equal(torch.rand(3), first)
        assert torch.equal(torch.get_rng_state(), inner)
    assert torch.equal(random_state()["cpu"], outer)


def test_the_random_state_is_forked_in_one_place() -> None:
    """What forks it by itself would undo, at its end, what threads beside it have drawn meanwhile."""
    source = Path(gradsculpt.__file__).parent
    forking = [path.name for path in source.rglob("*.py") if "fork_rng" in path.read_text(encoding="utf-8")]
    assert not forking
