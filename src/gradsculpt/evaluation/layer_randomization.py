"""The parts of a network in the order of a forward pass, and how their weights are drawn anew."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.isolation import undisturbed

WHOLE = "(network)"
"""What the stage of parameters that the network itself owns is called."""


class LayerStage(NamedTuple):
    """A step of a cascade: the module that is randomised, and those in it that own the parameters directly."""

    name: str
    modules: tuple[str, ...]


def find_stages(network: nn.Module, x: Tensor) -> tuple[LayerStage, ...]:
    """Return the stages of a network from the output to the input, found by calling it on two images.

    A module counts by its first call. Parameters of a module that is never called itself, such as projections whose
    weights the attention around them uses, belong to the nearest module above it that is; if no pass uses them at all,
    drawing them changes nothing. The network itself is called first, so what it owns directly comes last.

    Raises:
        ModelError: If the network has no parameters.
    """
    names = {module: name for name, module in network.named_modules()}
    calls: dict[str, int] = {}

    def note(module: nn.Module, _: object) -> None:
        calls.setdefault(names[module], len(calls))

    handles = [module.register_forward_pre_hook(note) for module in names]
    try:
        # With gradients: without, some modules take a short cut around those inside them.
        with undisturbed(network), torch.enable_grad():
            network(x[:2])
    finally:
        for handle in handles:
            handle.remove()
    owners: dict[str, list[str]] = {}
    for module, name in names.items():
        if _learnt(module):
            home = name
            while home and home not in calls:
                home = home.rpartition(".")[0]
            owners.setdefault(home, []).append(name)
    if not owners:
        raise ModelError(f"{type(network).__name__} has no parameters, so there is nothing to randomise; pass another.")
    last_first = sorted(owners, key=lambda home: -calls.get(home, 0))
    return tuple(LayerStage(home or WHOLE, tuple(owners[home])) for home in last_first)


def selected(
    stages: tuple[LayerStage, ...], wanted: int | Sequence[str] | None, network: nn.Module
) -> tuple[LayerStage, ...]:
    """Return the stages that are wanted: all, so many of about equal length, or those within named modules."""
    if wanted is None:
        return stages
    if isinstance(wanted, int):
        checks.at_least("stages", wanted, 1)
        count = min(wanted, len(stages))
        ends = [round(len(stages) * group / count) for group in range(count + 1)]
        groups = [stages[start:end] for start, end in pairwise(ends)]
        return tuple(LayerStage(group[-1].name, tuple(n for stage in group for n in stage.modules)) for group in groups)
    merged: dict[str, list[str]] = {}
    for name in (name for stage in stages for name in stage.modules):
        if homes := [each for each in wanted if each == WHOLE or name == each or name.startswith(f"{each}.")]:
            merged.setdefault(max(homes, key=lambda each: (each != WHOLE, len(each))), []).append(name)
    empty = [each for each in wanted if each not in merged]
    if isinstance(wanted, str) or not wanted or empty:
        raise ArgumentError(
            f"stages={wanted!r}: {empty or wanted} names no module of the {type(network).__name__} with parameters of "
            f"its own. Pass a list of names from {', '.join(stage.name for stage in stages[:8])}, or of modules around "
            "them."
        )
    return tuple(LayerStage(name, tuple(modules)) for name, modules in merged.items())


def redraw(network: nn.Module, stage: LayerStage, seed: int) -> None:
    """Draw the parameters of a stage anew; the random state stays as it is.

    They are drawn by each module's own `reset_parameters()`; those that it leaves as they are, and those of modules
    without one (class tokens, layer scales), from a normal distribution with the mean and the standard deviation that
    they had, so that a single number stays what it is.

    `reset_parameters()` of a BatchNorm also takes its running mean and variance to 0 and 1. They were learnt from the
    training images like any weight, so keeping them would leave something learnt in the network; and estimating them
    anew would fit the network to the images at hand, and hide how small its maps become.

    With one seed, weights are the same on any device and whatever was drawn before.
    """
    for number, (name, module) in enumerate(network.named_modules()):
        if name in stage.modules:
            _draw(module, seed * 1_000_003 + number)


def restore(network: nn.Module, stage: LayerStage, source: nn.Module) -> None:
    """Give a stage of a network the parameters that it has in another copy of it."""
    for name in stage.modules:
        _assign(network.get_submodule(name), source.get_submodule(name))


def _learnt(module: nn.Module) -> dict[str, Tensor]:
    """Return what a module itself has learnt: its parameters, and running statistics even where it has none."""
    buffers = module.named_buffers(recurse=False) if hasattr(module, "reset_running_stats") else ()
    return {**dict(module.named_parameters(recurse=False)), **dict(buffers)}


def _draw(module: nn.Module, seed: int) -> None:
    fresh = copy.deepcopy(module).to("cpu")
    # Everything is drawn on the CPU: other devices' generators are not touched, and the weights are the same anywhere.
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.no_grad():
        torch.default_generator.manual_seed(seed % 2**63)
        old = {name: tensor.clone() for name, tensor in fresh.named_parameters(recurse=False)}
        if callable(reset := getattr(fresh, "reset_parameters", None)):
            reset()
        for name, tensor in fresh.named_parameters(recurse=False):
            if torch.equal(tensor, old[name]) and (tensor.is_floating_point() or tensor.is_complex()):
                drawn = torch.randn(tensor.shape, dtype=tensor.dtype)
                tensor.copy_(drawn * tensor.std(correction=0) + tensor.mean())
    _assign(module, fresh)


@torch.no_grad()
def _assign(module: nn.Module, source: nn.Module) -> None:
    values = _learnt(source)
    for name, tensor in _learnt(module).items():
        tensor.copy_(values[name])
