"""Alignment: how near the views of a sample are to one another."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.training.block_metric import BlockMetric
from blocklearn.training.contract import BlockOutput, LocalBlock


def alignment(x: Tensor, y: Tensor) -> float:
    """`E |x - y|^2` over pairs of rows of unit length (arXiv 2005.10242, alpha = 2): 0 where both
    views are the same, 2 where they are at right angles, at most 4. Low is good, but collapse has
    0 as well: read it with `uniformity`.

    Args:
        x: `(N, D)`, one view; brought to unit length here.
        y: `(N, D)`, another view of the same samples.

    Raises:
        ValueError: for different shapes.
    """
    if x.shape != y.shape:
        raise ValueError(f"alignment compares views of the same samples, got {x.shape}, {y.shape}")
    return float(_squares(x, y).mean())


def _squares(x: Tensor, y: Tensor) -> Tensor:
    return (normalize(x.double(), dim=1) - normalize(y.double(), dim=1)).pow(2).sum(dim=1)


class Alignment(BlockMetric):
    """`alignment` of a block's output in the first two views, averaged over its positions. Says
    nothing where there is one view. Over several processes the mean is over the samples of all.

    Args:
        every: batches from one that is looked at to the next, >= 1.

    Raises:
        ValueError: for less than 1.
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__(every)
        self._sums: list[Tensor] = []

    def update(self, block: LocalBlock, output: BlockOutput) -> None:
        if len(output.carried.views) < 2:
            return
        first, second = (block.spec.average(view) for view in output.carried.views[:2])
        far = _squares(first.detach().float(), second.detach().float())
        self._sums.append(torch.stack([far.sum(), far.new_full((), len(far))]))

    def compute(self) -> dict[str, Tensor]:
        if not self._sums:
            return {}
        total, count = sum_over_processes(torch.stack(self._sums).sum(dim=0)).unbind()
        self._sums = []
        return {"alignment": (total / count).float()}
