"""What image networks are made of: every layer as a function of float64 tensors, all of which are differentiated."""

import copy
from collections.abc import Callable
from typing import Any

import timm.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = Callable[..., Any]
Case = tuple[Layer, tuple[Tensor, ...]]


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(97 * seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


MAPS = {1: randn(2, 4, 6), 2: randn(2, 4, 5, 6), 3: randn(2, 4, 4, 3, 5)}
"""[N, C, ...] with one to three dimensions after the channels."""
_X, _WEIGHT, _BIAS = MAPS[2], randn(4, seed=1), randn(4, seed=2)


def _statistics() -> tuple[Tensor, Tensor]:
    return randn(4, seed=3), randn(4, seed=4).square() + 0.5


NORMALISATIONS: dict[str, Case] = {
    "layer": (lambda x, w, b: F.layer_norm(x, (6,), w, b), (_X, randn(6), randn(6, seed=1))),
    "layer, bare": (lambda x: F.layer_norm(x, (6,)), (_X,)),
    "layer, weights only": (lambda x, w: F.layer_norm(x, (6,), w), (_X, randn(6))),
    "layer, bias only": (lambda x, b: F.layer_norm(x, (6,), None, b, 1e-3), (_X, randn(6))),
    "layer, two dimensions": (lambda x, w, b: F.layer_norm(x, (5, 6), w, b), (_X, randn(5, 6), randn(5, 6, seed=1))),
    "layer, everything": (lambda x: F.layer_norm(x, x.shape), (_X,)),
    "layer, channels last": (lambda x, w: F.layer_norm(x.permute(0, 2, 3, 1), (4,), w), (_X, _WEIGHT)),
    "layer, by torch": (lambda x, w, b: torch.layer_norm(x, (6,), w, b), (_X, randn(6), randn(6, seed=1))),
    "layer, native": (
        lambda x, w, b: torch.cat([t.flatten() for t in torch.native_layer_norm(x, (6,), w, b, 1e-5)]),
        (_X, randn(6), randn(6, seed=1)),
    ),
    "group": (lambda x, w, b: F.group_norm(x, 2, w, b), (_X, _WEIGHT, _BIAS)),
    "group, bare": (lambda x: F.group_norm(x, 2), (_X,)),
    "group of everything": (lambda x, w: F.group_norm(x, 1, w), (_X, _WEIGHT)),
    "instance": (lambda x, w, b: F.instance_norm(x, None, None, w, b), (_X, _WEIGHT, _BIAS)),
    "instance, bare": (lambda x: F.instance_norm(x), (MAPS[1],)),
    "instance, 3d": (lambda x: F.instance_norm(x), (MAPS[3],)),
    "instance, running": (lambda x, w: F.instance_norm(x, *_statistics(), w), (_X, _WEIGHT)),
    "instance, fixed": (lambda x, w: F.instance_norm(x, *_statistics(), w, use_input_stats=False), (_X, _WEIGHT)),
    "instance, by torch": (
        lambda x, w, b: torch.instance_norm(x, w, b, None, None, True, 0.1, 1e-5, False),
        (_X, _WEIGHT, _BIAS),
    ),
    "root mean square": (lambda x, w: F.rms_norm(x, (6,), w), (_X, randn(6))),
    "root mean square, bare": (lambda x: F.rms_norm(x, (5, 6), eps=1e-3), (_X,)),
    "batch": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (_X, _WEIGHT, _BIAS)),
    "batch, bare": (lambda x: F.batch_norm(x, None, None, training=True), (_X,)),
    "batch, weights only": (lambda x, w: F.batch_norm(x, None, None, w, training=True), (_X, _WEIGHT)),
    "batch, bias only": (lambda x, b: F.batch_norm(x, None, None, None, b, True), (_X, _BIAS)),
    "batch, running": (lambda x, w, b: F.batch_norm(x, *_statistics(), w, b, True), (_X, _WEIGHT, _BIAS)),
    "batch, fixed": (lambda x, w, b: F.batch_norm(x, *_statistics(), w, b), (_X, _WEIGHT, _BIAS)),
    "batch of vectors": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (randn(5, 4), _WEIGHT, _BIAS)),
    "batch, 3d": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (MAPS[3], _WEIGHT, _BIAS)),
    "batch, by torch": (
        lambda x, w, b: torch.batch_norm(x, w, b, None, None, True, 0.1, 1e-5, False),
        (_X, _WEIGHT, _BIAS),
    ),
    "local response": (lambda x: F.local_response_norm(x, 2), (_X,)),
    "unit length": (lambda x: F.normalize(x, dim=1), (_X,)),
    "weight": (lambda v, g: torch._weight_norm(v, g, 0), (randn(3, 4), randn(3, 1))),
    "weight, last dimension": (lambda v, g: torch._weight_norm(v, g, 1), (randn(3, 4), randn(1, 4))),
}


