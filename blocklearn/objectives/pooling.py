"""From a stage's map to one vector a sample."""

from torch import Tensor, nn

from blocklearn.blocks.stage import StageSpec


class Pooling(nn.Module):
    """Subclass it, take the `StageSpec` as first argument, set `out_features` and write `forward`."""

    out_features: int

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, out_features)`."""
        raise NotImplementedError


class GlobalPooling(Pooling):
    """The mean over all positions (GSP): `(B, C, H, W)` to `(B, C)`."""

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()
        self.out_features = spec.channels

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class ExpandPooling(Pooling):
    """Expand, then average (CbE, arXiv 2302.01647): convolution without bias to `width` channels, BatchNorm, ReLU, mean
    over all positions: `(B, C, H, W)` to `(B, width)`. The convolution keeps PyTorch's default initialisation.

    Args:
        spec: the stage it sits on.
        width: channels after the expansion; 2048 published.
        kernel_size: 1 (the released training script) or 3 (padding 1).

    Raises:
        ValueError: for another kernel size.
    """

    def __init__(self, spec: StageSpec, width: int = 2048, kernel_size: int = 1) -> None:
        super().__init__()
        if kernel_size not in (1, 3):
            raise ValueError(f"ExpandPooling: kernel_size is 1 or 3, got {kernel_size}")
        self.out_features = width
        self.conv = nn.Conv2d(spec.channels, width, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu().mean(dim=(2, 3))
