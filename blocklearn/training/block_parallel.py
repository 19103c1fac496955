"""Consecutive blocks on consecutive processes: who runs what, and what is sent on."""

from collections.abc import Iterator, Sequence

from blocklearn.batch import Batch
from blocklearn.distributed.channel import Channel, Inbox
from blocklearn.errors import UserError
from blocklearn.training.contract import BlockOutput, Carried, Clock, LocalBlock
from blocklearn.training.execution import Execution, Steps
from blocklearn.training.learner import Learner


class BlockParallel(Execution):
    """Runs this process' own blocks on what the process before sends, and sends on what the last of
    them hands on.

    Args:
        inner: runs the own blocks.
        own: their indices.
        inbox: from the process before; null for the first.
        outbox: to the process behind; null for the last.
    """

    def __init__(
        self, inner: Execution, own: range, inbox: Inbox | None, outbox: Channel | None
    ) -> None:
        self.inner, self.own, self.inbox, self.outbox = inner, own, inbox, outbox

    def run(
        self, learners: Sequence[Learner], carried: Carried, batch: Batch, clock: Clock
    ) -> Steps:
        own = [learner for learner in learners if learner.block.index in self.own]
        if not own:
            return carried
        carried, batch = self._received(carried, batch)
        handed_on = yield from self.inner.run(own, carried, batch, clock)
        if learners[-1] is not own[-1]:
            self._send(handed_on, batch)
        return handed_on

    def look(
        self, blocks: Sequence[LocalBlock], carried: Carried, batch: Batch, clock: Clock
    ) -> Iterator[tuple[LocalBlock, BlockOutput]]:
        carried, batch = self._received(carried, batch)
        own = [block for block in blocks if block.index in self.own]
        for block, output in self.inner.look(own, carried, batch, clock):
            carried = output.carried
            yield block, output
        self._send(carried, batch)

    def _received(self, carried: Carried, batch: Batch) -> tuple[Carried, Batch]:
        if self.inbox is None:
            return carried, batch
        views, extras, label, index, visible = self.inbox.get()
        batch = batch._replace(label=label, index=index, visible=visible)
        return Carried(views, extras), batch

    def _send(self, carried: Carried | None, batch: Batch) -> None:
        if self.outbox is None:
            return
        if carried is None:
            raise UserError(
                f"block_parallel: {type(self.inner).__name__}.run does not return what its last "
                "block hands on: write `return carried` at its end"
            )
        beside = [batch.label, batch.index, list(batch.visible)]
        self.outbox.send([list(carried.views), dict(carried.extras), *beside])
