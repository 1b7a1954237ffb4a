"""The parts of a network in the order of a forward pass, and how their weights are drawn anew."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradsculpt import checks
from gradsculpt.eager import eager
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.evaluation.parametrized import (
    below,
    copied,
    drawn_like,
    enter,
    frozen_statistics,
    is_computed,
    learnt,
    plain,
)
from gradsculpt.isolation import own_randomness, undisturbed
from gradsculpt.outputs import logits_at

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
    drawing them changes nothing. The network itself is called first, so what it owns directly comes last. What weights
    are computed from (`torch.nn.utils.parametrize`) belongs to the module whose weights these are.

    Raises:
        ModelError: If the network has no parameters, or none that can be drawn: if it is TorchScript or quantised, or
            lazy modules of it were never run.

    Shape and units: the images are [2, C, H, W] as the network takes them.
    """
    network = eager(network, "randomisation")
    _check_drawable(network)
    names = {module: name for name, module in network.named_modules()}
    calls: dict[str, int] = {}
    thread = threading.get_ident()

    def note(module: nn.Module, _: object) -> None:
        if threading.get_ident() == thread:
            calls.setdefault(names[module], len(calls))

    handles = [module.register_forward_pre_hook(note) for module in names]
    try:
        # With gradients: without, some modules take a short cut around those inside them.
        with undisturbed(network), torch.enable_grad():
            logits_at(network, x[:2])
    finally:
        for handle in handles:
            handle.remove()
    owners: dict[str, list[str]] = {}
    computing = {step for module in names for step in below(module).values()}
    for module, name in names.items():
        if module not in computing and learnt(module):
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

    They are drawn by each module's own `reset_parameters()`; those that it leaves as they are, or makes all alike, and
    those of modules without one (class tokens, layer scales), from a normal distribution with the mean and the standard
    deviation that they had, so that a single number stays what it is. A parameter that several modules share is drawn
    once, as the first of them draws it.

    Weights that are computed from other tensors (orthogonal ones, spectral and weight normalisation, pruned ones, own
    parametrisations) are drawn as those of the layer without, and then taken through what computes them, so that they
    are such weights as the network can have.

    `reset_parameters()` of a BatchNorm also takes its running mean and variance to 0 and 1. They were learnt from the
    training images like any weight, so keeping them would leave something learnt in the network; and estimating them
    anew would fit the network to the images at hand, and hide how small its maps become.

    With one seed, weights are the same on any device and whatever was drawn before.

    Raises:
        ModelError: If weights are still what they were, or all 0 or not finite: a map that then changes, or does not,
            shows nothing.
    """
    modules = list(network.named_modules())
    owners: dict[int, int] = {}
    for number, (_, module) in enumerate(modules):
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), number)
    drawn: dict[int, nn.Module] = {}

    def fresh(number: int) -> nn.Module:
        if number not in drawn:
            drawn[number] = _drawn(modules[number][1], modules[number][0] or WHOLE, seed * 1_000_003 + number)
        return drawn[number]

    for number, (name, module) in enumerate(modules):
        if name not in stage.modules:
            continue
        values = learnt(fresh(number))
        for each, parameter in module.named_parameters(recurse=False):
            if (owner := owners[id(parameter)]) != number:
                shared = dict(modules[owner][1].named_parameters(recurse=False))
                first = next(key for key, other in shared.items() if other is parameter)
                values[each] = learnt(fresh(owner))[first]
        _assign(module, values)


def restore(network: nn.Module, stage: LayerStage, source: nn.Module) -> None:
    """Give a stage of a network the parameters that it has in another copy of it."""
    for name in stage.modules:
        _assign(network.get_submodule(name), learnt(source.get_submodule(name)))


def _check_drawable(network: nn.Module) -> None:
    for name, module in network.named_modules():
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(map(is_lazy, tensors)):
            raise ModelError(
                f"the module {name} ({type(module).__name__}) is lazy and was never run, so it has no weights that "
                "could be drawn anew; run the network once on a batch first."
            )
        if type(module).__module__.startswith(_QUANTISED) or hasattr(module, "_packed_params"):
            raise ModelError(
                f"the module {name} ({type(module).__name__}) is quantised: its weights are packed, and would stay as "
                "they are while others are drawn. Pass the network from before quantisation."
            )


_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def _drawn(module: nn.Module, name: str, seed: int) -> nn.Module:
    """Return a copy of a module with weights that are drawn anew."""
    # Everything is drawn on the CPU: other devices' generators are not touched, and the weights are the same anywhere.
    with own_randomness(seed=seed % 2**63), torch.inference_mode(False), torch.no_grad():
        fresh = plain(module)
        old = {key: tensor.clone() for key, tensor in fresh.named_parameters(recurse=False)}
        drawable = {
            key: t for key, t in fresh.named_parameters(recurse=False) if t.is_floating_point() or t.is_complex()
        }
        reset = getattr(fresh, "reset_parameters", None)
        if reset is not None:
            for tensor in drawable.values():
                tensor.fill_(torch.nan)  # what is left of it was not reset
            with suppress(TypeError):  # one that wants arguments resets nothing
                reset()
        for key, tensor in drawable.items():
            # A matrix that starts out constant, mostly at 0, would switch the layer off.
            flat = tensor.ndim > 1 and not _varies(tensor) and _varies(old[key])
            if reset is None or flat or bool(tensor.isnan().any()):
                tensor.copy_(drawn_like(old[key]))
        for key, value in frozen_statistics(fresh).items():
            fresh.get_buffer(key).fill_(value)
        wanted, result = dict(fresh.named_parameters(recurse=False)), fresh
        if is_computed(module):
            result = copied(module, module).to("cpu")
            enter(result, wanted)
        for key, tensor in (plain(result) if result is not fresh else fresh).named_parameters(recurse=False):
            stuck = key not in drawable or (result is not fresh and _is_stuck(result, key, tensor))
            _check_drawn(f"{name}.{key}", old[key], tensor, stuck)
    return result


def _is_stuck(module: nn.Module, name: str, value: Tensor) -> bool:
    """Return whether a weight that is computed stays what it is, whatever it shall be."""
    other = copied(module, module)
    enter(other, {name: torch.randn_like(value)})
    return torch.equal(plain(other).get_parameter(name), value)


def _check_drawn(name: str, old: Tensor, new: Tensor, stuck: bool) -> None:
    """Raise `ModelError` if weights are none by which a map would show anything."""
    same = stuck and torch.equal(old, new) and _varies(old)
    zero = new.ndim > 1 and _varies(old) and not bool(new.any())
    broken = not bool(new.isfinite().all()) and bool(old.isfinite().all())
    if same or zero or broken:
        what = "what they were" if same else "0" if zero else "not finite"
        raise ModelError(
            f"the weights {name} are {what} after they were drawn anew, so what becomes of a map would say nothing; "
            "give the module a reset_parameters() that draws them, or its parametrisation a right_inverse(), or "
            "randomise other stages."
        )


def _varies(t: Tensor) -> bool:
    return t.numel() > 1 and bool((t != t.flatten()[:1]).any())


@torch.no_grad()
def _assign(module: nn.Module, values: dict[str, Tensor]) -> None:
    for name, tensor in learnt(module).items():
        tensor.copy_(values[name])
