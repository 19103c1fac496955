"""What the parts of one training step tell each other: a clock, what is handed on, what a block
makes of a batch, and what a block has to be so that others can run it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.batch import Batch


class Clock(NamedTuple):
    """When a batch is computed, and by whom.

    Attributes:
        step: batches before this one, in the whole run.
        total: batches in the whole run.
        epoch: passes over the data before this one.
        seed: of the run.
        rank: of this process.
        learning: false in validation, where every draw is the same each time.
        group: batches whose gradients make the update that this batch belongs to.
        updates: whether that update comes at the end of this batch.
    """

    step: int = 0
    total: int = 1
    epoch: int = 0
    seed: int = 0
    rank: int = 0
    learning: bool = True
    group: int = 1
    updates: bool = True

    @property
    def keys(self) -> tuple[int, ...]:
        """What random draws depend on besides block and view: (seed, step) while learning."""
        return (self.seed, self.step) if self.learning else ()


STANDING = Clock(learning=False)  # outside of a run


@dataclass(frozen=True)
class Carried:
    """What crosses a border between two blocks, cut off from every graph but where it is `joined`.

    Attributes:
        views: the images, or the features of the block before, one tensor per view.
        extras: what the objective of the block before hands on by name: a mask, a teacher's output.
        joined: whether the views keep their graph all the same, since this batch is learned end to
            end (`LocalBlock.chain`).
    """

    views: Sequence[Tensor]
    extras: Mapping[str, Any] = field(default_factory=dict)
    joined: bool = False


class BlockOutput(NamedTuple):
    """What a block makes of a batch.

    Attributes:
        loss: scalar; its graph reaches this block's parameters, those of the stages it shares with
            the block before, and no others.
        metrics: detached scalars.
        carried: what the next block gets.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
    carried: Carried


def cut_off(value: Any) -> Any:
    """The same without a graph: tensors alone, or in lists, tuples and mappings."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {name: cut_off(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(cut_off(inner) for inner in value)
    return value


class BlockChoices(Protocol):
    """Of a block's settings, those that its training step depends on."""

    @property
    def lr_factor(self) -> float: ...
    @property
    def loss_weight(self) -> float: ...
    @property
    def stop_epoch(self) -> int | None: ...


class LocalBlock(Protocol):
    """A block, as those see it that run it, schedule it and log it."""

    index: int
    lends: int
    spec: StageSpec
    training: bool

    @property
    def borrowed(self) -> Sequence[Any]: ...
    @property
    def objective(self) -> Any: ...
    @property
    def settings(self) -> BlockChoices: ...
    @property
    def name(self) -> str: ...
    @property
    def stage_names(self) -> str: ...

    def local_step(self, carried: Carried, batch: Batch, clock: Clock = ...) -> BlockOutput: ...
    def pass_on(self, carried: Carried, batch: Batch, clock: Clock = ...) -> Carried: ...
    def chain(self, carried: Carried, batch: Batch, clock: Clock = ...) -> Carried: ...
    def train(self, mode: bool = True) -> Any: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]: ...
    def buffers(self, recurse: bool = True) -> Iterator[Tensor]: ...


class Walk(Protocol):
    """A network in blocks, as those see it that check and log it."""

    @property
    def walked(self) -> Sequence[Any]: ...
    @property
    def rule(self) -> Any: ...
    @property
    def device(self) -> Any: ...
    @property
    def watching(self) -> Any: ...
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def eval(self) -> Any: ...
    def masked(self, batch: Batch, clock: Clock = ...) -> Batch: ...
