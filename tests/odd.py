"""Networks that nobody tests with and everybody has: each beside a plain one that gives the same logits."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradsculpt.models import OutputOf

SIDE = 6


class Plain(nn.Module):
    """Convolution, normalisation, activation, linear layer; the oddities below are changes of its forward pass."""

    def __init__(self, activation: nn.Module | None = None, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation or nn.Softplus())
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), activation or nn.Softplus())
        self.head = nn.Linear(16, classes)

    def maps(self, x: Tensor) -> Tensor:
        return self.body(self.stem(x))

    def scores(self, maps: Tensor) -> Tensor:
        return self.head(maps.flatten(1))

    def forward(self, x: Tensor) -> Any:
        return self.scores(self.maps(x))


class Pair(NamedTuple):
    logits: Tensor
    aux_logits: Tensor


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...]


class ModelOutput(OrderedDict[str, Any]):
    """What Hugging Face's classifiers return: a dictionary whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


RETURNED: dict[str, Callable[[Plain, Tensor], Any]] = {
    "tuple with features": lambda net, x: (net(x), net.maps(x)),
    "tuple of one": lambda net, x: (net(x),),
    "tuple with None": lambda net, x: (None, net(x)),
    "list": lambda net, x: [net(x)],
    "dictionary": lambda net, x: {"logits": net(x), "features": net.maps(x).flatten(1)},
    "dictionary of one": lambda net, x: {"out": net(x)},
    "named tuple": lambda net, x: Pair(net(x), -net(x)),
    "dataclass": lambda net, x: Output(None, net(x), (net.maps(x),)),
    "model output": lambda net, x: ModelOutput(logits=net(x), hidden_states=(net.maps(x),)),
    "nested": lambda net, x: ({"logits": net(x)}, {"aux": net(x)})[0],
}
"""What networks return that has one reading."""

UNREADABLE: dict[str, Callable[[Plain, Tensor], Any]] = {
    "two that may be it": lambda net, x: (net(x), -net(x)),
    "nothing": lambda net, x: None,
    "empty tuple": lambda net, x: (),
    "maps": lambda net, x: net.maps(x),
    "classes": lambda net, x: net(x).argmax(dim=1),
    "one for the batch": lambda net, x: net(x).mean(dim=0, keepdim=True).expand(len(x) + 1, -1),
    "a number": lambda net, x: net(x).sum(),
    "text": lambda net, x: "cat",
    "dictionary of two": lambda net, x: {"cat": net(x), "dog": net(x)},
}
"""What networks return that has none, or more than one."""


class Returning(nn.Module):
    """A network whose forward pass returns something else than logits, or goes another way."""

    def __init__(self, net: Plain, returned: Callable[[Plain, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.returned = net, returned

    def forward(self, x: Tensor) -> Any:
        return self.returned(self.net, x)


def _inference(net: Plain, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return net(x)


def _half_inference(net: Plain, x: Tensor) -> Tensor:
    with torch.inference_mode():
        maps = net.maps(x)
    return net.scores(maps)


def _ungraded(net: Plain, x: Tensor) -> Tensor:
    with torch.no_grad():
        maps = net.maps(x)
    return net.scores(maps)


def _numpy(net: Plain, x: Tensor) -> Tensor:
    return net.scores(torch.from_numpy(net.maps(x).detach().numpy()))


SEVERED: dict[str, tuple[Callable[[Plain, Tensor], Any], str]] = {
    "no_grad": (torch.no_grad()(lambda net, x: net(x)), "torch.no_grad"),
    "no_grad inside": (_ungraded, "torch.no_grad"),
    "inference mode": (_inference, "torch.inference_mode"),
    "inference mode inside": (_half_inference, "torch.inference_mode"),
    "detached images": (lambda net, x: net(x.detach()), "detach"),
    "detached maps": (lambda net, x: net.scores(net.maps(x).detach()), "detach"),
    "data": (lambda net, x: net.scores(net.maps(x).data), "detach"),
    "numpy": (_numpy, "detach|numpy"),
    "list": (lambda net, x: net.scores(torch.tensor(net.maps(x).tolist(), dtype=x.dtype)), "tolist"),
    "rounded": (lambda net, x: net((x * 8).long().to(x.dtype) / 8), "long"),
}
"""Networks through which no gradient goes, and what the error has to name."""


def _checkpointed(reentrant: bool) -> Callable[[Plain, Tensor], Any]:
    return lambda net, x: net.scores(net.body(checkpoint(net.stem, x, use_reentrant=reentrant)))


def _branching(net: Plain, x: Tensor) -> Tensor:
    """Go another way for an image that is bright."""
    maps = net.stem(x)
    bright = (x.mean(dim=(1, 2, 3)) > 0).view(-1, 1, 1, 1)
    return net.scores(torch.where(bright, net.body(maps), net.body[0](maps)))


def _by_batch(net: Plain, x: Tensor) -> Tensor:
    """Take another way for a single image than for several."""
    return net(x) if len(x) > 1 else net.scores(net.body[1:](net.body[0](net.stem(x))))


SAME: dict[str, tuple[Callable[[Plain, Tensor], Any], Callable[[Plain, Tensor], Any]]] = {
    "checkpointed": (_checkpointed(False), lambda net, x: net(x)),
    "checkpointed, reentrant": (_checkpointed(True), lambda net, x: net(x)),
    "branching": (_branching, lambda net, x: _branching(net, x)),
    "by batch": (_by_batch, lambda net, x: net(x)),
}
"""Networks that go odd ways, and how to compute the same plainly."""


def plain(seed: int = 0, activation: nn.Module | None = None, classes: int = 3) -> Plain:
    """Return a network in float64 and evaluation mode whose running statistics are not the first ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Plain(activation, classes).double()
        for _ in range(3):
            net(torch.randn(8, 3, SIDE, SIDE).double())
    return net.eval()


def chosen(net: Plain) -> nn.Module:
    """Return a network of two outputs of which one was chosen."""
    return OutputOf(Returning(net, lambda inner, x: {"cat": inner(x), "dog": -inner(x)}), output_key="cat")
