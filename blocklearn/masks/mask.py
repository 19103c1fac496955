"""The contract of a mask."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from blocklearn.errors import UserError

Grid = tuple[int, int, int]  # frames, rows and columns of tokens; one frame for images


class Mask(ABC):
    """Hides tokens of a vision transformer. Subclass it and write `visible`.

    A mask is a function of its keys and of the sample's index, the same on every machine, so it is
    the same for all blocks and after resuming, whatever process draws it.

    Args:
        ratio: part of the tokens that is hidden, in (0, 1); rounded down to a whole number of them.

    Raises:
        UserError: for a ratio out of range.
    """

    def __init__(self, ratio: float = 0.75) -> None:
        if not 0 < ratio < 1:
            raise UserError(f"mask: ratio must lie between 0 and 1, got {ratio}")
        self.ratio = ratio

    @abstractmethod
    def visible(self, index: Tensor, grid: Grid, *keys: int) -> Tensor:
        """The positions of the visible tokens, `(B, V)` in ascending order, as many of every
        sample.

        Args:
            index: `(B,)` of the samples, in their data set.
            grid: of the tokens, which are numbered frame by frame, row by row.
            keys: what the draws depend on besides: the run's seed, epoch and view.
        """

    def visible_count(self, tokens: int) -> int:
        """How many of so many tokens stay visible."""
        return tokens - int(self.ratio * tokens + 1e-9)  # 0.29 * 100 is 28.999999999999996

    def require(self, grid: Grid) -> None:
        """
        Raises:
            UserError: where all tokens of a sample would be visible, or none.
        """
        frames, rows, columns = grid
        visible = self.visible(torch.zeros(1, dtype=torch.int64), grid, 0).shape[1]
        if not 0 < visible < frames * rows * columns:
            raise UserError(
                f"mask: a ratio of {self.ratio} leaves {visible} of {frames * rows * columns} "
                "tokens visible; change --model.mask.ratio, or make smaller patches"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(ratio={self.ratio})"


def smallest(values: Tensor, count: int) -> Tensor:
    """The positions of the `count` smallest of each row, `(B, count)`, in ascending order."""
    return values.argsort(dim=1, stable=True)[:, :count].sort(dim=1).values


def in_all_frames(seen: Tensor, frames: int, tokens: int) -> Tensor:
    """The positions `(B, V)` of one frame of so many tokens, in every frame: `(B, frames * V)`."""
    begins = torch.arange(frames, device=seen.device) * tokens
    return (begins.unsqueeze(1) + seen.unsqueeze(1)).flatten(1)
