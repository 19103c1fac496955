"""AugLocal: copies of later layers in front of the objective."""

from torch import nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.heads.fresh_copy import Fit, fits, fresh_copy
from blocklearn.objectives.auxiliary import Auxiliary, AuxiliaryObjective, Units
from blocklearn.objectives.objective import ObjectiveFactory


class AugLocal(AuxiliaryObjective):
    """Augmented local learning (arXiv 2402.17318), in front of any objective: what a block hands on
    passes copies of later layers, newly initialised and trained by the block's own loss, before it
    is pooled. Published for supervised blocks; in front of self-supervised objectives it is ours.

    Of the `n` residual units of the network (the stem counts as one), a block that ends with unit
    `l`, from 0, is given copies of the units `round(l + (n - 1 - l) j / d)`, `j = 1 ... d`: equally
    far apart, the last of all among them. Of `K` blocks, block `i`, from 0, has
    `d = max(1, round(layers (1 - t) + t))` of them, with `t = taper i / (K - 2)`; where fewer units
    are left, all of those. The last block has none.

    Where a unit takes other channels or another stride than it is given, because units between were
    left out, the first unit of equal output is copied in its place, which is the one that narrows
    the map. In a ResNet that is the published layer wherever no whole stage is skipped. Where that
    one does not fit either, the mean over windows and a 1x1 convolution stand in front of it
    (`Fit`), which is ours: the released code builds a layer that takes any width, and lets strides
    wait for later layers.

    Nothing of other blocks is read once the network is put together.

    Args:
        spec: the block's last stage.
        objective: what is optimized behind the copies; built from the `StageSpec` of the last.
        layers: of the first block, >= 1. Published: 2 for ResNet-32 and 3 for ResNet-110 on
            CIFAR-10, 4 for ResNet-34 on ImageNet.
        taper: how much shallower the networks of later blocks are, in [0, 1]; 0.5 published, 0 for
            equally deep ones.

    Raises:
        ValueError: for a value out of range.
        UserError: where a later unit cannot be made to fit.
    """

    def __init__(
        self,
        spec: StageSpec,
        objective: ObjectiveFactory,
        layers: int = 2,
        taper: float = 0.5,
    ) -> None:
        if layers < 1 or not 0 <= taper <= 1:
            raise ValueError(
                f"AugLocal needs layers >= 1 and taper in [0, 1], got layers={layers}, "
                f"taper={taper}"
            )
        super().__init__(spec, objective)
        self.layers, self.taper = layers, taper

    def make(self, units: Units, index: int, blocks: int) -> Auxiliary:
        depth = depth_of(index, blocks, self.layers, self.taper)
        return _copies(units, chosen_units(len(units.specs), units.here, depth))

    def extra_repr(self) -> str:
        return f"layers={self.layers}, taper={self.taper}"


def depth_of(index: int, blocks: int, layers: int, taper: float) -> int:
    """How many layers the auxiliary network of a block has, where as many are left."""
    part = taper * index / max(blocks - 2, 1)
    return max(1, round(layers * (1 - part) + part))


def chosen_units(count: int, here: int, depth: int) -> list[int]:
    """Positions of `depth` units, equally far apart, of the `count - 1 - here` behind unit `here`;
    of all where there are no more."""
    later = count - 1 - here
    if depth >= later:
        return list(range(here + 1, count))
    return [round(here + later / depth * step) for step in range(1, depth + 1)]


def _copies(units: Units, chosen: list[int]) -> Auxiliary:
    have, layers = units.specs[units.here], list[nn.Module]()
    for position in chosen:
        unit = _entrance(units, position, have)
        want = units.specs[unit - 1]
        if not fits(have, want):
            layers.append(Fit(have, want))
        layers.append(fresh_copy(units.modules[unit]))
        have = units.specs[position]
    return Auxiliary(nn.Sequential(*layers), have)


def _entrance(units: Units, position: int, have: StageSpec) -> int:
    """The unit at `position`, or the first of equal output before it that takes `have`; where none
    does, the first of all of equal output."""
    while not fits(have, units.specs[position - 1]) and fits(
        units.specs[position - 1], units.specs[position]
    ):
        position -= 1
    return position
