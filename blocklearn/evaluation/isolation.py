"""The proof of isolation: which loss reaches which parameters, shown on the user's own network and
data."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.training.contract import Carried, Clock


@dataclass(frozen=True)
class Reach:
    """How far the loss of one block reaches.

    Attributes:
        block: whose loss, e.g. `block1`.
        norms: of its gradient in the parameters of each block; None where no gradient arrives at
            all.
        allowed: whether it may arrive there: in the block itself, and in the one before where they
            share stages.
        unreached: parameters of the block itself that its loss does not reach, by name.
    """

    block: str
    norms: Sequence[float | None]
    allowed: Sequence[bool]
    unreached: Sequence[str]

    @property
    def leaks_into(self) -> list[int]:
        """Positions of the blocks that it reaches and must not."""
        return [
            position
            for position, (norm, allowed) in enumerate(zip(self.norms, self.allowed, strict=True))
            if norm is not None and not allowed
        ]


def measure_reach(network: BlockwiseModule, batch: Batch) -> list[Reach]:
    """Walk a batch down the blocks as in training, without updates, and see where each block's
    gradient arrives.

    Args:
        network: left as it was, but for the running statistics of its BatchNorms.
        batch: of at least 2 samples.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.train()
    clock = Clock()
    batch, carried = network.masked(batch, clock), Carried(batch.views)
    rows: list[Reach] = []
    for block in network.walked:
        network.zero_grad(set_to_none=True)
        output = block.local_step(carried, batch, clock)
        output.loss.backward()
        norms: list[float | None] = []
        for other in network.walked:
            gradients = [p.grad for p in other.parameters() if p.grad is not None]
            norms.append(
                float(torch.stack([g.float().norm() for g in gradients]).norm())
                if gradients
                else None
            )
        lender = block.index - 1 if block.borrowed else None
        allowed = [position in (block.index, lender) for position in range(len(network.walked))]
        unreached = [
            name for name, p in block.named_parameters() if p.requires_grad and p.grad is None
        ]
        rows.append(Reach(block.name, norms, allowed, unreached))
        carried = output.carried
    network.zero_grad(set_to_none=True)
    for module, mode in modes:
        module.training = mode
    return rows
