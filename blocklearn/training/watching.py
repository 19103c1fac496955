"""The metrics of every block: when they look, and when they are logged."""

import copy
from collections.abc import Callable, Sequence

import torch

from blocklearn.training.block_metric import BlockMetric
from blocklearn.training.contract import BlockOutput, Clock, LocalBlock


class Watching:
    """Shows each block's output to the block's own copies of the metrics, which differ for training
    and validation.

    Args:
        metrics: to copy.
        log: gets values by name, and `sync_dist`: whether to average them over the processes.
    """

    def __init__(self, metrics: Sequence[BlockMetric], log: Callable[..., None]) -> None:
        self.metrics = list(metrics)
        self._log = log
        self._copies: dict[tuple[str, str], list[BlockMetric]] = {}
        self._seen: set[tuple[str, str, int]] = set()
        # called with what every learning block makes of a training batch
        self.listeners: list[Callable[[LocalBlock, BlockOutput, Clock], None]] = []

    def observe(
        self, block: LocalBlock, output: BlockOutput, prefix: str, clock: Clock, log_every: int
    ) -> None:
        """Let every metric look whose turn it is, and log where losses are logged too.

        Args:
            block: whose output it is.
            output: of one batch.
            prefix: of the names, `val_` in validation.
            clock: when.
            log_every: batches from one log to the next; 0 for not here.
        """
        place = (block.name, prefix)
        for listen in self.listeners if clock.learning else ():
            listen(block, output, clock)
        for number, metric in enumerate(self._own(*place)):
            if not clock.learning or (clock.step + 1) % metric.every == 0:
                with torch.no_grad():
                    metric.update(block, output)
                self._seen.add((*place, number))
        if log_every and (clock.step + 1) % log_every == 0:
            self.log(*place)

    def log(self, block: str, prefix: str) -> None:
        """What was seen of a block since the last time."""
        for number, metric in enumerate(self._own(block, prefix)):
            if (block, prefix, number) in self._seen:
                self._seen.discard((block, prefix, number))
                found = metric.compute()
                # a metric of the user's own may differ between processes
                self._log(
                    {f"{block}/{prefix}{key}": value for key, value in found.items()},
                    sync_dist=bool(prefix),
                )

    def _own(self, block: str, prefix: str) -> list[BlockMetric]:
        if (block, prefix) not in self._copies:
            self._copies[block, prefix] = copy.deepcopy(self.metrics)
        return self._copies[block, prefix]
