"""From a stage's features back to the image."""

from torch import Tensor, nn
from torch.nn.functional import interpolate

from blocklearn.backbones.stage import StageSpec


class ImageDecoder(nn.Module):
    """Bilinear upsampling to the size of the image, 3x3 convolution, BatchNorm, ReLU and 3x3
    convolution: the decoder of InfoPro's released code (arXiv 2101.10832).

    Args:
        spec: of the features.
        channels: of the image.
        width: channels between the two convolutions; 12 published.
        squeeze: channels to which a 1x1 convolution brings the features first, as the released code
            for ImageNet does (128); null for none. Without it a wide map is upsampled as it is, to
            channels times the image's size.
    """

    def __init__(
        self, spec: StageSpec, channels: int = 3, width: int = 12, squeeze: int | None = None
    ) -> None:
        super().__init__()
        self.spec = spec
        self.squeeze = nn.Conv2d(spec.channels, squeeze, 1) if squeeze else nn.Identity()
        self.first = nn.Conv2d(squeeze or spec.channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Features in the layout of the stage to logits `(B, channels, *size)`, of which the
        sigmoid is the image with pixels in [0, 1]."""
        x = self.squeeze(self.spec.as_map(x))
        if x.shape[2:] != size:
            x = interpolate(x, size, mode="bilinear", align_corners=True)
        return self.second(self.norm(self.first(x)).relu())
