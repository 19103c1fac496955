"""The same positions hidden in all frames."""

from torch import Tensor

from blocklearn.masks.mask import Grid, Mask, in_all_frames, smallest
from blocklearn.seeding import keyed_uniform


class TubeMask(Mask):
    """What is hidden in one frame of a clip is hidden in all of them, so that it cannot be copied
    from the frame before (VideoMAE, arXiv 2203.12602). For an image it is `RandomMask`.

    Args:
        ratio: part of the tokens of a frame that is hidden, in (0, 1); 0.9 published for video.
    """

    def __init__(self, ratio: float = 0.9) -> None:
        super().__init__(ratio)

    def visible(self, index: Tensor, grid: Grid, *keys: int) -> Tensor:
        frames, rows, columns = grid
        frame = rows * columns
        seen = smallest(keyed_uniform(index, frame, *keys), self.visible_count(frame))
        return in_all_frames(seen, frames, frame)
