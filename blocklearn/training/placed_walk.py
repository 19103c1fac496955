"""Where a walk's blocks lie: all in one process, copies of them in several, or some in each."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule

from blocklearn.distributed.block_parallel import BlockParallelStrategy
from blocklearn.distributed.groups import world_size
from blocklearn.distributed.strategy import BlockwiseDDPStrategy
from blocklearn.errors import UserError
from blocklearn.training.across_ranks import AcrossRanks
from blocklearn.training.block_parts import BlockParts
from blocklearn.training.contract import LocalBlock
from blocklearn.training.execution import Execution, InTurn
from blocklearn.training.joined import require_joinable, require_one_process
from blocklearn.training.learner import Replica
from blocklearn.training.schedule import Schedule


class PlacedWalk(LightningModule):
    """What a strategy asks of a walk, and what a walk asks of its strategy.

    Args:
        execution: which block runs when, in one process.
    """

    schedule: Schedule

    def __init__(self, execution: Execution) -> None:
        super().__init__()
        self.execution = self.chosen = execution
        self.across: AcrossRanks | None = None  # where blocks lie in several processes

    @property
    def walked(self) -> Sequence[LocalBlock]:
        """The blocks of this walk, in order."""
        raise NotImplementedError

    def place_blocks(self) -> None:
        """When a run begins: choose how the blocks are run under its strategy."""
        strategy: Any = self.trainer.strategy
        self.across, self.chosen = None, self.execution
        if self.execution.crosses_borders:
            require_one_process(type(self.execution).__name__, strategy)
        if isinstance(strategy, BlockwiseDDPStrategy) and world_size() > 1:
            lagging = type(self.execution) is InTurn  # whose order we know
            self.chosen = InTurn(lag=1) if lagging else self.execution
        if isinstance(strategy, BlockParallelStrategy):
            self.across = AcrossRanks(self.trainer, strategy, self.chosen)
            self.chosen = self.across.execution

    def require_joinable(self, windows: Sequence[range]) -> None:
        """Refuse blocks that this execution cannot train, by the batches from which each learns."""
        if self.execution.crosses_borders:
            require_joinable(type(self.execution).__name__, self.walked, windows)

    def replica(self, block: LocalBlock) -> Replica | None:
        """What averages a block's gradients over several processes."""
        strategy = self.trainer.strategy
        return strategy.replica(block) if isinstance(strategy, BlockwiseDDPStrategy) else None

    @property
    def parts(self) -> BlockParts:
        """For a strategy whose processes have some of the blocks each."""
        return BlockParts(self.walked, self.schedule, self.costs)

    def costs(self) -> Sequence[float]:
        """What a step of each block costs, in any unit."""
        return [1.0] * len(self.walked)

    def test_step(self, *_: Any) -> None:
        """For `Trainer.test`, which every Lightning user tries.

        Raises:
            UserError: always, saying what tests a network that has no classifier.
        """
        raise UserError(
            "Trainer.test: this network has no classifier to test; blocklearn.evaluate(network, "
            "data) puts one on every stage, and Trainer.validate tells the local losses"
        )

    def on_train_epoch_end(self) -> None:
        self.share_metrics()

    def share_metrics(self) -> None:
        """Let callbacks see the metrics of all blocks."""
        if self.across:
            self.across.share_metrics()

    def let_all_arrive(self) -> None:
        """Wait for what is under way between processes at the run's end."""
        if self.across:
            self.across.finish()
