"""Learning-rate curves: pure functions of the batch count, so there is no state to save or to
lose."""

import math
from abc import ABC, abstractmethod

from blocklearn.errors import UserError


class LRSchedule(ABC):
    """A curve that multiplies an optimizer's base learning rate. Subclass it and write `factor`."""

    @abstractmethod
    def factor(self, step: int, steps_per_epoch: float, total_steps: int) -> float:
        """The factor for the update of batch `step`, counted from 0.

        Args:
            step: batches done before this one.
            steps_per_epoch: batches in an epoch.
            total_steps: batches in the whole run.
        """

    def require_room(self, block: str, steps_per_epoch: float, total_steps: int) -> None:
        """Raise a `UserError` where a run of `total_steps` batches is too short for the curve; by
        default none is.

        Args:
            block: name of the block, for the message.
            steps_per_epoch: batches in an epoch.
            total_steps: batches from which the block learns.
        """


class ConstantLR(LRSchedule):
    """The base learning rate, always."""

    def factor(self, step: int, steps_per_epoch: float, total_steps: int) -> float:
        return 1.0


class WarmupCosine(LRSchedule):
    """Linear warm-up from 0, then a cosine down to `final_factor`, per batch (arXiv 2103.03230 and
    2302.01647).

    With `W` warm-up batches of `T`: `step / W` while `step < W`, then `q + final_factor * (1 - q)`
    with `q = (1 + cos(pi * (step - W) / (T - W))) / 2`.

    Args:
        warmup_epochs: length of the warm-up in epochs, >= 0. A shorter run ends on the way up.
        final_factor: factor at the end, in [0, 1].

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, warmup_epochs: float = 10, final_factor: float = 0.001) -> None:
        if not (0 <= warmup_epochs < math.inf and 0 <= final_factor <= 1):
            raise ValueError(
                "WarmupCosine needs finite warmup_epochs >= 0 and 0 <= final_factor <= 1, got "
                f"warmup_epochs={warmup_epochs}, final_factor={final_factor}"
            )
        self.warmup_epochs = warmup_epochs
        self.final_factor = final_factor

    def require_room(self, block: str, steps_per_epoch: float, total_steps: int) -> None:
        if self.warmup_epochs * steps_per_epoch > total_steps:
            raise UserError(
                f"lr_schedule: the warm-up of {self.warmup_epochs:g} epochs "
                f"({self.warmup_epochs * steps_per_epoch:g} batches) is longer than {block} learns "
                f"({total_steps} batches): lower --model.lr_schedule.warmup_epochs, or only try "
                "the run with --trainer.fast_dev_run true"
            )

    def factor(self, step: int, steps_per_epoch: float, total_steps: int) -> float:
        warmup_steps = self.warmup_epochs * steps_per_epoch
        if step < warmup_steps:
            return step / warmup_steps
        progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return cosine + self.final_factor * (1 - cosine)
