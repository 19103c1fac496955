"""Features that are computed once and kept in memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.evaluation.feature_cache import FeatureCache
from blocklearn.evaluation.labels_check import (
    check_features,
    check_labels,
    check_part,
    check_samples,
)
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.evaluation.tracked import tracked


class CachedFeatures(Dataset[dict[str, Tensor]]):
    """Features in memory; an item is a whole batch, asked for by a list of positions."""

    def __init__(self, columns: dict[str, Tensor]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, positions: list[int]) -> dict[str, Tensor]:
        return {key: column[positions] for key, column in self.columns.items()}

    def at(self, positions: list[int]) -> "CachedFeatures":
        """Some of them."""
        return CachedFeatures(self[positions])


@torch.no_grad()
def collect_features(
    network: BlockwiseModule,
    batches: Any,
    device: torch.device,
    kinds: Sequence[str] | None = None,
) -> CachedFeatures:
    """All features of all images in the loader's order, on the CPU, with their `label` and
    `index`; or those of some kinds (`blocklearn.blocks.features`)."""
    network = network.to(device).eval()
    specs = network.feature_specs(kinds=kinds)
    columns: dict[str, list[Tensor]] = {spec.key: [] for spec in specs} | {
        "label": [],
        "index": [],
    }
    for batch in tracked("Computing features", batches):
        values = network.stage_features(batch.views[0].to(device), kinds)
        for spec, value in zip(specs, values, strict=True):
            columns[spec.key].append(value.cpu())
        columns["label"].append(batch.label)
        columns["index"].append(batch.index)
    return CachedFeatures({key: torch.cat(parts) for key, parts in columns.items()})


def labelled_features(
    network: BlockwiseModule,
    data: KeyedDataModule,
    batch_size: int,
    protocol: ProbeSettings,
    device: torch.device,
    kinds: Sequence[str] | None = None,
) -> tuple[CachedFeatures, CachedFeatures]:
    """The features of all labelled training samples and of all test samples, of images seen as they
    are, and checked.

    Args:
        network: what computes them.
        data: ready.
        batch_size: training samples at a time.
        protocol: which part of the labels is used, and where features are kept.
        device: to compute on.
        kinds: of features; null for the default.

    Raises:
        UserError: for labels and features that nothing can be learned from
            (`blocklearn.evaluation.labels_check`).
    """
    checked = check_samples(data)
    cache = FeatureCache(protocol.feature_cache, network, kinds)
    samples = data.labelled_samples(protocol.labelled_part), data.test_samples()

    def compute(training: bool) -> dict[str, Tensor]:
        images = (
            data.probe_dataloader(batch_size, False, protocol.labelled_part)
            if training
            else data.test_dataloader()
        )
        return collect_features(network, images, device, kinds).columns

    train = CachedFeatures(cache.columns(data, "training", samples[0], lambda: compute(True)))
    test = CachedFeatures(cache.columns(data, "test", samples[1], lambda: compute(False)))
    if not checked:
        check_labels(data, train.columns["label"], test.columns["label"])
    keys = [spec.key for spec in network.feature_specs(kinds=kinds)]
    for part, features in (("training", train), ("test", test)):
        check_features(data.title, part, features.columns, keys)
    return train, test


def features_of_test(
    network: BlockwiseModule,
    data: KeyedDataModule,
    protocol: ProbeSettings,
    device: torch.device,
    kinds: Sequence[str] | None = None,
) -> CachedFeatures:
    """The features of all test samples alone, seen as they are, and checked; arguments as for
    `labelled_features`.

    Raises:
        UserError: for test samples that there are not, or that have no label, and for features that
            are not finite.
    """
    columns = FeatureCache(protocol.feature_cache, network, kinds).columns(
        data,
        "test",
        data.test_samples(),
        lambda: collect_features(network, data.test_dataloader(), device, kinds).columns,
    )
    check_part(data, "test", columns["label"])
    keys = [spec.key for spec in network.feature_specs(kinds=kinds)]
    check_features(data.title, "test", columns, keys)
    return CachedFeatures(columns)


def feature_loader(
    features: CachedFeatures, batch_size: int, shuffle: bool = True
) -> DataLoader[Any]:
    """Batches `{"label": (B,), FEATURE: (B, D)}` of features in memory."""
    order = RandomSampler(features) if shuffle else SequentialSampler(features)
    # A last batch of 1 has no statistics for BatchNorm; in training the remainder waits for the
    # next epoch's order.
    batches = BatchSampler(order, min(batch_size, len(features)), drop_last=shuffle)
    return DataLoader(features, batch_size=None, sampler=batches)
