"""What blocks must be that one gradient reaches across their borders."""

from collections.abc import Sequence
from typing import Any

from blocklearn.distributed.block_parallel import BlockParallelStrategy
from blocklearn.distributed.groups import world_size
from blocklearn.errors import UserError
from blocklearn.training.contract import LocalBlock


def require_one_process(execution: str, strategy: Any) -> None:
    """Refuse blocks in several processes.

    Raises:
        UserError: naming what there is of them.
    """
    if isinstance(strategy, BlockParallelStrategy) or world_size() > 1:
        raise UserError(
            f"execution: {execution} lets gradients cross the borders between blocks, so it runs "
            "in one process: leave --trainer.strategy alone and give --trainer.devices 1, or leave "
            "--model.execution out"
        )


def require_joinable(
    execution: str, blocks: Sequence[LocalBlock], windows: Sequence[range]
) -> None:
    """Where gradients cross borders, blocks must learn from the same batches and share nothing.

    Args:
        execution: its name.
        blocks: in order.
        windows: the batches from which each learns.

    Raises:
        UserError: saying what is in the way.
    """
    if any(block.lends for block in blocks):
        raise UserError(
            f"execution: {execution} trains the network as one chain, and these blocks share "
            "stages: give --model.blocks without overlap, or leave --model.execution out"
        )
    if len(set(windows)) > 1:
        raise UserError(
            f"execution: {execution} trains all blocks at once, and they learn from different "
            "batches: take the schedule SimultaneousSchedule and the same stop_epoch"
        )
