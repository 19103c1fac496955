"""The last features that a block metric saw, of all processes that share a batch."""

from abc import abstractmethod
from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor

from blocklearn.distributed.collectives import gather_batch
from blocklearn.distributed.groups import world_size
from blocklearn.training.block_metric import BlockMetric
from blocklearn.training.contract import BlockOutput, LocalBlock


class KeptRows:
    """Keeps rows of features on the CPU, batch by batch, and gives the last ones of all processes
    among which the batches are divided, in the order in which one process would have them.

    Args:
        most: rows over all processes, >= 2.

    Raises:
        ValueError: for less than 2.
    """

    def __init__(self, most: int) -> None:
        if most < 2:
            raise ValueError(f"a metric of features needs at least 2 samples, got {most}")
        self.most = most
        self._kept: deque[Tensor] = deque()
        self._device = torch.device("cpu")

    def append(self, features: Tensor) -> None:
        """A batch, `(B, D)`, of this process."""
        self._device = features.device
        self._kept.append(features.detach().float().cpu())
        # processes' shares of the last batch differ by one row at most
        while (self._length() - len(self._kept[0]) - 1) * world_size() >= self.most:
            self._kept.popleft()

    def take(self) -> Tensor:
        """The last `most` rows `(N, D)`, on the CPU; afterwards there are none. Every process has
        to ask."""
        rows = torch.cat(list(self._kept))
        # numbered from the last, since the first that is kept may differ between processes
        back = torch.cat(
            [torch.full((len(part),), age) for age, part in enumerate(reversed(self._kept))][::-1]
        )
        self._kept.clear()
        if world_size() > 1:
            rows = gather_batch(rows.to(self._device), even=False).cpu()
            back = gather_batch(back.to(self._device), even=False).cpu()
            rows = rows[torch.argsort(back, descending=True, stable=True)]
        return rows[-self.most :]

    def _length(self) -> int:
        return sum(map(len, self._kept))


class RowMetric(BlockMetric):
    """Subclass it and write `measure`. A row is a sample: a block's output in the first view,
    averaged over its positions, so `D` is the number of channels. Over several processes the
    samples are those of all.

    Args:
        every: batches from one that is looked at to the next, >= 1.
        samples: the last ones at most, >= 2.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, every: int = 1, samples: int = 2048) -> None:
        super().__init__(every)
        self._rows = KeptRows(samples)

    @abstractmethod
    def measure(self, rows: Tensor) -> Mapping[str, Tensor | float]:
        """Of the samples `(N, D)` that were seen since the last time, by name."""

    def update(self, block: LocalBlock, output: BlockOutput) -> None:
        self._rows.append(block.spec.average(output.carried.views[0]))

    def compute(self) -> Mapping[str, Tensor | float]:
        return self.measure(self._rows.take())
