"""A small network that learns within a minute: that of the demo."""

from torch import Tensor, nn

from gradsculpt.errors import ModelError

WIDTHS = (24, 48, 96, 128)


class ConvNet(nn.Module):
    """Four convolutions with batch normalisation, pooled globally, for quick trials at 16 pixels and more.

    Batch normalisation lets it learn in far fewer steps than `LeNet`; it costs about as much per image at 64
    pixels as `LeNet` at 32.

    Args:
        num_classes: Number of outputs.
        image_size: Height and width of the images; at least 16.

    Shape:
        [N, 3, image_size, image_size] to logits [N, num_classes].

    Raises:
        ModelError: If the images are too small.

    Example:
        >>> import torch
        >>> ConvNet(num_classes=3, image_size=32)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 3])
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

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, num_classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits
