"""Whether a GPU computes what the CPU computes: every member of every family, in float32, on the same random numbers.

Prints one line a family: how many members there are, the largest difference between the two (of any output, by the
size of that output), whose it is, and the tolerance; ends with status 1 if one is beyond it. Members are those that
the tests run their laws over, and steps of the shipped networks beside them. TF32 is switched off. Without a GPU,
float32 on the CPU is compared with float64, which shows what rounding alone does.

    PYTHONPATH=src python benchmarks/parity.py [--device cuda] [--family NAME ...] [--json FILE] [--all]

Needs what the tests need: pytest, hypothesis and timm.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of the tests

from _alike import Moved, Place, SameNoise, difference, without_tf32
from tests.attacks.test_attacks import MAPS
from tests.attacks.test_attacks import MEMBERS as ATTACKS
from tests.attributions.test_family import MEMBERS as ATTRIBUTIONS
from tests.kernels.layers import CASES as LAYERS
from tests.kernels.test_derivatives import MODES
from tests.metrics import test_metric_laws, test_model_metric_laws
from tests.metrics.smooth import images, perceptron
from tests.networks import batch, network
from tests.objectives.cases import BUILDERS, maps
from tests.penalties.cases import CASES as PENALTIES
from tests.penalties.cases import map_of
from tests.perturbations.test_perturbations import SOLVERS

from gradsculpt.attacks import Attack
from gradsculpt.attributions import Attribution
from gradsculpt.gradients import input_gradient
from gradsculpt.inputs import InputSpace
from gradsculpt.kernels import gpu
from gradsculpt.models import build
from gradsculpt.objectives import AdversarialTraining, HessianNorm, LocalGradientAlignment, Moment, Objective
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Penalty, SquaredL2
from gradsculpt.perturbations import InnerLoss, Iterative, Perturbation

Outputs = dict[str, Tensor]
Computation = Callable[[Place], Outputs]
SPACE = InputSpace((0.5, 0.4, 0.6), (0.2, 0.3, 0.25))
CPU = torch.device("cpu")


class Family(NamedTuple):
    """What is compared under one name.

    Args:
        members: Name and computation of each member.
        tolerance: The largest difference by the size of an output; where a member decides between two sides of a corner
            or repeats a step many times, rounding is amplified.
    """

    members: Callable[[], Iterator[tuple[str, Computation]]]
    tolerance: float


def penalties() -> Iterator[tuple[str, Computation]]:
    """Yield value, dual, conjugate and both proximal maps of every penalty of the laws."""

    def compute(penalty: Penalty, g: Tensor, v: Tensor, place: Place) -> Outputs:
        g, v = place((g, v))
        dual = penalty.dual(g)
        outputs = {"value": penalty.value(g), "dual": dual, "conjugate": penalty.conjugate(dual * 0.5)}
        return outputs | {"prox": penalty.prox(v, 0.5), "conjugate_prox": penalty.conjugate_prox(v, 0.5)}

    for case in PENALTIES:
        g, v = (case.within_reach(map_of(seed, 3, 1.0, 0.3, rounded=False)) for seed in (1, 2))
        yield case.name, partial(compute, case.batch(3), g, v)


def perturbations() -> Iterator[tuple[str, Computation]]:
    """Yield the perturbation of every solver for four penalties, on the loss of a small network."""

    def compute(solver: Perturbation, penalty: Penalty, place: Place) -> Outputs:
        model, (x, y) = place(network(norm=False)).eval(), place(batch())

        def losses(inputs: Tensor) -> Tensor:
            return F.cross_entropy(model(inputs), y, reduction="none")

        loss = InnerLoss(lambda inputs: input_gradient(losses, inputs), losses)
        return {"delta": solver.step(solver.initial_state(), loss, x, penalty)[0]}

    for solver in SOLVERS:
        for penalty in (L1(0.05), SquaredL2(0.2), ElasticNet(0.05, 0.2), GroupL21(0.2, patch=2)):
            yield f"{solver!r} of {penalty!r}", partial(compute, solver, penalty)


def trained(build_objective: Callable[[], Objective], model: nn.Module, x: Tensor, y: Tensor, place: Place) -> Outputs:
    """Return the losses of two steps in a row, and the gradients of all parameters and the buffers after them."""
    objective = build_objective().at(Moment(0.5, 0, SPACE))
    model, (x, y, attention) = place(model), place((x, y, maps(x)))
    state, outputs = objective.initial_state(), dict[str, Tensor]()
    for step in range(2):
        losses = objective(model, x, y, attention, generator=torch.Generator(place.device), state=state)
        losses.loss.backward()
        state = objective.learnt(losses.state)
        terms = {f"{name}, step {step}": term.detach() for name, term in losses.terms.items()}
        outputs |= {**terms, f"loss, step {step}": losses.loss.detach(), f"logits, step {step}": losses.logits}
    # Together: the gradient of a bias in front of BatchNorm is rounding and nothing else, and so may be a mean.
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    statistics = [buffer.flatten() for buffer in model.buffers() if buffer.is_floating_point()]
    together = {"gradients": gradients, "running statistics": statistics}
    return outputs | {name: torch.cat(parts) for name, parts in together.items() if parts}


def objectives() -> Iterator[tuple[str, Computation]]:
    """Yield every objective of the laws, and adversarial training by every solver, on a small network with dropout."""
    solved = {repr(solver): partial(AdversarialTraining, ElasticNet(0.05, 0.2), solver) for solver in SOLVERS}
    for name, build_objective in {**BUILDERS, **solved}.items():
        yield name, partial(trained, build_objective, network(dropout=0.3), *batch(8))


def shipped() -> Iterator[tuple[str, Computation]]:
    """Yield the costly objectives on the shipped networks, in the memory format of trainings."""
    methods: dict[str, Callable[[], Objective]] = {
        "one-step": lambda: AdversarialTraining(ElasticNet(0.01, 0.05)),
        "three steps": lambda: AdversarialTraining(SquaredL2(0.1), Iterative(3)),
        "l2 + cosine": lambda: LocalGradientAlignment(0.01, 1.0, eps=0.06),
        "Hessian": lambda: HessianNorm(1e-3),
    }
    for name, side, count in (("lenet", 32, 32), ("resnet18-cifar", 32, 8), ("efficientnet_b0", 64, 8)):
        torch.manual_seed(0)
        smooth = None if name == "efficientnet_b0" else 3.0
        model = build(name, num_classes=10, image_size=side, softplus=smooth).to(memory_format=torch.channels_last)
        x, y = torch.randn(count, 3, side, side).contiguous(memory_format=torch.channels_last), torch.arange(count) % 10
        for method, build_objective in methods.items():
            yield f"{method}, {name}", partial(trained, build_objective, model, x, y)


def attributions() -> Iterator[tuple[str, Computation]]:
    """Yield the maps of every attribution, and the derivatives of their squares."""

    def compute(attribution: Attribution, place: Place) -> Outputs:
        model, (x, y) = place(network()).eval(), place(batch())
        maps = attribution(model, x.requires_grad_(), y, create_graph=True)
        (slope,) = torch.autograd.grad(maps.square().sum(), x, materialize_grads=True)
        return {"maps": attribution(model, x.detach(), y), "maps with a graph": maps, "derivative": slope}

    for attribution in ATTRIBUTIONS:
        yield repr(attribution), partial(compute, attribution)


def attacks() -> Iterator[tuple[str, Computation]]:
    """Yield what every attack adds to images, for two attributions."""

    def compute(attack: Attack, attribution: Attribution, place: Place) -> Outputs:
        model, (x, y) = place(network()).eval(), place(batch())
        return {"delta": attack(model, attribution, x, y) - x}

    for attack in ATTACKS:
        for attribution in MAPS[:2]:
            yield f"{attack!r} on {attribution!r}", partial(compute, attack, attribution)


def metrics() -> Iterator[tuple[str, Computation]]:
    """Yield the scores of every metric, of maps and of models."""

    def moved(model: Any, place: Place) -> Any:
        def function(x: Tensor) -> Tensor:
            with Moved(place):
                return model(x)

        return place(model) if isinstance(model, nn.Module) else function

    def compute(each: Any, arguments: dict[str, Any], place: Place) -> Outputs:
        given = place(arguments)
        result = each(**given | {name: moved(model, place) for name, model in given.items() if name == "model"})
        # How far an iteration is from its end is small, and all rounding.
        told = (
            {name: values for name, values in result.items() if name != "residual"} if isinstance(result, dict) else {}
        )
        return told or {each.name: result}

    for each in test_metric_laws.ON_MAPS:
        yield each.name, partial(compute, each, test_metric_laws.inputs(each, 1, (4, 3, 9, 7), torch.float64))
    for each in test_model_metric_laws.ON_MODELS:
        given = test_model_metric_laws.given(each, perceptron((3, 5, 4)), *images(4, (3, 5, 4)))
        yield each.name, partial(compute, each, given)


def kernels() -> Iterator[tuple[str, Computation]]:
    """Yield the values of every layer and its derivatives up to the third, in both modes that networks are run in."""

    def weights(t: Tensor, order: int) -> Tensor:
        return torch.linspace(0.3, 1.7, t.numel()).roll(order).view_as(t)

    def compute(name: str, mode: str, place: Place) -> Outputs:
        layer, points = LAYERS[name]
        leaves = [place(point.detach()).requires_grad_() for point in points]
        with gpu.used():
            with MODES[mode](), Moved(place):
                value = layer(*leaves)
            outputs, number = {"value": value.detach()}, (0.4 * value + 0.3 * value.square()).sin()
            for order in (1, 2, 3):
                number = (number * weights(number, order).to(number)).sum()
                slopes = torch.autograd.grad(number, leaves, create_graph=order < 3, materialize_grads=True)
                outputs[f"order {order}"] = number = torch.cat([slope.flatten() for slope in slopes])
                if not number.requires_grad:
                    break
        return outputs

    recurrent = ("RNN", "LSTM", "GRU")  # cuDNN differentiates them once and no more
    for name in (name for name in LAYERS if not name.endswith(recurrent)):
        for mode in MODES:
            yield f"{name}, {mode}", partial(compute, name, mode)


FAMILIES: dict[str, Family] = {
    "penalties": Family(penalties, 1e-4),
    "perturbations": Family(perturbations, 1e-2),
    "objectives": Family(objectives, 1e-3),
    "shipped networks": Family(shipped, 3e-2),
    "attributions": Family(attributions, 1e-2),
    "attacks": Family(attacks, 1e-2),
    "metrics": Family(metrics, 1e-3),
    "layers to the third derivative": Family(kernels, 1e-3),
}


class Comparison(NamedTuple):
    """One member: how far the places are apart, in which output, and what went wrong where something did."""

    member: str
    worst: float
    output: str
    failure: str = ""


def compared(member: str, compute: Computation, trial: Place, reference: Place) -> Comparison | None:
    """Compute a member in both places on the same random numbers; None of what this PyTorch cannot derive on a CPU."""
    results = []
    for place in (reference, trial):
        try:
            torch.manual_seed(0)
            with SameNoise():
                results.append(compute(place))
        except Exception as error:
            if place is reference and "is not implemented" in str(error):
                return None
            return Comparison(member, float("inf"), "", f"{place}: {type(error).__name__}: {error}".splitlines()[0])
    expected, outputs = results
    if expected.keys() != outputs.keys():
        return Comparison(member, float("inf"), "", f"other outputs: {', '.join(outputs)}")
    worst, output = max((difference(outputs[name], expected[name]), name) for name in expected)
    return Comparison(member, worst, output)


def family_line(name: str, comparisons: Sequence[Comparison], tolerance: float, seconds: float) -> str:
    """Say what came out for a family."""
    worst = max(comparisons, key=lambda one: one.worst)
    beyond = [one for one in comparisons if not one.worst <= tolerance]
    state = f"{len(beyond)} BEYOND" if beyond else "within"
    where = worst.failure or worst.output
    shown = f"{name:32} {len(comparisons):4} members  largest difference {worst.worst:.1e}, {state} {tolerance:.0e}"
    return f"{shown}  {worst.member} ({where})  {seconds:.1f} s"


def main() -> int:
    """Compare, print a line a family, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--family", nargs="*", default=None, help="only families whose names contain one of these")
    parser.add_argument("--json", type=Path, default=None, help="also write what came out to this file")
    parser.add_argument("--all", action="store_true", help="name every member that is beyond the tolerance")
    options = parser.parse_args()
    if options.device not in ("cpu", "cuda") or (options.device == "cuda" and not torch.cuda.is_available()):
        parser.error(f"--device {options.device} is not here; it is cuda, where PyTorch finds one, or cpu.")
    warnings.filterwarnings("ignore")
    device = torch.device(options.device)
    precise = torch.float64 if device.type == "cpu" else torch.float32
    trial, reference = Place(device, torch.float32), Place(CPU, precise)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    print(f"torch {torch.__version__}, {card}: {trial} beside {reference}, without TF32", flush=True)
    rows = []
    with without_tf32():
        for name, family in FAMILIES.items():
            if options.family is not None and not any(word in name for word in options.family):
                continue
            started = time.perf_counter()
            each = (compared(member, compute, trial, reference) for member, compute in family.members())
            comparisons = [comparison for comparison in each if comparison is not None]
            print(family_line(name, comparisons, family.tolerance, time.perf_counter() - started), flush=True)
            beyond = [one for one in comparisons if not one.worst <= family.tolerance]
            for one in beyond[: None if options.all else 5]:
                print(f"    {one.worst:.1e}  {one.member}  {one.failure or one.output}", flush=True)
            worst = max(comparisons, key=lambda one: one.worst)
            rows.append(
                {
                    "family": name,
                    "members": len(comparisons),
                    "beyond": len(beyond),
                    "largest": worst.worst,
                    "member": worst.member,
                    "tolerance": family.tolerance,
                }
            )
    if options.json is not None:
        facts = {"torch": torch.__version__, "card": card, "trial": str(trial), "reference": str(reference)}
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return int(any(row["beyond"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
