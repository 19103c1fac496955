"""A masked convolutional summary of the rows above."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from blocklearn.heads.context import Context


class PixelCNN(Context):
    """Gated PixelCNN (arXiv 1606.05328) as the released code of arXiv 1905.11786 has it as context
    network of CPC: a position knows its own row, all of it, and the rows above. Its masks do not
    tell "A" from "B": a layer sees the centre of its input, the first one too. Widths stay those of
    the input.

    Args:
        channels: of the input, which are those of the context.
        layers: gated layers, >= 1; 4 published.

    Raises:
        ValueError: for no layers.
    """

    reads = "map"

    def __init__(self, channels: int, layers: int = 4) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"PixelCNN needs at least one layer, got {layers}")
        self.out_channels = channels
        self.layers = nn.ModuleList(
            GatedLayer(channels, residual=number > 0) for number in range(layers)
        )
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same shape."""
        above = row = x
        for layer in self.layers:
            above, row = layer(above, row)
        return self.output(row)


class GatedLayer(nn.Module):
    """A vertical stack, 3x3 without the row below, and a horizontal one, 1x3, which takes the
    vertical one's maps in. Both are gated: `tanh(a) * sigmoid(b)` of two halves.

    Args:
        channels: of both stacks.
        residual: add what came in: a 1x1 convolution of it to the vertical maps, itself to the
            horizontal ones.
    """

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        # of its kernel the row below the centre is never used
        self.vertical = nn.Conv2d(channels, 2 * channels, 3)
        self.vertical_residual = nn.Conv2d(channels, 2 * channels, 1) if residual else None
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.horizontal = nn.Conv2d(channels, 2 * channels, (1, 3), padding=(0, 1))
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, above: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Vertical and horizontal maps, each `(B, C, H, W)`, to the same."""
        vertical = self._above_only(above)
        horizontal = self.horizontal(row) + self.link(vertical)
        horizontal = self.output(_gate(horizontal))
        if self.vertical_residual is None:
            return _gate(vertical), horizontal
        return _gate(vertical + self.vertical_residual(above)), horizontal + row

    def _above_only(self, x: Tensor) -> Tensor:
        return conv2d(pad(x, (1, 1, 1, 0)), self.vertical.weight[:, :, :2], self.vertical.bias)


def _gate(x: Tensor) -> Tensor:
    value, gate = x.chunk(2, dim=1)
    return torch.tanh(value) * torch.sigmoid(gate)
