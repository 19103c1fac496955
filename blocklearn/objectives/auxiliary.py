"""An auxiliary network between a block's features and any objective."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.errors import UserError
from blocklearn.objectives.objective import (
    LocalBatch,
    Objective,
    ObjectiveFactory,
    ObjectiveOutput,
    Published,
)
from blocklearn.training.by_position import ByPosition
from blocklearn.training.contract import Clock, LocalBlock


class Auxiliary(NamedTuple):
    """An auxiliary network.

    Attributes:
        network: from the features of the block's last stage to what the objective gets.
        spec: of what it hands on.
    """

    network: nn.Module
    spec: StageSpec


class Units(NamedTuple):
    """The residual units of a network, as a block sees them.

    Attributes:
        specs: of what each hands on, in order.
        modules: of each.
        here: position of the last that the block, or one before it, trains.
    """

    specs: Sequence[StageSpec]
    modules: Sequence[Sequence[nn.Module]]
    here: int

    @property
    def later(self) -> int:
        """How many lie behind the block."""
        return len(self.specs) - 1 - self.here


class AuxiliaryObjective(Objective):
    """Any objective, on what an auxiliary network makes of the block's features. The network is
    trained by the block's own loss and thrown away after training: what the objective would publish
    lies behind it, so it is probed where it is asked for by its kind, and not exported.

    Subclass it and write `make`. A block without an auxiliary network, such as the last of all, and
    one that is trained by itself, has the plain objective.

    Args:
        spec: the block's last stage.
        objective: what is optimized behind the network; built from the `StageSpec` of what the
            network hands on.
    """

    def __init__(self, spec: StageSpec, objective: ObjectiveFactory) -> None:
        super().__init__()
        self._factory = objective
        self._stages: tuple[nn.Module, ...] = ()
        self.register_module("network", None)
        self._build(spec)

    def make(self, units: Units, index: int, blocks: int) -> Auxiliary | None:
        """The auxiliary network; None for none.

        Args:
            units: of the whole network; copy what is used of them.
            index: of the block, from 0.
            blocks: how many there are.
        """
        raise NotImplementedError

    def join(self, index: int, blocks: Sequence[LocalBlock]) -> None:
        """Build the auxiliary network, and the objective anew behind it."""
        units = _units(blocks, index)
        made = self.make(units, index, len(blocks)) if units.later else None
        if made is not None:
            self.network = made.network
            self._build(made.spec)
            self.objective.bind((*self._stages, made.network))
        self.objective.join(index, blocks)

    def bind(self, stages: Sequence[nn.Module]) -> None:
        self._stages = tuple(stages)
        self.objective.bind(stages)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """One map per view, e.g. `(B, C, H, W)`, to the objective's loss behind the network."""
        return self.objective(self._behind(local))

    def after_update(self, clock: Clock) -> None:
        self.objective.after_update(clock)

    def hand_on(self, local: LocalBatch) -> Mapping[str, Any]:
        return self.objective.hand_on(self._behind(local))

    def published(self) -> Sequence[Published]:
        """What the objective publishes, where there is no auxiliary network in front of it."""
        return self.objective.published() if self.network is None else ()

    def further(self) -> Sequence[Published]:
        """Behind an auxiliary network, all that the objective publishes."""
        if self.network is None:
            return self.objective.further()
        inner = (*self.objective.published(), *self.objective.further())
        return [_behind(self.network, published) for published in inner]

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse features of which the network makes nothing, and what the objective refuses."""
        try:
            seen = features if self.network is None else self.network(features)
        except RuntimeError as error:
            raise UserError(
                f"objective: the layers of later blocks in {type(self).__name__} make nothing of "
                f"features of the shape {tuple(features.shape)}: take larger images or longer "
                "windows, or cut into fewer blocks"
            ) from error
        self.objective.require_views(seen, num_views)

    def _build(self, spec: StageSpec) -> None:
        self.objective = inner = self._factory(spec)
        self.labels, self.needs_images, self.tokens = inner.labels, inner.needs_images, inner.tokens
        self.reads_others = type(self).reads_others or inner.reads_others

    def _behind(self, local: LocalBatch) -> LocalBatch:
        if self.network is None:
            return local
        return replace(local, features=_SeenThrough(self.network, local.features))


class _SeenThrough(ByPosition):
    """Views behind a network, each made at the first look and kept, as those before it are
    (`blocklearn.blocks.lazy_views`): of a view, stages, network and pooling lie together in the
    graph."""

    def __init__(self, network: nn.Module, views: Sequence[Tensor]) -> None:
        self._network, self._views = network, views
        self._made: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._views)

    def _at(self, position: int) -> Tensor:
        if position not in self._made:
            self._made[position] = self._network(self._views[position])
        return self._made[position]


def _units(blocks: Sequence[Any], index: int) -> Units:
    of_blocks = [
        [part for stage in block.stages for part in stage.parts()]  # those that it owns
        for block in blocks
    ]
    specs, modules = zip(*(part for parts in of_blocks for part in parts), strict=True)
    return Units(specs, modules, sum(map(len, of_blocks[: index + 1])) - 1)


def _behind(network: nn.Module, inner: Published) -> Published:
    frames = inner.frames
    return inner._replace(
        feature=lambda features: inner.feature(network(features)),
        frames=frames and (lambda features: frames(network(features))),
    )
