"""Softplus whose slope is computed once, and serves every order of derivative."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import handle_torch_function, has_torch_function_unary

from gradsculpt.kernels import gpu

_sigmoid_backward = torch.ops.aten.sigmoid_backward.default


class Softplus(nn.Softplus):
    """`torch.nn.Softplus` at a fraction of its cost on CPUs; elsewhere it is the same.

    Source: Joo et al., AAAI 2023 (local gradient alignment), experiments, for its use in place of ReLU.

    Example:
        >>> round(Softplus(beta=3.0)(torch.zeros(())).item(), 4)
        0.231
    """

    _checked = False

    def forward(self, input: Tensor) -> Tensor:
        """Return the Softplus of every entry.

        In training on a CPU it warns, once, if the processor was not told to take denormal numbers for 0.
        """
        if self.training and not self._checked and input.device.type == "cpu":
            self._checked = True
            if (torch.tensor([1e-40]) * 1.0).tolist() > [0.0]:
                warnings.warn(
                    "Softplus networks breed denormal numbers in training, and CPUs compute with these many times more "
                    "slowly. Call gradsculpt.prepare_process() before anything else is computed; the gradsculpt "
                    "commands do.",
                    stacklevel=1,
                )
        return softplus(input, self.beta) if input.device.type == "cpu" else super().forward(input)


def softplus(z: Tensor, beta: float) -> Any:
    """Return log(1 + exp(beta z)) / beta, differentiable to any order.

    PyTorch's own goes through log1p, which costs ten times as much as the logarithm on CPUs; here the sum
    1 + exp(-|beta z|) is rounded, so that values are exact to float precision beside 1 / beta. On a GPU it is one
    kernel, and so is each derivative up to the third.
    """
    if has_torch_function_unary(z):  # or it would be hidden from modes that look for activations
        return handle_torch_function(softplus, (z,), z, beta)
    if gpu.runs(z):
        from gradsculpt.kernels.gpu.activation import activation

        return activation(z, "softplus", beta)
    return _Softplus.apply(z, beta)[0]


class _Softplus(Function):
    """The value a and the slope s = sigmoid(beta z), of which a' = s and s' = beta s (1 - s)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        slope = (z * beta).sigmoid_()
        # log(1 + exp(-|t|)) is -log of the larger of sigmoid(t) and 1 - sigmoid(t).
        value = torch.maximum(slope, 1 - slope).log_().div_(-beta).add_(z.clamp(min=0))
        ctx.save_for_backward(slope)
        ctx.beta = beta
        ctx.set_materialize_grads(False)
        return value, slope

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, g_slope: Tensor | None) -> tuple[Tensor | None, None]:
        (slope,) = ctx.saved_tensors
        if g_slope is None:
            return None if g is None else g * slope, None
        if torch.is_grad_enabled():
            curved = ctx.beta * g_slope * (slope * (1 - slope))
            return curved if g is None else curved + g * slope, None
        curved = _sigmoid_backward(g_slope, slope)
        if g is None:
            return curved.mul_(ctx.beta), None
        return torch.mul(g, slope).add_(curved, alpha=ctx.beta), None
