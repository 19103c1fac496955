"""Numbers that are no numbers: where they stop a run, and where only one block's update is
dropped."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from blocklearn.distributed.groups import world_size
from blocklearn.errors import UserError

Policy = Literal["stop", "skip"]
COUNTS = "blocklearn_skipped"  # the checkpoint's key
ADVICE = "Lower the learning rate, set --model.update.gradient_clip_norm, or look for bad samples"


@dataclass
class FiniteWatch:
    """What happens where a block's loss or gradient is infinite or no number. Nothing is ever
    updated from it on a CPU. On a GPU `stop` reads when losses are read, so as not to wait for the
    device, and no state is saved before; `skip` reads one number per block and update.

    Attributes:
        policy: `stop` the run, or `skip` this block's update; the other blocks go on as if nothing
            had been.
        limit: dropped updates in a row of one block that stop the run all the same.
        skipped: dropped updates of each block, by name.
    """

    policy: Policy = "stop"
    limit: int = 10
    skipped: Counter[str] = field(default_factory=Counter)
    _in_a_row: Counter[str] = field(default_factory=Counter)
    _bad_losses: dict[str, str] = field(default_factory=dict)
    _unread: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.policy not in ("stop", "skip") or self.limit < 1:
            raise UserError(
                "model: non_finite is stop or skip and non_finite_limit at least 1, got "
                f"{self.policy} and {self.limit}"
            )

    @property
    def counts(self) -> dict[str, dict[str, Any]]:
        """What a run that goes on has to know, as plain data."""
        return {
            "skipped": dict(self.skipped),
            "in_a_row": dict(self._in_a_row),
            "bad_losses": dict(self._bad_losses),
        }

    @counts.setter
    def counts(self, counts: Mapping[str, Any]) -> None:
        try:
            self.skipped, self._in_a_row = (
                Counter(counts.get(name, {})) for name in ("skipped", "in_a_row")
            )
            self._bad_losses = dict(counts.get("bad_losses", {}))
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"resume: the checkpoint's entry {COUNTS} is damaged ({error})"
            ) from error

    def take_loss(self, name: str, stages: str, loss: Tensor, step: int, read: bool) -> bool:
        """Whether to go on with the backward pass.

        Args:
            name: of the block.
            stages: of the block, for the message.
            loss: scalar.
            step: the batch's number.
            read: whether losses are read at this batch; on a CPU they always are.

        Raises:
            UserError: under `stop`, in a single process; several look at their averaged gradients
                together.
        """
        if (_on_device(loss) and not read) or bool(torch.isfinite(loss)):
            return True
        self._bad_losses[name] = f"{loss.item()}"
        if world_size() > 1:  # the other processes wait for this backward pass
            return True
        if self.policy == "stop":
            raise self._complaint(name, stages, step)
        return False

    def take_gradient(self, name: str, stages: str, size: Tensor, step: int, read: bool) -> bool:
        """Whether to update from a gradient.

        Args:
            size: scalar, finite where all of the gradient is: a norm, or a sum.

        Raises:
            UserError: under `stop`, or after too many dropped updates in a row.
        """
        if _on_device(size) and self.policy == "stop" and not read:
            # stays no number once it is none
            self._unread[name] = self._unread.get(name, 0) + size.detach() * 0
            return True
        if name in self._unread:
            size = size + self._unread.pop(name)
        if name not in self._bad_losses and bool(torch.isfinite(size)):
            self._in_a_row[name] = 0
            return True
        if self.policy == "stop":
            raise self._complaint(name, stages, step)
        self._bad_losses.pop(name, None)
        self.skipped[name] += 1
        self._in_a_row[name] += 1
        if self._in_a_row[name] >= self.limit:
            raise UserError(
                f"{name} ({stages}): {self.limit} updates in a row, up to batch {step}, were "
                f"dropped for a loss or gradient that is not finite. {ADVICE}"
            )
        return False

    def is_bad(self, name: str) -> bool:
        """Whether the block's loss of a batch since its last update was not finite."""
        return name in self._bad_losses

    def _complaint(self, name: str, stages: str, step: int) -> UserError:
        what = (
            f"the loss is {self._bad_losses[name]}"
            if name in self._bad_losses
            else "the gradient is not finite"
        )
        return UserError(
            f"{name} ({stages}): {what} at batch {step}; nothing was updated from it. {ADVICE}"
        )


def _on_device(x: Tensor) -> bool:
    """Whether reading it waits for a device."""
    return x.is_cuda


def spoil(parameters: Sequence[Tensor]) -> None:
    """Make the gradient no number, so that all processes see in the average what one of them saw in
    its loss."""
    first = parameters[0]
    first.grad = torch.full_like(first, float("nan"))


def keep(tensors: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Tensors, each with a copy of its values."""
    return [(tensor, tensor.detach().clone()) for tensor in tensors]


@torch.no_grad()
def put_back(kept: Iterable[tuple[Tensor, Tensor]]) -> None:
    """The values that `keep` copied."""
    for tensor, values in kept:
        tensor.copy_(values)


def require_finite(tensors: Mapping[str, Any], what: str) -> None:
    """Raises:
    UserError: naming the first tensor, at any depth, with a value that is infinite or no number.
    """
    for name, value in tensors.items():
        if isinstance(value, Mapping):
            require_finite({f"{name}.{key}": inner for key, inner in value.items()}, what)
        elif isinstance(value, (list, tuple)):
            require_finite(
                {f"{name}.{position}": inner for position, inner in enumerate(value)}, what
            )
        elif (
            isinstance(value, Tensor)
            and value.is_floating_point()
            and not value.is_meta  # another process has it, and looks
            and not bool(torch.isfinite(value).all())
        ):
            raise UserError(f"{what}: {name} holds values that are not finite. {ADVICE}")