def _timm(name: str, *arguments: Any, x: Tensor = _X) -> Case:
    module = getattr(timm.layers, name)(*arguments).double()
    for i, parameter in enumerate(module.parameters()):
        parameter.data = randn(*parameter.shape, seed=i)
    return lambda x: module(x + 0), (x,)


TIMM: dict[str, Case] = {
    **{name: _timm(name, 4) for name in ("LayerNorm2d", "LayerNormAct2d", "BatchNormAct2d", "GroupNorm1", "RmsNorm2d")},
    **{name: _timm(name, 6) for name in ("LayerNorm", "LayerNormAct", "RmsNorm", "RmsNormAct", "SimpleNorm")},
    **{name: _timm(name) for name in ("HardSwish", "HardSigmoid", "HardMish", "Mish", "Swish", "QuickGELU")},
    **{name: _timm(name, 4) for name in ("SqueezeExcite", "EffectiveSEModule", "NonLocalAttn")},
    "Attention": _timm("Attention", 6, 2, x=MAPS[1]),
}
for _name in ("SwishMe", "MishMe", "HardSigmoidMe", "HardSwishMe", "HardMishMe"):
    TIMM[_name] = (getattr(timm.layers.activations_me, _name)(), (_X,))

_SETTINGS: dict[str, dict[str, Any]] = {
    "Threshold": {"threshold": 0.1, "value": 0.0},
    **{name: {"dim": 1} for name in ("Softmin", "Softmax", "LogSoftmax", "GLU")},
}
ACTIVATIONS: dict[str, Case] = {
    name: (getattr(nn, name)(**_SETTINGS.get(name, {})).double(), (_X,))
    for name in nn.modules.activation.__all__
    if name not in ("MultiheadAttention", "PReLU")
}
ACTIVATIONS |= {
    "PReLU": (F.prelu, (_X, randn(4))),
    "GELU by tanh": (lambda x: F.gelu(x, approximate="tanh"), (_X,)),
    "Softplus of 3": (lambda x: F.softplus(x, 3.0), (_X,)),
    "RReLU in eval mode": (lambda x: F.rrelu(x), (_X,)),
    "Hardsigmoid in place": (lambda x: F.hardsigmoid(x + 0, inplace=True), (3 * _X,)),
    "Hardswish in place": (lambda x: F.hardswish(x + 0, inplace=True), (3 * _X,)),
    "Softmax of Gumbel": (lambda x: F.gumbel_softmax(x), (MAPS[1],)),
    **{f"torch.{name}": (getattr(torch, name), (_X,)) for name in ("sigmoid", "tanh", "erf", "sin", "atan", "exp")},
}


def _with(name: str, *settings: Any) -> Layer:
    function = getattr(F, name)
    return lambda x: function(x, *settings)


POOLING: dict[str, Case] = {}
for _n, _map in MAPS.items():
    for _kind in ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool"):
        POOLING[f"{_kind}{_n}d"] = (_with(f"{_kind}{_n}d", 2), (_map,))
    POOLING[f"lp_pool{_n}d"] = (_with(f"lp_pool{_n}d", 2.0, 2), (_map.abs() + 0.1,))
    for _mode in ("constant", "reflect", "replicate", "circular"):
        POOLING[f"pad by {_mode}, {_n}d"] = (lambda x, n=_n, mode=_mode: F.pad(x, (1, 1) * n, mode), (_map,))
    _smooth = {1: ("linear",), 2: ("bilinear", "bicubic", "area"), 3: ("trilinear", "area")}[_n]
    for _mode in ("nearest", "nearest-exact", *_smooth):
        POOLING[f"interpolate by {_mode}, {_n}d"] = (
            lambda x, mode=_mode: F.interpolate(x, scale_factor=1.5, mode=mode),
            (_map,),
        )
POOLING |= {
    "max_pool2d, overlapping": (lambda x: F.max_pool2d(x, 3, 2, 1), (_X,)),
    "fractional_max_pool2d": (
        lambda x: F.fractional_max_pool2d(x, 2, (2, 3), _random_samples=torch.full((2, 4, 2), 0.3).to(x)),
        (_X,),
    ),
    "max_unpool2d": (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2]), (randn(2, 4, 6, 6),)),
    "antialiased": (lambda x: F.interpolate(x, (3, 3), mode="bicubic", antialias=True), (_X,)),
    "grid_sample": (
        lambda x, grid: F.grid_sample(x, grid.tanh(), align_corners=False),
        (_X, randn(2, 3, 3, 2)),
    ),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (_X,)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (randn(2, 3, 4, 4),)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), (_X,)),
    "unfold": (lambda x: F.unfold(x, 2), (_X,)),
    "fold": (lambda x: F.fold(F.unfold(x, 2), (5, 6), 2), (_X,)),
    "roll": (lambda x: x.roll((1, 2), (2, 3)), (_X,)),
    **{
        name: (_with(name, 0.3, True), (_X,))
        for name in ("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout")
    },
}

