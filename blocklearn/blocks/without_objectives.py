"""A network without objectives: the backbone in its blocks, and nothing that is thrown away after
training."""

from collections.abc import Mapping
from typing import Any

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.objectives.objective import NoObjective


def bare_network(structure: Mapping[str, Any]) -> BlockwiseModule:
    """The network that a checkpoint describes, with initial weights and without objectives: the
    published recipe's projectors have 604M parameters, its backbone 24M.

    Args:
        structure: `BlockwiseModule.structure`, as checkpoints hold it.
    """
    return BlockwiseModule(NoObjective, **structure)
