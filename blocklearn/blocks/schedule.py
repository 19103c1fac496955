"""Which block learns when."""

from abc import ABC, abstractmethod


class Schedule(ABC):
    """Subclass it and write `is_learning`. A block that is not learning runs forward in eval mode, without a graph."""

    @abstractmethod
    def is_learning(self, block: int, num_blocks: int, progress: float) -> bool:
        """Whether block `block` (from 0) of `num_blocks` is updated when `progress`, in [0, 1), of the run is done."""


class Simultaneous(Schedule):
    """Every block learns from every batch: the published schedule of arXiv 2302.01647 and 1905.11786."""

    def is_learning(self, block: int, num_blocks: int, progress: float) -> bool:
        return True
