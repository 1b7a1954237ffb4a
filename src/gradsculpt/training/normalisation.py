"""Batch normalisation where several processes train together: statistics of all of them, or of each for itself."""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm

from gradsculpt.errors import ModelError


class SynchronizedBatchNorm(_BatchNorm):
    """Batch normalisation by the statistics of the batches of all processes, differentiable to any order.

    In evaluation, and where there is one process alone, it is PyTorch's own.

    Source: Ioffe and Szegedy, ICML 2015, algorithm 1.
    Deviation: `torch.nn.SyncBatchNorm` computes the same, on GPUs alone and without a second derivative.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2 dimensions and got {input.ndim}")

    def forward(self, input: Tensor) -> Tensor:
        """Return the maps [N, C, ...], normalised per channel; in training, running statistics are updated."""
        alone = not distributed.is_initialized() or distributed.get_world_size() == 1
        if alone or not (self.training or self.running_mean is None):
            normalised: Tensor = super().forward(input)
            return normalised
        self._check_input_dim(input)
        others = [0, *range(2, input.ndim)]
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.new_tensor([x.numel() // x.shape[1]])
        sums: Tensor = _AddedUp.apply(torch.cat([x.sum(others), count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - _wide(mean, x)
        variance: Tensor = _AddedUp.apply(centred.square().sum(others)) / count
        self._track(mean.detach(), variance.detach() * (count / (count - 1)))
        normalised = centred * _wide((variance + self.eps).rsqrt(), x)
        if self.affine:
            normalised = normalised * _wide(self.weight, x) + _wide(self.bias, x)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            running.add_(share * (new.to(running.dtype) - running))


def _wide(channels: Tensor, like: Tensor) -> Tensor:
    return channels.view(1, -1, *[1] * (like.ndim - 2))


class _AddedUp(Function):
    """The sum over all processes, which is its own derivative: of the sum of what they all compute from it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _AddedUp.apply(g.contiguous())


def synchronize(network: nn.Module) -> None:
    """Put `SynchronizedBatchNorm` in the place of every batch normalisation inside a network.

    Raises `ModelError` for one whose code is not PyTorch's, as that may do more.
    """
    places = [
        (parent, name, layer)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, _BatchNorm) and not isinstance(layer, SynchronizedBatchNorm)
    ]
    for parent, name, layer in places:
        if type(layer).forward not in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
            raise ModelError(
                f"{type(layer).__name__} is a batch normalisation with code of its own, so the statistics of several "
                "processes cannot be put together in it. Leave --sync-batchnorm out, or pass a --model without it."
            )
        with torch.device("meta"):
            twin = SynchronizedBatchNorm(layer.num_features)
        # Everything that the layer has: its settings, parameters, buffers, mode and hooks.
        twin.__dict__.update(vars(layer))
        setattr(parent, name, twin)


def batch_normalised(network: nn.Module) -> bool:
    """Tell whether statistics of batches decide what a network does in training."""
    return any(isinstance(layer, _BatchNorm) for layer in network.modules())


def settle_buffers(network: nn.Module) -> None:
    """Give all processes the mean of their buffers, as of running statistics, which they have of other images each."""
    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point() and buffer.numel()]
    for kind in dict.fromkeys(buffer.dtype for buffer in buffers):
        alike = [buffer for buffer in buffers if buffer.dtype == kind]
        total = torch.cat([buffer.detach().flatten() for buffer in alike])
        distributed.all_reduce(total)
        means = (total / distributed.get_world_size()).split([buffer.numel() for buffer in alike])
        for buffer, mean in zip(alike, means, strict=True):
            buffer.copy_(mean.view_as(buffer))
