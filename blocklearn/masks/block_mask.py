"""Rectangles hidden whole."""

import math

import torch
from torch import Tensor

from blocklearn.errors import UserError
from blocklearn.masks.mask import Grid, Mask, in_all_frames, smallest
from blocklearn.seeding import keyed_uniform

RECTANGLES = 32  # drawn for a sample, more than the ratio asks for; what they leave is drawn singly


class BlockMask(Mask):
    """Rectangles of tokens are hidden, one after the other, until there are enough; they may
    overlap. Of the last one as many tokens as are still missing are hidden, at random (BEiT, arXiv
    2106.08254, where the number varies a little instead). In a clip a rectangle is hidden in all
    frames.

    Args:
        ratio: part of the tokens of a frame that is hidden, in (0, 1).
        smallest_part: of the frame that a rectangle covers, in (0, 1]; 16 of 196 patches published.
        largest_part: of the frame, >= `smallest_part`.
        aspect: the flattest rectangle's height over its width, in (0, 1]; the tallest has the
            inverse. 0.3 published.

    Raises:
        UserError: for values out of range.
    """

    def __init__(
        self,
        ratio: float = 0.5,
        smallest_part: float = 16 / 196,
        largest_part: float = 0.4,
        aspect: float = 0.3,
    ) -> None:
        super().__init__(ratio)
        if not (0 < smallest_part <= largest_part <= 1 and 0 < aspect <= 1):
            raise UserError(
                "mask: BlockMask needs 0 < smallest_part <= largest_part <= 1 and aspect in "
                f"(0, 1], got {smallest_part}, {largest_part} and {aspect}"
            )
        self.smallest_part, self.largest_part = smallest_part, largest_part
        self.aspect = aspect

    def visible(self, index: Tensor, grid: Grid, *keys: int) -> Tensor:
        frames, rows, columns = grid
        frame = rows * columns
        covered = self._rectangles(index, rows, columns, *keys).flatten(2)
        number = torch.arange(RECTANGLES, dtype=torch.uint8, device=index.device).reshape(-1, 1)
        first = torch.where(covered, number, RECTANGLES).amin(dim=1)
        alike = keyed_uniform(index, frame, *keys, 1)  # among those of one rectangle
        seen = smallest(alike - first, self.visible_count(frame))
        return in_all_frames(seen, frames, frame)

    def _rectangles(self, index: Tensor, rows: int, columns: int, *keys: int) -> Tensor:
        """Which tokens each covers, `(B, RECTANGLES, rows, columns)`."""
        draws = keyed_uniform(index, 4 * RECTANGLES, *keys, 0).unflatten(1, (RECTANGLES, 4))
        size, shape, top, left = draws.unbind(dim=2)
        area = (
            rows * columns * (self.smallest_part + size * (self.largest_part - self.smallest_part))
        )
        flat = math.log(self.aspect)
        ratio = torch.exp(flat - 2 * flat * shape)
        height = (area * ratio).sqrt().round().clamp(1, rows)
        width = (area / ratio).sqrt().round().clamp(1, columns)
        down = _runs((top * (rows - height + 1)).floor(), height, rows)
        across = _runs((left * (columns - width + 1)).floor(), width, columns)
        return down.unsqueeze(3) & across.unsqueeze(2)


def _runs(begin: Tensor, length: Tensor, total: int) -> Tensor:
    """Which of `total` positions lie in each run, `(..., total)`."""
    position = torch.arange(total, device=begin.device)
    begin, end = begin.unsqueeze(-1), (begin + length).unsqueeze(-1)
    return (begin <= position) & (position < end)
