"""Which block runs when, and where."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterator, Sequence

from blocklearn.batch import Batch
from blocklearn.training.contract import BlockOutput, Carried, Clock, LocalBlock
from blocklearn.training.learner import Learner

Steps = Generator[tuple[Learner, BlockOutput], None, Carried | None]


class Execution(ABC):
    """Subclass it and write `run`. Since no gradient crosses a border, any order in which every
    block gets the output of the block before gives the same weights.

    Attributes:
        crosses_borders: whether it lets gradients cross a border all the same. All blocks then have
            to learn from the same batches, in one process, and to share no stages.
    """

    crosses_borders: bool = False

    @abstractmethod
    def run(
        self, learners: Sequence[Learner], carried: Carried, batch: Batch, clock: Clock
    ) -> Steps:
        """Run the blocks on one batch, and say what those that learn made of it.

        Every learner that learns at `clock` must `learn` and then `update`; a block that lends
        stages (`learner.block.lends > 0`) is updated after the next block has learned.

        Args:
            learners: the blocks to run, in order.
            carried: what the first of them gets.
            batch: as the data made it.
            clock: when.

        Returns:
            What the last of them hands on, from a generator (`return carried`); only
            `block_parallel` asks for it.
        """

    def look(
        self, blocks: Sequence[LocalBlock], carried: Carried, batch: Batch, clock: Clock
    ) -> Iterator[tuple[LocalBlock, BlockOutput]]:
        """Run blocks that do not learn, for their losses."""
        for block in blocks:
            output = block.local_step(carried, batch, clock)
            yield block, output
            carried = output.carried


class InTurn(Execution):
    """One block after the other. A block's graph is gone before the next block's is made, so a
    step holds no more than the largest block's.

    Args:
        lag: how many blocks are computed before a block is updated: 1 gives several processes the
            time of the next block to average its gradients.
    """

    def __init__(self, lag: int = 0) -> None:
        self.lag = lag

    def run(
        self, learners: Sequence[Learner], carried: Carried, batch: Batch, clock: Clock
    ) -> Steps:
        waiting: deque[Learner] = deque()
        for learner in learners:
            if not learner.learns(clock):
                carried = learner.pass_on(carried, batch, clock)
                continue
            output = learner.learn(carried, batch, clock)
            waiting.append(learner)
            # the next block's loss has still to reach what it borrows
            while len(waiting) > max(bool(learner.block.lends), self.lag):
                waiting.popleft().update(clock)
            yield learner, output
            carried = output.carried
        for learner in waiting:
            learner.update(clock)
        return carried
