"""Grad-CAM on layers of every layout, against a plain computation at a layer whose places are known."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from gradsculpt.attributions import GradCAM
from gradsculpt.errors import ModelError

To = Callable[[Tensor], Tensor]


def nchw(t: Tensor) -> Tensor:
    return t


def nhwc(t: Tensor) -> Tensor:
    return torch.stack([torch.stack([row.T for row in image], 1) for image in t])


def tokens(h: int, w: int, first: int = 0) -> To:
    """Return what lays out tokens [N, T, C] as maps: token first + row * w + column is at (row, column)."""

    def maps(t: Tensor) -> Tensor:
        rows = [[t[:, first + row * w + column] for column in range(w)] for row in range(h)]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    return maps


def plain(network: nn.Module, name: str, to: To, x: Tensor, y: Tensor) -> Tensor:
    """Compute Grad-CAM at a layer as the paper writes it, from a clone that nothing overwrites."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
        first = output if isinstance(output, Tensor) else output[0]
        kept.append(first.clone())
        rest = kept[-1].clone()
        return rest if isinstance(output, Tensor) else (rest, *output[1:])

    handle = network.get_submodule(name).register_forward_hook(keep)
    logits = network(x.clone().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), kept[-1])
    pair = (kept[-1].detach(), gradient)
    maps, slopes = (to(t if len(t) == len(x) else t.transpose(0, 1)) for t in pair)
    assert slopes.any()
    cams = []
    for image, slope in zip(maps, slopes, strict=True):
        cam = torch.zeros_like(image[0])
        for channel, by in zip(image, slope, strict=True):
            cam += by.sum() / by.numel() * channel
        cams.append(cam.clamp(min=0)[None])
    return F.interpolate(torch.stack(cams), x.shape[2:], mode="bilinear", align_corners=False)


def trained(network: nn.Module) -> nn.Module:
    """Move every parameter, so that no two channels and no two places are alike."""
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class Permute(nn.Module):
    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


class Mean(nn.Module):
    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims)


def channels_last() -> nn.Module:
    stem = nn.Conv2d(3, 8, 4, 4)
    return nn.Sequential(stem, Permute(0, 2, 3, 1), nn.LayerNorm(8), nn.GELU(), Mean(1, 2), nn.Linear(8, 3))


class Transformer(nn.Module):
    """Tokens of patches with tokens of their own, before or after them; the head reads one of these, or a mean."""

    def __init__(self, others: int, *, after: bool = False, mean: bool = False, by_rows: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(48, 8) if by_rows else nn.Conv2d(3, 8, 4, 4)
        self.extra = nn.Parameter(torch.randn(1, others, 8))
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(2)))
        self.head = nn.Linear(8, 3)
        self.after, self.mean, self.by_rows = after, mean, by_rows

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        if self.by_rows:
            t = self.embed(x.view(n, 3, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))
        else:
            t = self.embed(x).flatten(2).transpose(1, 2)
        extra = self.extra.expand(n, -1, -1)
        t = self.blocks(torch.cat((t, extra) if self.after else (extra, t), 1))
        return self.head(t.mean(1) if self.mean else t[:, -1 if self.after else 0])


class TokensFirst(nn.Module):
    """Has tokens [T, N, C]; its head reads them all."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.extra, self.head = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 3)
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, 0.0) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(x).flatten(2).permute(2, 0, 1)
        return self.head(self.blocks(torch.cat((self.extra.expand(-1, len(x), -1), t))).mean(0))


class Functional(nn.Module):
    """Overwrites what its last layer gives, as torchvision's DenseNet does."""

    def __init__(self, overwrite: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
        self.head, self.overwrite = nn.Linear(5, 3), overwrite

    def forward(self, x: Tensor) -> Tensor:
        t = self.features(x)
        self.overwrite(t)
        return self.head(t.mean((2, 3)))


def set_to_zero(t: Tensor) -> None:
    t[t < 0] = 0


def _vit(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=3)


def _torchvision(name: str, **settings: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(num_classes=3, **settings)


def small_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3)


def small_swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=3)


DEFAULTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], str, To]] = {
    "channels last": (channels_last, (24, 24), "3", nhwc),
    "channels last, wide": (channels_last, (16, 32), "3", nhwc),
    "tokens, class": (lambda: Transformer(1), (16, 24), "blocks.0", tokens(4, 6, 1)),
    "tokens, registers": (lambda: Transformer(4, mean=True), (16, 24), "blocks", tokens(4, 6, 4)),
    "tokens, class last": (lambda: Transformer(1, after=True), (16, 24), "blocks.0", tokens(4, 6)),
    "tokens of rows": (lambda: Transformer(0, mean=True, by_rows=True), (16, 16), "blocks", tokens(4, 4)),
    "tokens before images": (lambda: TokensFirst(), (16, 24), "blocks.1", tokens(4, 6, 1)),
    "relu_": (lambda: Functional(torch.relu_), (9, 9), "features", nchw),
    "mask": (lambda: Functional(set_to_zero), (9, 9), "features", nchw),
    "multiplied": (lambda: Functional(lambda t: t.mul_(-2)), (9, 9), "features", nchw),
    "vit": (_vit("test_vit"), (160, 160), "blocks.5.norm1", tokens(10, 10, 1)),
    "vit, wide": (_vit("test_vit"), (64, 96), "blocks.5.norm1", tokens(4, 6, 1)),
    "vit, mean": (_vit("test_vit2"), (160, 160), "norm", tokens(10, 10, 1)),
    "vit, no class": (_vit("test_vit_relpos"), (160, 160), "norm", tokens(10, 10)),
    "maxvit": (_vit("test_maxvit"), (160, 160), "norm", nchw),
    "convnext": (_vit("test_convnext"), (96, 64), "norm_pre", nchw),
    "mambaout": (_vit("test_mambaout"), (96, 64), "stages", nhwc),
    "efficientnet": (_vit("test_efficientnet_ln"), (64, 64), "bn2", nchw),
    "resnet": (_vit("test_resnet"), (64, 64), "layer4", nchw),
    "torchvision vit": (small_vit, (32, 32), "encoder.layers.encoder_layer_1.ln_1", tokens(4, 4, 1)),
    "torchvision swin": (small_swin, (64, 64), "norm", nhwc),
    "torchvision densenet": (
        lambda: torchvision.models.DenseNet(4, (2, 2), 8, num_classes=3), (64, 64), "features", nchw,
    ),
    "mobilenet": (_torchvision("mobilenet_v3_small"), (64, 64), "features", nchw),
}  # fmt: skip


@pytest.mark.parametrize("case", DEFAULTS)
def test_the_default_layer_is_the_last_that_the_head_reads(case: str) -> None:
    make, size, name, to = DEFAULTS[case]
    network = trained(make())
    x = torch.randn(3, 3, *size)
    y = network(x).argmax(1)  # of a class that much speaks for: of others, maps may be 0 throughout
    before = {key: value.clone() for key, value in network.state_dict().items()}
    expected = plain(network, name, to, x, y)
    maps = GradCAM()(network, x, y)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    torch.testing.assert_close(GradCAM(name)(network, x, y), expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
    assert expected.any()
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


NAMED: list[tuple[str, Callable[[], nn.Module], tuple[int, int], str, To]] = [
    ("first norm", channels_last, (24, 24), "2", nhwc),
    ("convolution", channels_last, (24, 24), "0", nchw),
    ("tuple", lambda: Transformer(1, mean=True), (16, 16), "blocks.1.self_attn", tokens(4, 4, 1)),
    ("embedding", _vit("test_vit"), (160, 160), "patch_embed", nhwc),
    ("linear", _vit("test_vit"), (160, 160), "blocks.2.mlp.fc1", tokens(10, 10, 1)),
    ("block of swin", small_swin, (64, 64), "features.1.0", nhwc),
    ("linear of swin", small_swin, (64, 64), "features.3.0.mlp.3", nhwc),
    ("norm inside a convnext block", _vit("test_convnext"), (64, 64), "stages.1.blocks.0.norm", nhwc),
]


@pytest.mark.parametrize(("make", "size", "name", "to"), [case[1:] for case in NAMED], ids=[case[0] for case in NAMED])
def test_a_named_layer_may_have_any_layout(
    make: Callable[[], nn.Module], size: tuple[int, int], name: str, to: To
) -> None:
    network, x, y = trained(make()), torch.randn(3, 3, *size), torch.tensor([0, 1, 2])
    expected = plain(network, name, to, x, y)
    for layer in (name, network.get_submodule(name)):
        maps = GradCAM(layer)(network, x, y)
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


def test_what_has_two_readings_is_refused_and_may_be_told() -> None:
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, t: Tensor) -> Tensor:
            return t.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g

    class Hidden(nn.Module):
        def forward(self, t: Tensor) -> Tensor:
            return Own.apply(t)

    first = nn.Sequential(nn.Conv2d(3, 6, 4, 4), Hidden(), Mean(2, 3), nn.Linear(6, 3))
    last = nn.Sequential(nn.Conv2d(3, 6, 4, 4), Permute(0, 2, 3, 1), Hidden(), Mean(1, 2), nn.Linear(6, 3))
    x, y = torch.randn(3, 3, 24, 24), torch.tensor([0, 1, 2])
    for network, layout, to in ((first, "nchw", nchw), (last, "nhwc", nhwc)):
        name = str(len(network) - 3)
        with pytest.raises(ModelError, match=r"\[3, 6, 6, 6\].*nchw or nhwc.*pass layout='nchw'"):
            GradCAM()(network, x, y)
        expected = plain(network, name, to, x, y)
        for layer in (None, name):
            torch.testing.assert_close(GradCAM(layer, layout)(network, x, y), expected)  # type: ignore[arg-type]


