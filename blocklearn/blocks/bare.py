"""A network without objectives: the backbone in its blocks, and nothing that is thrown away after training."""

from collections.abc import Mapping
from typing import Any

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.blocks.objective import Objective
from blocklearn.blocks.stage import StageSpec


class NoObjective(Objective):
    """Has no weights, no loss and no head; a block that carries it can compute features only."""

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()


def bare_network(structure: Mapping[str, Any]) -> BlockwiseModule:
    """The network that a checkpoint describes, with initial weights and without objectives: the published recipe's
    projectors have 604M parameters, its backbone 24M.

    Args:
        structure: `BlockwiseModule.structure`, as checkpoints hold it.
    """
    return BlockwiseModule(NoObjective, **structure)
