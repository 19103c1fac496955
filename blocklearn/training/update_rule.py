"""How a block is updated from its loss: optimizer, learning rate, clipping, accumulation."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer, SparseAdam

from blocklearn.errors import UserError
from blocklearn.optim.warmup_cosine import LRSchedule, WarmupCosine
from blocklearn.training.finite import Policy

OptimizerFactory = Callable[[Iterable[Tensor]], Optimizer]


@dataclass(frozen=True)
class UpdateRule:
    """One rule for every block; each block gets an optimizer of its own from it.

    Attributes:
        optimizer: builds an optimizer over a block's parameters; its `lr` is the peak of the curve.
        lr_schedule: the curve, a function of the batch count.
        lr_reference_batch: where set, the peak is the optimizer's `lr` times batch size / this
            number.
        gradient_clip_norm: largest norm of a block's gradient; each block is clipped by itself.
        accumulate_batches: an update every so many batches, with the mean of their gradients.
        non_finite: what to do where a loss or gradient is not finite
            (`blocklearn.training.finite`).
        non_finite_limit: dropped updates in a row that stop the run.
    """

    optimizer: OptimizerFactory = AdamW
    lr_schedule: LRSchedule = field(default_factory=WarmupCosine)
    lr_reference_batch: int | None = None
    gradient_clip_norm: float | None = None
    accumulate_batches: int = 1
    non_finite: Policy = "stop"
    non_finite_limit: int = 10

    def __post_init__(self) -> None:
        if self.accumulate_batches < 1:
            raise UserError(f"accumulate_batches must be at least 1, got {self.accumulate_batches}")
        if self.lr_reference_batch is not None and self.lr_reference_batch < 1:
            raise UserError(
                f"lr_reference_batch must be at least 1 or null, got {self.lr_reference_batch}"
            )
        if self.gradient_clip_norm is not None and not 0 < self.gradient_clip_norm < math.inf:
            raise UserError(
                "gradient_clip_norm must be positive and finite, or null, got "
                f"{self.gradient_clip_norm}"
            )

    def build_optimizer(
        self, parameters: Iterable[Tensor], batch_size: int | None, lr_factor: float = 1.0
    ) -> Optimizer:
        """The optimizer of one block. `batch_size` counts over all processes; `lr_factor` is the
        block's own.

        Raises:
            UserError: for options that it refuses or that no run can have, and for a kind that the
                walk cannot step.
        """
        try:
            optimizer = self.optimizer([p for p in parameters if p.requires_grad])
        except (ValueError, TypeError) as error:
            raise UserError(f"optimizer: {error}") from error
        _require_steps_by_itself(optimizer)
        for group in optimizer.param_groups:
            _require_meant(type(optimizer).__name__, group)
        scale = lr_factor
        if self.lr_reference_batch is not None:
            if batch_size is None:
                raise UserError("lr_reference_batch needs a data module that states its batch_size")
            scale = lr_factor * batch_size / self.lr_reference_batch
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"] * scale
        return optimizer

    def set_lr(
        self, optimizer: Optimizer, step: int, steps_per_epoch: float, total_steps: int
    ) -> float:
        """Put the optimizer on the curve for batch `step`; returns the first group's learning
        rate."""
        factor = self.lr_schedule.factor(step, steps_per_epoch, total_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return optimizer.param_groups[0]["lr"]

    def apply(
        self, optimizer: Optimizer, usable: Callable[[Tensor], bool] = lambda size: True
    ) -> bool:
        """Clip, step, and free the gradients.

        Args:
            optimizer: of one block.
            usable: gets a scalar that is finite where all gradients are, their norm before clipping
                or their sum, and says whether to step.

        Returns:
            Whether it stepped.
        """
        params = [p for group in optimizer.param_groups for p in group["params"]]

        if self.gradient_clip_norm is not None:
            size = torch.nn.utils.clip_grad_norm_(params, self.gradient_clip_norm)
        else:
            sums = [p.grad.sum() for p in params if p.grad is not None]
            size = torch.stack(sums).sum() if sums else torch.zeros(())
        stepped = usable(size.full_tensor() if isinstance(size, DTensor) else size)
        if stepped:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return stepped


def _require_steps_by_itself(optimizer: Optimizer) -> None:
    """Without a function that computes the loss again, and from dense gradients."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if isinstance(optimizer, SparseAdam) or (
        closure is not None and closure.default is inspect.Parameter.empty
    ):
        raise UserError(
            f"optimizer: {type(optimizer).__name__} cannot update a block from its gradient alone: "
            "take another, such as AdamW, SGD or LARS"
        )


def _require_meant(name: str, options: dict[str, Any]) -> None:
    """What PyTorch's own optimizers let pass."""
    for key, value in options.items():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if key != "params" and any(
            isinstance(number, float) and not math.isfinite(number) for number in numbers
        ):
            raise UserError(f"optimizer: {name} needs finite numbers, got {key} {value}")
    if float(options.get("lr", 0)) < 0:  # 0 is a network that stays as it was drawn
        raise UserError(f"optimizer: {name} needs lr >= 0, got {options['lr']}")
    if not 0 <= options.get("momentum", 0) < 1:
        raise UserError(
            f"optimizer: {name} needs a momentum of at least 0 and below 1, got "
            f"{options['momentum']}"
        )
