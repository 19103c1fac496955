"""Watch what a block makes of its batches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from blocklearn.training.contract import BlockOutput, LocalBlock


class BlockMetric(ABC):
    """Subclass it and write `update` and `compute`. Every block has a copy of its own; what
    `compute` returns is logged under the block's name, `block1/rankme`, and that of validation
    batches as `block1/val_rankme`. It sees detached tensors and changes no number of the run.

    Args:
        every: batches from one that is looked at to the next, >= 1. In validation every batch is.

    Raises:
        ValueError: for less than 1.
    """

    def __init__(self, every: int = 50) -> None:
        if every < 1:
            raise ValueError(f"{type(self).__name__} looks every 1 batch or more, got {every}")
        self.every = every

    @abstractmethod
    def update(self, block: LocalBlock, output: BlockOutput) -> None:
        """Look at one batch of one block, without graph. `block.spec` says what its features
        `output.carried.views` are."""

    @abstractmethod
    def compute(self) -> Mapping[str, Tensor | float]:
        """What was seen since the last time, by name; afterwards it begins anew."""
