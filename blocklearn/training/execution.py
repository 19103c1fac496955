"""Which block runs when, and where."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence

from blocklearn.batch import Batch
from blocklearn.training.contract import BlockOutput, Carried, Clock
from blocklearn.training.learner import Learner


class Execution(ABC):
    """Subclass it and write `run`. Since no gradient crosses a border, any order in which every
    block gets the output of the block before gives the same weights."""

    @abstractmethod
    def run(
        self, learners: Sequence[Learner], carried: Carried, batch: Batch, clock: Clock
    ) -> Iterator[tuple[Learner, BlockOutput]]:
        """Run the blocks on one batch, and say what those that learn made of it.

        Every learner that learns at `clock` must `learn` and then `update`; a block that lends
        stages (`learner.block.lends > 0`) is updated after the next block has learned.

        Args:
            learners: the blocks to run, in order.
            carried: what the first of them gets.
            batch: as the data made it.
            clock: when.
        """


class InTurn(Execution):
    """One block after the other. A block's graph is gone before the next block's is made, so a
    step holds no more than the largest block's."""

    def run(
        self, learners: Sequence[Learner], carried: Carried, batch: Batch, clock: Clock
    ) -> Iterator[tuple[Learner, BlockOutput]]:
        waiting: deque[Learner] = deque()
        for learner in learners:
            if not learner.learns(clock):
                carried = learner.pass_on(carried, batch, clock)
                continue
            output = learner.learn(carried, batch, clock)
            waiting.append(learner)
            # the next block's loss has still to reach what it borrows
            while len(waiting) > bool(learner.block.lends):
                waiting.popleft().update(clock)
            yield learner, output
            carried = output.carried
