"""Features of several augmented views of the same samples."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.data.loader import FinishedViews, KeyedViews


@torch.no_grad()
def features_of_views(
    network: BlockwiseModule,
    data: KeyedDataModule,
    samples: int,
    views: int,
    device: torch.device,
    batch_size: int = 64,
    seed: int = 0,
) -> tuple[dict[str, Tensor], Tensor]:
    """Features of test samples under the training augmentation, `(samples, views, D)` by
    `STAGE/KIND` on the CPU, and the samples' numbers `(samples,)`. View number `v` is drawn as the
    recipe's view `v` modulo its number of views.

    Args:
        network: in eval mode afterwards.
        data: ready to test.
        samples: evenly spaced over the test set; all where there are fewer.
        views: of each.
        device: to compute on.
        batch_size: samples at a time.
        seed: of the augmentation.
    """
    every: Any = data.test_samples()
    chosen = evenly_spaced(len(every), samples)
    recipe = data.recipe
    transforms = [partial(recipe.training_view, view=v % recipe.num_views) for v in range(views)]
    few: Any = Subset(every, chosen)
    loader = FinishedViews(
        KeyedViews(few, transforms, seed),
        recipe,
        device,
        batch_size=min(batch_size, len(chosen)),
        num_workers=data.num_workers,
    )
    network = network.to(device).eval()
    keys = [spec.key for spec in network.feature_specs()]
    parts: dict[str, list[Tensor]] = {key: [] for key in keys}
    index = []
    for batch in loader:
        seen = [
            [value.cpu() for value in network.stage_features(view.to(device))]
            for view in batch.views
        ]
        for place, key in enumerate(keys):
            parts[key].append(torch.stack([values[place] for values in seen], dim=1))
        index.append(batch.index)
    return {key: torch.cat(own) for key, own in parts.items()}, torch.cat(index)
