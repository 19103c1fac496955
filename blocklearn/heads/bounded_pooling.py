"""The mean over as many windows as a classifier's input allows."""

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from blocklearn.backbones.stage import StageSpec
from blocklearn.heads.pooling import Pooling


class BoundedPooling(Pooling):
    """The mean over each window of a grid that leaves at most `most` numbers: `(B, C, H, W)` to
    `(B, C * rows * columns)`, row by row within a channel. The windows are a power of two, with as
    many columns as rows or twice as many: the decoder's input of arXiv 1901.06656 wherever the
    map's sides are powers of two and no shorter than the grid.

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
        halvings = max(most // spec.channels, 1).bit_length() - 1
        self.grid = (2 ** (halvings // 2), 2 ** (halvings - halvings // 2))
        self.out_features = spec.channels * 2**halvings

    def forward(self, x: Tensor) -> Tensor:
        return adaptive_avg_pool2d(self.spec.as_map(x), self.grid).flatten(1)

    def extra_repr(self) -> str:
        return f"grid={self.grid}"
