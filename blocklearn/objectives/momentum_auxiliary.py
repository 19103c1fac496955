"""MAN: what the next block does, learned and averaged, in front of the objective."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.heads.fresh_copy import fresh_copy
from blocklearn.heads.teacher import MovingAverage
from blocklearn.objectives.auxiliary import Auxiliary, AuxiliaryObjective, Units
from blocklearn.objectives.objective import ObjectiveFactory
from blocklearn.training.contract import Clock


class MomentumAuxiliary(AuxiliaryObjective):
    """The momentum auxiliary network MAN (arXiv 2407.05623), in front of any objective: with `x`
    what a block hands on, the objective gets `y = f(x) + g(x)`. Both have the architecture of the
    next block's first unit: `f` is newly initialised and trained by the block's own loss, the
    weights of `g` are the moving average of that unit's, `w <- momentum w + (1 - momentum) v` after
    every update. Published for supervised blocks; in front of self-supervised objectives it is
    ours.

    With `scaled` it is MAN++ (arXiv 2507.16279): `y = s f(x) + (2 - s) g(x)`, `s` learned and 1 at
    first.

    The average belongs to no optimizer; the gradient passes through it to the block's features,
    and never to the next block. It begins as that unit is when the network is put together (the
    released code for CIFAR-10 draws it anew). It reads the unit before the unit learns from the
    same batch. Running statistics of norms are the average's own, those of this block's features,
    in training unused: there every view is normalised by its own statistics. The last block has the
    plain objective.

    Args:
        spec: the block's last stage.
        objective: what is optimized behind the sum; built from the `StageSpec` of the next block's
            first unit.
        momentum: of the average, in [0, 1]; 0.995 published.
        scaled: whether the two are weighed by a learned number, as in MAN++.

    Raises:
        ValueError: for a momentum out of range.
    """

    reads_others = True

    def __init__(
        self,
        spec: StageSpec,
        objective: ObjectiveFactory,
        momentum: float = 0.995,
        scaled: bool = False,
    ) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"MomentumAuxiliary needs a momentum in [0, 1], got {momentum}")
        super().__init__(spec, objective)
        self.momentum, self.scaled = momentum, scaled
        self._followed: tuple[nn.Module, ...] = ()

    def make(self, units: Units, index: int, blocks: int) -> Auxiliary:
        self._followed = tuple(units.modules[units.here + 1])
        return Auxiliary(
            _LearnedAndAveraged(self._followed, self.scaled), units.specs[units.here + 1]
        )

    def after_update(self, clock: Clock) -> None:
        if isinstance(self.network, _LearnedAndAveraged):
            self.network.average.follow(nn.Sequential(*self._followed), self.momentum)
        super().after_update(clock)

    def extra_repr(self) -> str:
        return f"momentum={self.momentum}, scaled={self.scaled}"


class _LearnedAndAveraged(nn.Module):
    def __init__(self, unit: Sequence[nn.Module], scaled: bool) -> None:
        super().__init__()
        self.learned = fresh_copy(unit)
        self.average = MovingAverage(nn.Sequential(*unit))
        self.scale = nn.Parameter(torch.ones(())) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        learned, averaged = self.learned(x), self.average.module(x)  # with a graph, to the features
        if self.scale is None:
            return learned + averaged
        return self.scale * learned + (2 - self.scale) * averaged
