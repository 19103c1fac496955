"""Linear classifiers at several learning rates in one pass over the data."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.labelled_part import read_labels, stratified_halves
from blocklearn.errors import UserError
from blocklearn.evaluation.cached_features import feature_loader, labelled_features
from blocklearn.evaluation.evaluation import Row
from blocklearn.evaluation.labels_check import check_samples
from blocklearn.evaluation.linear_classifiers import LinearClassifiers, prepare_evaluation
from blocklearn.evaluation.probe_settings import ProbeSettings


class RateGrid(LinearClassifiers):
    """`LinearClassifiers` with one classifier per feature and learning rate. All of a feature begin
    at the same weights and are computed by one product of matrices; each is trained as it would be
    alone.

    The first test chooses: it is given samples that were held out of training. `choose` then keeps
    of every feature the rate of the highest accuracy on them, the smallest of equals.

    Args:
        network: what is probed; it is never changed.
        num_classes: of the labels.
        settings: how the classifiers are trained; their `lr` is not used.
        lrs: peak learning rates, each > 0.
        kinds: of features; null for the default (`blocklearn.blocks.features`).
    """

    right: Tensor

    def __init__(
        self,
        network: BlockwiseModule,
        num_classes: int,
        settings: ProbeSettings,
        lrs: Sequence[float],
        kinds: Sequence[str] | None = None,
    ) -> None:
        super().__init__(network, num_classes, settings, kinds)
        self.lrs = sorted(set(lrs))
        parts = [
            part if isinstance(part, nn.Sequential) else nn.Sequential(nn.Identity(), part)
            for part in self.classifiers
        ]
        del self.classifiers
        self.norms = nn.ModuleList(norm for norm, _ in parts)
        first = nn.ModuleList(classifier for _, classifier in parts)
        self.rates = nn.ModuleList(copy.deepcopy(first) for _ in self.lrs)
        self.register_buffer("right", torch.zeros(len(parts), len(self.lrs)))
        self.held_out = 0
        self.chosen: list[int] = []

    def logits(self, features: Sequence[Tensor]) -> list[Tensor]:
        """`(B, rates, num_classes)` of each feature."""
        made: list[Tensor] = []
        for position, (norm, value) in enumerate(zip(self.norms, features, strict=True)):
            parts: list[Any] = [rate[position] for rate in self.rates]  # pyright: ignore
            weight = torch.cat([part.weight for part in parts])
            bias = torch.cat([part.bias for part in parts])
            made.append(linear(norm(value), weight, bias).unflatten(1, (len(parts), -1)))
        return made

    def training_step(self, batch: Batch | Mapping[str, Tensor], batch_idx: int) -> Tensor:
        features, label = self.labelled_features(batch)
        if batch_idx == 0:
            self.check(features)
        repeated = label.unsqueeze(1).expand(-1, len(self.lrs))
        losses = torch.stack(
            [
                cross_entropy(logits.transpose(1, 2), repeated, reduction="none").mean(dim=0)
                for logits in self.logits(features)
            ]
        )
        self.log("probe/loss", losses.detach().nanmean(), prog_bar=True, batch_size=len(label))
        return losses.sum()

    def test_step(self, batch: Batch | Mapping[str, Tensor], batch_idx: int) -> None:
        if self.chosen:
            super().test_step(batch, batch_idx)
            return
        features, label = self.labelled_features(batch)
        for position, logits in enumerate(self.logits(features)):
            self.right[position] += (logits.argmax(dim=2) == label.unsqueeze(1)).sum(dim=0)
        self.held_out += len(label)

    def on_test_epoch_end(self) -> None:
        if self.chosen:
            super().on_test_epoch_end()

    def choose(self) -> None:
        """Of every feature the rate that did best so far; one whose weights are not finite never
        does."""
        for position, right in enumerate(self.right.cpu()):
            for number, rate in enumerate(self.rates):
                weight: Any = rate[position].weight  # pyright: ignore
                if not bool(weight.isfinite().all()):
                    right[number] = -1
            self.chosen.append(int(right.argmax()))

    def rows(self) -> list[Row]:
        """The results of the last test, each with the rate that was chosen and its accuracy on the
        held-out samples, in percent."""
        rows = []
        for position, (row, number) in enumerate(zip(super().rows(), self.chosen, strict=True)):
            held_out = 100 * float(self.right[position, number]) / self.held_out
            how = {**row.settings, "lr": self.lrs[number], "held_out_top1": held_out}
            rows.append(replace(row, settings=how))
        return rows

    def configure_optimizers(self) -> Any:
        return self.settings.configure(
            {"params": list(rate.parameters()), "lr": lr}
            for rate, lr in zip(self.rates, self.lrs, strict=True)
        )

    def _classify(self, features: list[Tensor]) -> list[Tensor]:
        return [
            logits[:, number]
            for logits, number in zip(self.logits(features), self.chosen, strict=True)
        ]


def run_rate_grid(
    network: BlockwiseModule,
    data: KeyedDataModule,
    settings: ProbeSettings,
    trainer: Trainer,
    lrs: Sequence[float],
    held_out: float = 0.1,
    kinds: Sequence[str] | None = None,
) -> list[Row]:
    """Train probes at all rates on a part of the labelled training samples, choose by the others,
    and test those that were chosen; the test samples have no part in the choice.

    Args:
        network: what is probed.
        data: labelled samples to train and to test on.
        settings: how the probes are trained.
        trainer: its `max_epochs` must be `settings.epochs`.
        lrs: peak learning rates, each > 0.
        held_out: part of each class that is chosen by, in (0, 1).
        kinds: of features; null for the default.

    Raises:
        ValueError: where the epochs differ: the learning rate would not come down to 0.
        UserError: for labels and features that nothing can be learned from.
    """
    prepare_evaluation(data, settings, trainer)
    probe = RateGrid(network, data.num_classes, settings, lrs, kinds)
    size, part = settings.batch_size, settings.labelled_part
    if settings.augment:
        check_samples(data)
        learned, held = _halves(data, read_labels(data.labelled_samples(part)), held_out)
        train = data.probe_dataloader(size, True, part, learned)
        choose = data.probe_dataloader(size, False, part, held)
        test = data.test_dataloader()
    else:
        device = trainer.strategy.root_device
        known, asked = labelled_features(network, data, size, settings, device, kinds)
        learned, held = _halves(data, known.columns["label"], held_out)
        train = feature_loader(known.at(learned), size)
        choose = feature_loader(known.at(held), size, shuffle=False)
        test = feature_loader(asked, size, shuffle=False)
    trainer.fit(probe, train_dataloaders=train)
    trainer.test(probe, dataloaders=choose, verbose=False)
    probe.choose()
    trainer.test(probe, dataloaders=test, verbose=False)
    return probe.rows()


def _halves(data: KeyedDataModule, labels: Tensor, held_out: float) -> tuple[list[int], list[int]]:
    learned, held = stratified_halves(labels, held_out, data.keying_seed())
    if not held:
        raise UserError(
            f"evaluation: every class of {data.title} has one training sample, and none can be "
            "held out to choose by: take a single value, or a larger --probe.labelled_part"
        )
    return learned, held
