"""Features that are computed once and kept in memory."""

from typing import Any

import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from blocklearn.blocks.blockwise import BlockwiseModule


class CachedFeatures(Dataset[dict[str, Tensor]]):
    """Features in memory; an item is a whole batch, asked for by a list of positions."""

    def __init__(self, columns: dict[str, Tensor]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, positions: list[int]) -> dict[str, Tensor]:
        return {key: column[positions] for key, column in self.columns.items()}


@torch.no_grad()
def collect_features(
    network: BlockwiseModule, batches: Any, device: torch.device
) -> CachedFeatures:
    """All features of all images, in the loader's order, on the CPU."""
    network = network.to(device).eval()
    specs = network.feature_specs()
    columns: dict[str, list[Tensor]] = {spec.key: [] for spec in specs} | {"label": []}
    for batch in track(batches, "Computing features", transient=True):
        values = network.stage_features(batch.views[0].to(device))
        for spec, value in zip(specs, values, strict=True):
            columns[spec.key].append(value.cpu())
        columns["label"].append(batch.label)
    return CachedFeatures({key: torch.cat(parts) for key, parts in columns.items()})


def feature_loader(
    network: BlockwiseModule,
    images: Any,
    batch_size: int,
    device: torch.device,
    shuffle: bool = True,
) -> DataLoader[Any]:
    """Batches `{"label": (B,), FEATURE: (B, D)}` of the features of all images of a loader."""
    features = collect_features(network, images, device)
    order = RandomSampler(features) if shuffle else SequentialSampler(features)
    # A last batch of 1 has no statistics for BatchNorm; in training the remainder waits for the
    # next epoch's order.
    batches = BatchSampler(order, min(batch_size, len(features)), drop_last=shuffle)
    return DataLoader(features, batch_size=None, sampler=batches)
