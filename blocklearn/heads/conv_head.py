"""A small convolutional network from a map to one vector."""

from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.heads.pooling import Pooling


class ConvHead(Pooling):
    """3x3 convolution, BatchNorm and ReLU, the mean over all positions, a linear layer and ReLU:
    `(B, C, H, W)` to `(B, hidden)`. With the linear layer that follows it is the head "1c2f" of
    InfoPro's released code (arXiv 2101.10832).

    Args:
        spec: the stage it sits on.
        hidden: width of the vector, >= 1; 128 published.
        width: channels of the convolution, >= 1; null for twice those of the stage, at most 64, as
            published for stages of 16, 32 and 64 channels. The convolution has stride 2 where it
            widens the map and 1 where it does not, as published too.

    Raises:
        ValueError: for a width below 1.
    """

    def __init__(self, spec: StageSpec, hidden: int = 128, width: int | None = None) -> None:
        super().__init__()
        width = min(2 * spec.channels, 64) if width is None else width
        if min(hidden, width) < 1:
            raise ValueError(f"ConvHead: hidden and width are at least 1, got {hidden} and {width}")
        self.spec, self.out_features = spec, hidden
        stride = 2 if width > spec.channels else 1
        self.conv = nn.Conv2d(spec.channels, width, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(self.spec.as_map(x))).relu()
        return self.linear(x.mean(dim=(2, 3))).relu()
