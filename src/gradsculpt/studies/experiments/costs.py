"""What a training step of an objective costs beside one of plain cross entropy."""

import copy
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.configuration import made
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.inputs import InputSpace
from gradsculpt.isolation import seeded
from gradsculpt.metrics import Score
from gradsculpt.models import build
from gradsculpt.objectives import CrossEntropy, HessianNorm, Moment, Objective
from gradsculpt.studies.experiments.base import Experiment, Given, Takes
from gradsculpt.studies.experiments.plain import Formula, plain, with_stock_layers
from gradsculpt.studies.experiments.training_step import TrainingStep

RECIPES = Path(__file__).parents[2] / "recipes"

_OURS, _BASE, _PLAIN = "ours", "cross entropy", "plain"
_SPACE = InputSpace(mean=(0.5,) * 3, std=(0.25,) * 3)
"""Sizes in pixel levels need one; costs do not depend on it."""


@dataclass(frozen=True)
class Costs(Experiment):
    """Times training steps of a recipe's objective beside those of cross entropy, and counts their memory and work.

    A step zeroes the gradients, evaluates the objective, propagates back and moves the parameters, on one batch of
    noise. Steps are taken in turn, one of each kind, on copies of one network; the time of a round is the median of the
    ratios of its pairs, and the interval that of the rounds. Steps are taken one by one, not recorded as CUDA graphs.

    Keeps, as multiples of cross entropy's: `time`, a value a round; `memory`, the peak of what a step holds beyond
    weights and optimiser; `floor`, the multiplications that the step makes, which is the least time that it could take;
    and, where there is one here, `plain_time` and `plain_memory` of the published formula written down with PyTorch's
    own functions, with `speedup`, how many times as long that takes as ours. Also `step_time`, the milliseconds of a
    step of cross entropy.

    Args:
        recipe: Shipped recipe whose objective and activation are measured; of several joined by +, later ones count.
        model: Network by name, with random weights.
        batch_size, image_size, classes: Of the batch.
        rounds, pairs: Numbers of rounds, and of pairs in each.

    Raises: ArgumentError if a number is out of range, or there is no such recipe.
    Source: Joo et al., AAAI 2023 (local gradient alignment), Table 2.
    Deviation: of an objective with a teacher, the step is that of the last stage, as in the paper; the teacher is a
        copy of the network.
    """

    recipe: str = "elastic-net"
    model: str = "lenet"
    batch_size: int = 128
    image_size: int = 32
    classes: int = 10
    rounds: int = 5
    pairs: int = 9
    takes: ClassVar[Takes] = "nothing"

    def __post_init__(self) -> None:
        checks.each_at_least(self, batch_size=1, image_size=1, classes=2, rounds=1, pairs=1)
        recipe_settings(self.recipe)

    def run(self, given: Given) -> None:
        """Prepare the steps, count, and take them in turn."""
        settings = recipe_settings(self.recipe)
        objective = made(settings.get("objective"), f"recipe {self.recipe}: objective") or CrossEntropy()
        objective = objective.at(Moment(space=_SPACE))
        with seeded(given.seed, [given.device] if given.device.startswith("cuda") else []):
            network = build(
                self.model,
                num_classes=self.classes,
                image_size=self.image_size,
                softplus=settings.get("softplus"),
            )
            network = network.to(given.device).to(memory_format=torch.channels_last).train()
            batch = self._batch(objective, torch.device(given.device))
            steps = {_BASE: self._step(network, CrossEntropy(), batch), _OURS: self._step(network, objective, batch)}
            if (formula := plain(objective)) is not None:
                steps[_PLAIN] = self._plain_step(network, formula, batch, third=isinstance(objective, HessianNorm))
            for step in list(steps.values()) * 2:  # what is prepared once is prepared in the first
                step.run()
            memory = {name: step.peak() for name, step in steps.items()}
            work = {name: step.work() for name, step in steps.items() if name != _PLAIN}
            times = self._timed(steps, given)
        columns = {_FLOOR: {"step": work[_OURS] / work[_BASE]}}
        for name, (time, held) in _SCORES.items():
            if name in steps:
                columns[time] = _in_rounds([_ratio(each[name], each[_BASE]) for each in times])
                columns[held] = {"step": memory[name] / memory[_BASE]}
        if _PLAIN in steps:
            columns[_SPEEDUP] = _in_rounds([_ratio(each[_PLAIN], each[_OURS]) for each in times])
        columns[_STEP] = _in_rounds([1e3 * statistics.median(each[_BASE]) for each in times])
        given.keep(columns, device=given.device, **vars(self))

    def _timed(self, steps: dict[str, TrainingStep], given: Given) -> list[dict[str, list[float]]]:
        """Return the seconds of steps by kind, for each round."""
        rounds = []
        with given.reporter.work(f"timing {self.recipe}", self.rounds, unit="rounds") as progress:
            for done in range(self.rounds):
                times: dict[str, list[float]] = {name: [] for name in steps}
                for _ in range(self.pairs):
                    for name, step in steps.items():
                        times[name].append(step.run())
                rounds.append(times)
                progress(done + 1, self.rounds)
        return rounds

    def _batch(self, objective: Objective, device: torch.device) -> dict[str, Tensor]:
        shape = (self.batch_size, 3, self.image_size, self.image_size)
        # A teacher's maps have channels, those of a human's attention have none.
        maps = shape if objective.requirements.teacher else (shape[0], 1, *shape[2:])
        return {
            "x": torch.randn(shape).to(device, memory_format=torch.channels_last),
            "y": torch.randint(self.classes, shape[:1]).to(device),
            "attention": torch.rand(maps).to(device),
        }

    def _step(self, network: nn.Module, objective: Objective, batch: dict[str, Tensor]) -> TrainingStep:
        if objective.requirements.teacher is not None:
            objective = objective.with_teacher(copy.deepcopy(network).eval())
        network, state = copy.deepcopy(network), objective.initial_state()

        def loss() -> Tensor:
            nonlocal state
            losses = objective(network, batch["x"], batch["y"], batch["attention"], state=state)
            state = losses.state
            return losses.loss

        return _prepared(network, loss)

    def _plain_step(
        self, network: nn.Module, formula: Formula, batch: dict[str, Tensor], *, third: bool
    ) -> TrainingStep:
        network = with_stock_layers(network, third=third).to(memory_format=torch.contiguous_format)
        x, y = batch["x"].contiguous(memory_format=torch.contiguous_format), batch["y"]
        return _prepared(network, lambda: formula(network, x, y))


def recipe_settings(name: str) -> dict[str, Any]:
    """Return what the shipped recipes that are joined in a name by + say; raise `ArgumentError` if one is not there."""
    settings: dict[str, Any] = {}
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    for each in name.split("+"):
        if each not in known:
            raise ArgumentError(
                f"recipe={each!r} is not shipped; `gradsculpt list` lists them.{did_you_mean(each, known)}"
            )
        settings |= yaml.safe_load((RECIPES / f"{each}.yaml").read_text(encoding="utf-8"))
    return settings


def _prepared(network: nn.Module, loss: Callable[[], Tensor]) -> TrainingStep:
    return TrainingStep(network, loss, torch.optim.Adam(network.parameters(), lr=1e-4))


def _ratio(times: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def _in_rounds(values: list[float]) -> dict[str, float]:
    return {f"round {i}": value for i, value in enumerate(values)}


def _multiple(name: str, meaning: str) -> Score:
    return Score(name, 0.0, math.inf, "lower", "x", meaning)


_SCORES = {
    _OURS: (
        _multiple("time", "How many times as long as one of cross entropy a training step takes."),
        _multiple("memory", "How many times as much memory as one of cross entropy a training step takes."),
    ),
    _PLAIN: (
        _multiple("plain_time", "How many times as long a step takes whose formula is written down plainly."),
        _multiple("plain_memory", "How many times as much memory a step takes whose formula is written down plainly."),
    ),
}
_FLOOR = _multiple("floor", "How many times as many multiplications as one of cross entropy a training step makes.")
_SPEEDUP = Score("speedup", 0.0, math.inf, "higher", "x", "How many times as long the plain step takes as ours.")
_STEP = Score("step_time", 0.0, math.inf, "lower", "ms", "How long a step of cross entropy takes.")
