"""Whether the steps of a training can be recorded, and whether it is known that nothing changes by it."""

from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from gradsculpt.objectives import Objective

_KNOWN = ("gradsculpt", "torch", "torchvision", "timm")

ON = ("cuda",)
"""The types of devices on which steps can be recorded."""


def records(device: torch.device) -> bool:
    """Tell whether steps can be recorded on a device."""
    return device.type in ON


def obstacle(trainer: Trainer, network: nn.Module, objective: Objective, *, trusting: bool) -> str | None:
    """Return why the steps of a training cannot be recorded, or are not known to be the same then; None if they can.

    Args:
        trainer: The trainer of the training.
        network: What is trained.
        objective: What it is trained with.
        trusting: Whether code that is not of this package and of libraries that are known counts as fit: what it
            decides by Python, at each step anew, a recording would repeat as it was the first time.
    """
    device, plugin = trainer.strategy.root_device, trainer.precision_plugin
    known = trusting or not (unknown := [*strange(network), *strange(objective)])
    hooked = not trusting and next((name for name, each in network.named_modules() if _hooks(each)), None)
    reasons = {
        f"on {device} there are none": not records(device),
        "gradients of several processes are averaged": trainer.world_size > 1,
        f"--accumulate {trainer.accumulate_grad_batches} needs steps of several kinds": (
            trainer.accumulate_grad_batches > 1
        ),
        f"--precision {plugin.precision} waits for each step to find the scale of the next": (
            getattr(plugin, "scaler", None) is not None
        ),
        "" if known else f"{unknown[0]} is code that is not known; --graphs on trusts it": not known,
        f"the hooks of {hooked or 'the network'} may do at each step what is not known; --graphs on trusts them": (
            isinstance(hooked, str)
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def strange(part: object) -> list[str]:
    """Return the classes of a network's or an objective's parts that no library that is known has."""
    parts: Iterable[Any] = part.modules() if isinstance(part, nn.Module) else _nested(part)
    kinds = dict.fromkeys(type(each) for each in parts)
    return [kind.__name__ for kind in kinds if kind.__module__.partition(".")[0] not in _KNOWN]


def _nested(part: object) -> Iterator[object]:
    """Yield an objective with everything in it that has settings of its own."""
    if is_dataclass(part):
        yield part
        for value in vars(part).values():
            yield from _nested(value)
    elif isinstance(part, tuple):
        for value in part:
            yield from _nested(value)


def _hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def made_recordable(optimizer: Optimizer, device: torch.device, *, recorded: bool) -> None:
    """Have an optimiser count its steps on the device, and do all in one kernel; on CPUs as it does by default.

    A checkpoint hands on how it was on the device where it was written.
    """
    fused = device.type == "cuda" or recorded
    for group in optimizer.param_groups:
        group["fused"] = fused or None
        if "capturable" in group:
            group["capturable"] = recorded and device.type == "cuda"
    for parameter, state in optimizer.state.items():
        if isinstance(steps := state.get("step"), Tensor):
            state["step"] = steps.to(parameter.device if fused else "cpu")
