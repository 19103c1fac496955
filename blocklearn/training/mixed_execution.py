"""Local learning with an end-to-end batch now and then."""

from collections.abc import Sequence

from blocklearn.batch import Batch
from blocklearn.training.contract import Carried, Clock
from blocklearn.training.execution import InTurn, Steps
from blocklearn.training.learner import Learner


class EveryNthEndToEnd(InTurn):
    """One of every so many batches trains the whole network end to end, as in periodically guided
    learning (arXiv 2208.00821); from all others every block learns by itself.

    On such a batch the stages of all blocks are one chain. The last block's objective gives the
    loss, and its gradient reaches the stages of every block; each block's own optimizer steps, with
    its own learning rate and clipping. The objectives of the blocks before stand still: their
    weights get no gradient. Only the last block's loss is logged then.

    Of the batches `0, ..., every - 1` it is the middle one, `(every - 1) // 2`, and so on: losses
    are logged at the last batch of an interval, where all blocks should have one.

    It holds the graph of the whole network on such a batch, so memory is that of end-to-end
    training. Gradients cross borders, so it runs in one process, with blocks that share no stages
    and learn from the same batches.

    Args:
        every: batches from one that is end to end to the next; 1 for all.

    Raises:
        ValueError: for less than 1.
    """

    crosses_borders = True

    def __init__(self, every: int = 10) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"EveryNthEndToEnd needs every >= 1, got {every}")
        self.every = every

    def run(
        self, learners: Sequence[Learner], carried: Carried, batch: Batch, clock: Clock
    ) -> Steps:
        if clock.step % self.every == (self.every - 1) // 2 and learners:
            return (yield from self._end_to_end(learners, carried, batch, clock))
        return (yield from super().run(learners, carried, batch, clock))

    def _end_to_end(
        self, learners: Sequence[Learner], carried: Carried, batch: Batch, clock: Clock
    ) -> Steps:
        *before, last = learners
        for learner in before:
            carried = learner.chain(carried, batch, clock)
        output = last.learn(carried, batch, clock)
        for learner in before:
            learner.share_fate(last)
        for learner in learners:
            learner.update(clock)
        yield last, output
        return output.carried
