"""Cut images into overlapping patches, each of which passes the backbone by itself."""

from dataclasses import dataclass

from torch import Tensor, nn

from blocklearn.errors import UserError


@dataclass(frozen=True)
class Patches:
    """How images are cut (arXiv 1905.11786: 7 x 7 patches of 16 pixels that overlap by half, of
    crops of 64).

    Attributes:
        size: height and width of a patch in pixels.
        stride: pixels from one patch to the next.
        grid: patches per side, at least 2.

    Raises:
        UserError: for a value out of range.
    """

    size: int = 16
    stride: int = 8
    grid: int = 7

    def __post_init__(self) -> None:
        if self.size < 1 or self.stride < 1 or self.grid < 2:
            raise UserError(
                f"patches: size and stride must be at least 1 and grid at least 2, got {self}"
            )

    @property
    def image_size(self) -> int:
        """Height and width of the image that they cover."""
        return self.size + (self.grid - 1) * self.stride


class CutPatches(nn.Module):
    """`(B, C, H, W)` to `(B * grid * grid, C, size, size)`: image by image, row by row.

    Args:
        patches: how images are cut.

    Raises:
        UserError: for images of another size.
    """

    def __init__(self, patches: Patches) -> None:
        super().__init__()
        self.patches = patches

    def forward(self, x: Tensor) -> Tensor:
        own = self.patches
        if x.shape[2:] != (own.image_size, own.image_size):
            size = f"{x.shape[2]} x {x.shape[3]}"
            raise UserError(
                f"patches: {own} takes images of {own.image_size} pixels a side, these have {size}"
            )
        cut = x.unfold(2, own.size, own.stride).unfold(3, own.size, own.stride)
        return cut.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

    def extra_repr(self) -> str:
        return str(self.patches)