def test_what_is_no_map_or_not_read_is_refused() -> None:
    network, x = trained(timm.create_model("test_vit", num_classes=3)), torch.randn(2, 3, 160, 160)
    with pytest.raises(ModelError, match="reads nothing of the 10 x 10 places"):
        GradCAM("norm")(network, x)
    with pytest.raises(ModelError, match=r"\[2, 2, 101, 32\], in which no places"):
        GradCAM("blocks.5.attn.q_norm")(network, x)
    with pytest.raises(ModelError, match=r"\[2, 101, 64\], in which no places"):
        GradCAM("norm", layout="nchw")(network, x)
    assert torch.equal(GradCAM(layout="nhwc")(network, x), GradCAM("patch_embed")(network, x))
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = first, second, nn.Linear(4, 3)

        def forward(self, t: Tensor) -> Tensor:
            self.first(t)
            return self.head(self.second(t).mean((2, 3)) + self.first(t.flip(2)).amax((2, 3)))

    with pytest.raises(ModelError, match="name one"):
        GradCAM()(Two(), x)
    network = nn.Sequential(first, nn.Flatten(), nn.Linear(4 * 36, 3))
    with torch.no_grad(), pytest.raises(ModelError, match="by detach"):
        GradCAM()(nn.Sequential(network, Detached()), torch.randn(2, 3, 8, 8))


class Detached(nn.Module):
    def forward(self, t: Tensor) -> Tensor:
        return t.detach()


def test_a_flat_logit_has_a_map_of_zeros() -> None:
    network, x = channels_last(), torch.randn(2, 3, 24, 24)
    network.get_parameter("5.weight").data.zero_()
    assert not GradCAM()(network, x).any()


def test_a_layer_that_is_overwritten_has_a_second_derivative() -> None:
    torch.manual_seed(0)
    smooth = Functional(lambda t: t.tanh_()).double()
    smooth.head = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 3)).double()  # type: ignore[assignment]
    x, y = torch.randn(2, 3, 9, 9, dtype=torch.float64), torch.tensor([0, 1])
    points, weights, direction = x.clone().requires_grad_(), torch.randn(2, 1, 9, 9).double(), torch.randn_like(x)
    maps = GradCAM()(smooth.eval(), points, y, create_graph=True)
    (slope,) = torch.autograd.grad((maps * weights).sum(), points)
    ends = [(GradCAM()(smooth, x + step * direction, y) * weights).sum() for step in (1e-6, -1e-6)]
    torch.testing.assert_close((slope * direction).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-9)
    assert slope.abs().max() > 1e-6


@pytest.mark.parametrize("layer", [None, "1"])
def test_threads_do_not_collect_one_anothers_outputs(layer: str | None) -> None:
    network = trained(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(600, 3)))
    batches = [torch.randn(1 + i % 3, 3, 12, 12) for i in range(160)]
    expected = [GradCAM(layer)(network, x) for x in batches]
    with ThreadPoolExecutor(8) as pool:
        maps = list(pool.map(lambda x: GradCAM(layer)(network, x), batches))
    assert all(torch.equal(one, other) for one, other in zip(maps, expected, strict=True))
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["conv", "nhwc", "tokens"])
@pytest.mark.parametrize("training", [False, True])
def test_a_map_with_a_graph_is_that_without(name: str, training: bool) -> None:
    # For its graph, normalisations are computed by other functions, by which the layout is then read.
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 6, 2, stride=2), nn.BatchNorm2d(6), nn.GELU())
    tail: dict[str, tuple[nn.Module, ...]] = {
        "conv": (nn.Conv2d(6, 6, 3, padding=1), nn.InstanceNorm2d(6, affine=True), nn.GELU(), Mean(2, 3)),
        "nhwc": (Permute(0, 2, 3, 1), nn.LayerNorm(6), nn.GELU(), Mean(1, 2)),
        "tokens": (nn.Flatten(2), Permute(0, 2, 1), nn.LayerNorm(6), nn.Linear(6, 6), nn.GELU(), Mean(1)),
    }
    network = nn.Sequential(stem, *tail[name], nn.Linear(6, 3)).double().train(training)
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    y = torch.tensor([0, 2])
    torch.testing.assert_close(GradCAM()(network, x, y, create_graph=True), GradCAM()(network, x, y))
