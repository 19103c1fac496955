"""Nearest neighbours of every block while it trains."""

from typing import ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import normalize

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.callbacks.online_evaluation import OnlineEvaluation, share_right
from blocklearn.callbacks.online_features import (
    BlockFeatures,
    average_features,
    plain_views,
    require_labels,
)
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.collectives import gather_batch
from blocklearn.distributed.groups import world_size
from blocklearn.errors import UserError
from blocklearn.evaluation.knn import KNN


class OnlineKNN(OnlineEvaluation):
    """`block1/knn`: the part of the test samples, in percent, whose class the `k` nearest labelled
    training samples vote for (`blocklearn.evaluation.KNN`, arXiv 2104.14294). Feature: the global
    average of the block's output, in eval mode. With `bank` null the figure is that of
    `blocklearn test --evaluation KNN` of the same weights, `raw` of the block's last stage.

    Args:
        k: number of neighbours, >= 1; where there are fewer training samples all of them vote.
        temperature: of the votes, > 0.
        bank: labelled training samples to compare with at most, >= 1, at even distances in the data
            set's order; null for all.
        every_n_epochs: from one look to the next, >= 1; more in `OnlineEvaluation`.
        queries: test samples that are classified at most, >= 1; null for all.

    Raises:
        ValueError: for a value out of range.
        UserError: when training starts, as for `OnlineEvaluation`, and where no sample has a label.
    """

    kinds: ClassVar[tuple[str, ...]] = ("knn",)

    def __init__(
        self,
        k: int = 20,
        temperature: float = 0.07,
        bank: int | None = 10_000,
        every_n_epochs: int = 5,
        queries: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, queries)
        if bank is not None and bank < 1:
            raise ValueError(f"OnlineKNN needs a bank of at least 1, got {bank}")
        self.knn, self.bank = KNN([k], temperature), bank

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if isinstance(pl_module, BlockwiseModule):
            data: KeyedDataModule = trainer.datamodule  # pyright: ignore
            require_labels(data.probe_samples(), "OnlineKNN", "training")
            require_labels(data.test_samples(), "OnlineKNN", "test")

    def accuracies(
        self, network: BlockwiseModule, data: KeyedDataModule, queries: BlockFeatures
    ) -> dict[str, float | Tensor]:
        bank = self._bank(network, data)
        return {
            name: self._accuracy(features, queries.label, bank.of_blocks[name], bank.label, data)
            for name, features in queries.of_blocks.items()
        }

    def _bank(self, network: BlockwiseModule, data: KeyedDataModule) -> BlockFeatures:
        """Of all processes, in the data set's order."""
        samples, size = data.probe_samples(), self.knn.batch_size
        if world_size() == 1 and (self.bank is None or self.bank >= len(samples)):
            loader = data.probe_dataloader(size, augment=False)
        else:
            loader = plain_views(data, samples, self.bank or len(samples), size)
        own = average_features(network, loader)
        index = gather_batch(own.index, even=False)
        if not len(index):
            raise UserError(
                "trainer.callbacks: none of the samples in OnlineKNN's bank has a label; raise "
                "its bank, or leave it out"
            )
        order = index.argsort(stable=True)
        features = {
            name: gather_batch(value, even=False)[order] for name, value in own.of_blocks.items()
        }
        return BlockFeatures(features, gather_batch(own.label, even=False)[order], index[order])

    def _accuracy(
        self,
        features: Tensor,
        label: Tensor,
        known: Tensor,
        known_label: Tensor,
        data: KeyedDataModule,
    ) -> Tensor:
        if not known.isfinite().all():
            features = torch.full_like(features, torch.nan)
        (k,), unit = self.knn.k, normalize(known, dim=1)
        right = [
            self.knn.votes(normalize(part, dim=1) @ unit.T, known_label, data.num_classes)[k] == own
            for part, own in zip(
                features.split(self.knn.batch_size), label.split(self.knn.batch_size), strict=True
            )
        ]
        return share_right(torch.cat(right), features)
