"""A network without objectives: the backbone in its blocks, and nothing that is thrown away after
training."""

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.blocks.settings import arguments_of
from blocklearn.objectives.objective import NoObjective
from blocklearn.weights.structure import NetworkStructure


def bare_network(structure: NetworkStructure) -> BlockwiseModule:
    """The network that a checkpoint describes, with initial weights and without objectives: the
    published recipe's projectors have 604M parameters, its backbone 24M."""
    return BlockwiseModule(NoObjective, **arguments_of(structure))
