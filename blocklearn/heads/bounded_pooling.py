"""The mean over as many windows as a classifier's input allows."""

import math

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from blocklearn.backbones.stage import StageSpec
from blocklearn.heads.pooling import Pooling


class BoundedPooling(Pooling):
    """The mean over each window of a square grid, which is as fine as `most` numbers allow: `(B, C,
    H, W)` to `(B, C * grid * grid)`, row by row within a channel, with `grid = floor(sqrt(most /
    C))`, at least 1 (the decoder's input of arXiv 1901.06656, whose windows are powers of two and
    may be oblong).

    Where the map has fewer positions than the grid, windows repeat them.

    Args:
        spec: the stage it sits on.
        most: numbers at most, unless there are more channels, >= 1; 2048 published for CIFAR-10.

    Raises:
        ValueError: for a number below 1.
    """

    def __init__(self, spec: StageSpec, most: int = 2048) -> None:
        super().__init__()
        if most < 1:
            raise ValueError(f"BoundedPooling: most is at least 1, got {most}")
        self.spec = spec
        self.grid = max(math.isqrt(most // spec.channels), 1)
        self.out_features = spec.channels * self.grid * self.grid

    def forward(self, x: Tensor) -> Tensor:
        return adaptive_avg_pool2d(self.spec.as_map(x), self.grid).flatten(1)

    def extra_repr(self) -> str:
        return f"grid={self.grid}"
