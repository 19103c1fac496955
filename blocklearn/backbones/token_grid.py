"""What the tokens of a vision transformer stand for."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WAVELENGTH = 10000.0  # of the slowest position, in tokens / 2 pi


@dataclass(frozen=True, slots=True)
class TokenGrid:
    """Tokens in frames, rows and columns, each of a patch of the image or clip. They are numbered
    frame by frame, row by row.

    Attributes:
        grid: number of frames, rows and columns of tokens; one frame for images.
        patch: frames, rows and columns of pixels of a token; one frame for images.
        channels: of the image or clip.
    """

    grid: tuple[int, int, int]
    patch: tuple[int, int, int]
    channels: int = 3

    @property
    def count(self) -> int:
        """Number of tokens."""
        return math.prod(self.grid)

    @property
    def values(self) -> int:
        """Numbers in a patch, `D`."""
        return math.prod(self.patch) * self.channels

    def patches(self, view: Tensor) -> Tensor:
        """The pixels of every token, `(B, L, D)`: pixel by pixel, the channels of each together.

        Args:
            view: `(B, C, H, W)`, or `(B, C, T, H, W)`.
        """
        clip = view.unsqueeze(2) if view.dim() == 4 else view
        frames, rows, columns = self.grid
        t, h, w = self.patch
        cut = clip.reshape(len(clip), -1, frames, t, rows, h, columns, w)
        return cut.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(len(clip), self.count, -1)

    def view(self, patches: Tensor) -> Tensor:
        """The image or clip from its patches: the inverse of `patches`. One frame of tokens of one
        frame of pixels is an image, `(B, C, H, W)`."""
        pieces = patches.unflatten(2, (*self.patch, -1)).unflatten(1, self.grid)
        whole = pieces.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return whole.squeeze(2) if self.grid[0] == self.patch[0] == 1 else whole

    def positions(self, width: int) -> Tensor:
        """Sine and cosine of every token's place, `(L, width)`. Images: half of the components for
        the column, half for the row, as MAE has it (arXiv 2111.06377, released code). Clips: a
        third each for frame, row and column.

        Args:
            width: an even number.
        """
        frames, rows, columns = (torch.arange(length).double() for length in self.grid)
        time, row, column = torch.meshgrid(frames, rows, columns, indexing="ij")
        axes = (column, row) if self.grid[0] == 1 else (time, row, column)
        shares = [part.numel() for part in torch.arange(width // 2).tensor_split(len(axes))]
        waves = [_waves(axis.flatten(), n) for axis, n in zip(axes, shares, strict=True)]
        return torch.cat(waves, dim=1).to(torch.get_default_dtype())


def _waves(place: Tensor, count: int) -> Tensor:
    """`(L, 2 * count)`: sines, then cosines."""
    frequency = WAVELENGTH ** -(torch.arange(count).double() / count)
    angle = place.unsqueeze(1) * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)
