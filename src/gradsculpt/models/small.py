"""Small networks without shared or in-place activations: LeNet of the gradient-alignment work, ConvNet of the demo."""

from torch import Tensor, nn

from gradsculpt.errors import ModelError

LARGEST = 64
WIDTHS = (24, 48, 96, 128)


class LeNet(nn.Module):
    """A small network of four convolutions and two linear layers, for images of up to 64 pixels.

    Every activation is a module of its own, used once and not in place, so that it can be swapped or hooked. Raises
    `ModelError` if the network cannot take images of this size.

    Args:
        image_size: Height and width of the images; a multiple of 4, at most 64.

    Shape: [N, 3, image_size, image_size] to logits [N, num_classes].
    Source: Joo et al., "Towards More Robust Interpretation via Local Gradient Alignment", 2023, experiments
        ("three-layer custom CNN (LeNet)"); layers as in the authors' released code.
    Deviation: The released network takes 32 x 32 images and ten classes only, and shares one in-place ReLU.

    Example:
        >>> LeNet(num_classes=3, image_size=32).head[-1]
        Linear(in_features=256, out_features=3, bias=True)
    """

    def __init__(self, num_classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        if image_size > LARGEST:
            raise ModelError(
                f"lenet takes images of up to {LARGEST} x {LARGEST}, not {image_size} x {image_size}: its first "
                "linear layer grows with the image. Pass a smaller image size, or choose resnet18-cifar or resnet34."
            )
        if image_size < 4 or image_size % 4:
            raise ModelError(
                f"lenet halves its maps twice, and {image_size} does not divide by 4: the last rows and columns "
                "would never be looked at. Pass an image size that is a multiple of 4, for instance 32."
            )
        self.image_size = image_size
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        hidden = nn.Linear(64 * (image_size // 4) ** 2, 256)
        self.head = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(256, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, num_classes] of normalised images."""
        if tuple(x.shape[-2:]) != (self.image_size, self.image_size):
            raise ModelError(
                f"images have shape {list(x.shape)}, but this lenet was built for {self.image_size} x "
                f"{self.image_size} pixels; resize the images, or build the network with their size."
            )
        logits: Tensor = self.head(self.features(x))
        return logits


class ConvNet(nn.Sequential):
    """Four convolutions with batch normalisation, pooled globally, for quick trials at 16 pixels and more.

    Batch normalisation lets it learn in far fewer steps than `LeNet`; it costs about as much per image at 64
    pixels as `LeNet` at 32. Arguments and shapes are those of `LeNet`, but for the size of the images:
    a `ModelError` is raised if they are of less than 16 pixels.

    Example:
        >>> ConvNet(num_classes=3, image_size=32).head[-1]
        Linear(in_features=128, out_features=3, bias=True)
    """

    def __init__(self, num_classes: int = 10, image_size: int = 64) -> None:
        super().__init__()
        if image_size < 16:
            raise ModelError(
                f"convnet halves its maps three times, which leaves nothing of {image_size} x {image_size} images. "
                "Pass an image size of at least 16, or choose lenet."
            )
        blocks: list[nn.Module] = []
        for i, (before, width) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False)):
            pool = [nn.MaxPool2d(2)] if i else []
            blocks += [*pool, nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], num_classes))
