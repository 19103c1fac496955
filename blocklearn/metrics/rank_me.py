"""RankMe: how many dimensions a block's features use."""

from collections import deque

import torch
from torch import Tensor

from blocklearn.training.block_metric import BlockMetric
from blocklearn.training.contract import BlockOutput, LocalBlock

EPS = 1e-7


class RankMe(BlockMetric):
    """The effective rank of a block's features (arXiv 2210.02885, eq. 1): with the singular values
    `s` of the `(N, D)` matrix of features, which is not centered, and `p = s / sum(s) + eps`,
    `rankme = exp(-sum p log p)`, between 1 (collapse) and `min(N, D)`.

    A feature is the mean over the positions of the block's output in the first view, so `D` is the
    number of channels. `N` is the samples of this process that were seen since the last time; with
    fewer than `D` the rank says as much of `N` as of the features, so look at many batches.

    Args:
        every: batches from one that is looked at to the next, >= 1.
        samples: of the last ones at most, >= 2.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, every: int = 1, samples: int = 2048) -> None:
        super().__init__(every)
        if samples < 2:
            raise ValueError(f"RankMe needs at least 2 samples, got {samples}")
        self.samples = samples
        self._kept: deque[Tensor] = deque()

    def update(self, block: LocalBlock, output: BlockOutput) -> None:
        features = block.spec.average(output.carried.views[0])
        self._kept.append(features.detach().float().cpu())
        while sum(map(len, self._kept)) - len(self._kept[0]) >= self.samples:
            self._kept.popleft()

    def compute(self) -> dict[str, Tensor]:
        features = torch.cat(list(self._kept))[-self.samples :]
        self._kept.clear()
        return {"rankme": effective_rank(features)}


def effective_rank(features: Tensor) -> Tensor:
    """Of features `(N, D)`; a scalar."""
    values = torch.linalg.svdvals(features.double())
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + EPS
    return (-(share * share.log()).sum()).exp().float()