LINEAR: dict[str, Case] = {
    "linear": (F.linear, (MAPS[1], randn(5, 6), randn(5))),
    "bilinear": (F.bilinear, (randn(3, 2), randn(3, 4), randn(2, 2, 4), randn(2))),
    "einsum": (lambda x, y: torch.einsum("nchw,cd->ndhw", x, y), (_X, randn(4, 3))),
    "matmul": (torch.matmul, (_X, randn(6, 3))),
    "conv of one image": (F.conv2d, (_X[0], randn(3, 4, 2, 2), randn(3))),
    "conv by channels": (lambda x, w: F.conv2d(x, w, groups=4), (_X, randn(8, 1, 3, 3))),
    "cosine_similarity": (F.cosine_similarity, (_X, randn(2, 4, 5, 6, seed=1))),
    "cdist": (torch.cdist, (MAPS[1], randn(2, 3, 6))),
    "pdist": (F.pdist, (randn(4, 3),)),
    "pdist, sum of magnitudes": (lambda x: F.pdist(x, 1.0), (randn(4, 3),)),
}
for _n, _map in MAPS.items():
    for _padding in ("same", "valid", 1):
        LINEAR[f"conv{_n}d, {_padding}"] = (
            lambda x, w, b, n=_n, padding=_padding: getattr(F, f"conv{n}d")(x, w, b, padding=padding),
            (_map, randn(2, 4, *[2] * _n), randn(2)),
        )
    for _extra in (0, 1):
        LINEAR[f"conv_transpose{_n}d, {_extra} more"] = (
            lambda x, w, b, n=_n, extra=_extra: getattr(F, f"conv_transpose{n}d")(
                x, w, b, stride=2, padding=1, output_padding=extra, groups=2
            ),
            (_map, randn(4, 2, *[3] * _n), randn(4)),
        )
    LINEAR[f"conv_transpose{_n}d, dilated, beyond its padding"] = (
        lambda x, w, n=_n: getattr(F, f"conv_transpose{n}d")(x, w, None, 3, 0, 2, dilation=2),
        (_map, randn(4, 2, *[2] * _n)),
    )

_Q, _K, _V = randn(2, 4, 5, 3), randn(2, 4, 6, 3, seed=1), randn(2, 4, 6, 2, seed=2)
_LOWER = torch.ones(5, 6, dtype=torch.bool).tril()
_attend = F.scaled_dot_product_attention
_attention = nn.MultiheadAttention(6, 2, batch_first=True).double()
_encoder = nn.TransformerEncoderLayer(6, 2, 5, 0.0, batch_first=True).double()
_recurrent = {name: getattr(nn, name)(6, 3, batch_first=True).double() for name in ("RNN", "LSTM", "GRU")}
ATTENTION: dict[str, Case] = {
    "attention": (_attend, (_Q, _K, _V)),
    "boolean mask": (lambda q, k, v: _attend(q, k, v, _LOWER), (_Q, _K, _V)),
    "mask that leaves nothing": (lambda q, k, v: _attend(q, k, v, _LOWER.roll(1, 0) & _LOWER), (_Q, _K, _V)),
    "learned mask": (_attend, (_Q, _K, _V, randn(4, 5, 6))),
    "fixed mask": (lambda q, k, v: _attend(q, k, v, randn(5, 6)), (_Q, _K, _V)),
    "causal": (lambda q, k, v: _attend(q, k, v, is_causal=True), (_Q, _K, _V)),
    "scaled": (lambda q, k, v: _attend(q, k, v, scale=0.3), (_Q, _K, _V)),
    "of three dimensions": (_attend, (_Q[0], _K[0], _V[0])),
    "shared keys": (lambda q, k, v: _attend(q, k, v, enable_gqa=True), (_Q, _K[:, :2], _V[:, :2])),
    "dropout": (lambda q, k, v: _attend(q, k, v, dropout_p=0.4), (_Q, _K, _V)),
    "module": (lambda x: _attention(x, x, x, need_weights=False)[0], (MAPS[1],)),
    "module with weights": (lambda x: torch.cat(_attention(x, x, x), dim=2), (MAPS[1],)),
    "module, causal": (
        lambda x: _attention(x, x, x, attn_mask=_LOWER[:4, :4], is_causal=True, need_weights=False)[0],
        (MAPS[1],),
    ),
    "encoder in eval mode": (copy.deepcopy(_encoder).eval(), (MAPS[1],)),
    "encoder in training": (_encoder, (MAPS[1],)),
    **{name: (lambda x, layer=layer: layer(x)[0], (MAPS[1],)) for name, layer in _recurrent.items()},
}

FAMILIES = {
    "normalisation": NORMALISATIONS,
    "timm": TIMM,
    "activation": ACTIVATIONS,
    "pooling": POOLING,
    "linear": LINEAR,
    "attention": ATTENTION,
}
CASES: dict[str, Case] = {f"{family}: {name}": case for family, each in FAMILIES.items() for name, case in each.items()}
