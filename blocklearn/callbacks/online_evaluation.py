"""Evaluate every block while it trains."""

from abc import abstractmethod
from math import nan
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.callbacks.online_features import BlockFeatures, average_features, plain_views
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.block_parallel import BlockParallelStrategy
from blocklearn.distributed.collectives import all_reduce
from blocklearn.errors import UserError
from blocklearn.training.at_validation import LogsAtValidation


class OnlineEvaluation(LogsAtValidation):
    """Subclass it and write `accuracies`. At validations its figures are logged as `block1/KIND`,
    in percent, where progress bar, loggers and monitors find them.

    Training is the same with it, bitwise: the network is looked at in eval mode, on loaders of its
    own, and the random streams go on as if nothing had been drawn.

    Args:
        every_n_epochs: epochs from one look to the next, >= 1, rounded up to where there are
            validations. The run's last validation is looked at too, and where another callback
            monitors one of its figures, every one; where validations are counted in batches over
            epochs (`check_val_every_n_epoch` null) every one as well.
        queries: test samples that are classified at most, >= 1, at even distances; null for all.

    Raises:
        ValueError: for a value out of range.
        UserError: when training starts, for data with a label per frame, without validation, and
            where a process has not all weights (`block_parallel`, `shard`).
    """

    def __init__(self, every_n_epochs: int = 5, queries: int | None = None) -> None:
        if every_n_epochs < 1 or (queries is not None and queries < 1):
            raise ValueError(
                f"{type(self).__name__} needs every_n_epochs and queries of at least 1, got "
                f"{every_n_epochs} and {queries}"
            )
        self.every_n_epochs, self.queries = every_n_epochs, queries

    @abstractmethod
    def accuracies(
        self, network: BlockwiseModule, data: KeyedDataModule, queries: BlockFeatures
    ) -> dict[str, float | Tensor]:
        """In percent, by the block's name.

        Args:
            network: in training.
            data: that it learns from.
            queries: features of this process' test samples.
        """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, BlockwiseModule):
            self._require_a_fit(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not isinstance(pl_module, BlockwiseModule) or not fitting or not self._looks(trainer):
            return
        data: KeyedDataModule = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        batches: Any = data.test_dataloader()
        if self.queries is not None:
            batches = plain_views(data, data.test_samples(), self.queries, data.batch_size)
        queries = average_features(pl_module, batches)
        for block, value in self.accuracies(pl_module, data, queries).items():
            name = f"{block}/{self.kinds[0]}"  # all processes have the same figure
            pl_module.log(name, value, prog_bar=True, batch_size=1, sync_dist=True)

    def _looks(self, trainer: Trainer) -> bool:
        """Whether at this validation: a function of where the run stands alone, so that a resumed
        run looks when the whole run would."""
        loop, between = trainer.fit_loop, trainer.check_val_every_n_epoch
        if between is None or any(
            (getattr(c, "monitor", None) or "").partition("/")[2] in self.kinds
            for c in trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        ):
            return True
        if not trainer.is_last_batch:  # of several validations in an epoch, the last
            return False
        epoch = trainer.current_epoch + 1
        last = trainer.max_epochs is not None and epoch + between > trainer.max_epochs > 0
        over = 0 <= loop.max_steps <= trainer.global_step
        return over or last or (epoch // between) % -(-self.every_n_epochs // between) == 0

    def _require_a_fit(self, trainer: Trainer) -> None:
        who, strategy = type(self).__name__, trainer.strategy
        data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        complaint = ""
        if not isinstance(data, KeyedDataModule):
            complaint = "needs a data module of blocklearn, which has labelled test samples"
        elif data.frame_labels:
            complaint = (
                f"needs one label per sample, the target {data.target} has one per frame; choose "
                "another --data.target"
            )
        elif not trainer.limit_val_batches:
            complaint = (
                "looks when validation ends, and there is none; raise --trainer.limit_val_batches"
            )
        elif isinstance(strategy, BlockParallelStrategy) or getattr(strategy, "shard", False):
            complaint = (
                "needs all weights in every process; take blockwise_ddp without shard, or leave "
                "it out"
            )
        if complaint:
            raise UserError(f"trainer.callbacks: {who} {complaint}")


def share_right(right: Tensor, features: Tensor) -> Tensor:
    """Percent of right answers over all processes, a scalar; NaN where a feature is not finite.

    Args:
        right: `(N,)`, whether each answer of this process is.
        features: `(N, D)` that they were given to.
    """
    told = torch.stack(
        [right.sum(), torch.tensor(len(right), device=right.device), (~features.isfinite()).sum()]
    )
    correct, count, strange = all_reduce(told).tolist()
    return torch.tensor(100 * correct / count if count and not strange else nan)
