"""A video that is at hand in memory."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ArrayVideo:
    """Frames in memory.

    Attributes:
        path: what to call it in messages.
        pixels: `(N, H, W)` in grey or `(N, H, W, 3)` in RGB, uint8.
    """

    path: Path
    pixels: Tensor = field(repr=False)

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.pixels)

    def read(self, start: int = 0, frames: int | None = None, stride: int = 1) -> Tensor:
        """`(T, H, W, 3)` uint8 in RGB.

        Args:
            start: first frame.
            frames: T; null for all that follow.
            stride: 1 for every frame, 4 for every fourth.
        """
        stop = None if frames is None else start + frames * stride
        pixels = self.pixels[start:stop:stride]
        return pixels if pixels.dim() == 4 else pixels.unsqueeze(-1).expand(-1, -1, -1, 3)
