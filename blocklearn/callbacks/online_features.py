"""Features of every block while it trains, computed without leaving a trace in the run."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.labelled_part import SamplesAt
from blocklearn.data.loader import KeyedSampler, KeyedViews, LabelledSamples, ResumableLoader
from blocklearn.distributed.groups import data_rank, world_size
from blocklearn.errors import UserError
from blocklearn.training.trial import evaluating

LOOKED_AT = 64  # labels of samples on disk, where the data set has no list of them


class BlockFeatures(NamedTuple):
    """Of labelled samples; those whose label is -1 are left out.

    Attributes:
        of_blocks: by the block's name, each `(N, D)`.
        label: `(N,)`.
        index: `(N,)`, of the samples in their data set.
    """

    of_blocks: dict[str, Tensor]
    label: Tensor
    index: Tensor


def average_features(network: BlockwiseModule, batches: Iterable[Batch]) -> BlockFeatures:
    """The global average of every block's output in eval mode, on the network's device, without
    noise or autocast: what an evaluation of a checkpoint calls the `raw` feature of the block's
    last stage. Of several processes each gets its own samples.

    Args:
        network: left as it is.
        batches: in one view.
    """
    device, dtype = network.device, next(network.parameters()).dtype
    found: dict[str, list[Tensor]] = {block.name: [] for block in network.walked}
    labels, indices = [], []
    eager = torch.compiler.set_stance("force_eager")  # compiling for other sizes takes minutes
    plain = torch.autocast(device.type, enabled=False)
    with isolate_rng(device.type == "cuda"), evaluating(network), eager, plain:
        for batch in batches:
            known = batch.label.to(device) >= 0
            x = batch.views[0].to(device, dtype)
            for block in network.walked:
                x = block(x)
                found[block.name].append(block.spec.average(x).float()[known])
            labels.append(batch.label.to(device)[known])
            indices.append(batch.index.to(device)[known])
    of_blocks = {name: torch.cat(parts) for name, parts in found.items()}
    return BlockFeatures(of_blocks, torch.cat(labels), torch.cat(indices))


def plain_views(
    data: KeyedDataModule, samples: LabelledSamples, at_most: int, batch_size: int
) -> ResumableLoader:
    """Samples as they are, this process' part: at most so many, at even distances in the data set's
    order, so that all classes of a sorted set are among them.

    Args:
        data: whose samples they are.
        samples: of a data set.
        at_most: number of samples over all processes.
        batch_size: over all processes.
    """
    chosen, processes = SamplesAt(samples, _even_distances(samples, at_most)), world_size()
    views = KeyedViews(chosen, [data.recipe.plain_view], torch.initial_seed())
    size = max(min(batch_size, len(chosen)) // processes, 1) * processes
    sampler = KeyedSampler(
        chosen, size, False, torch.initial_seed(), num_replicas=processes, rank=data_rank()
    )
    device = data.trainer.strategy.root_device if data.trainer else torch.device("cpu")
    return ResumableLoader(views, sampler, data.recipe, device, data.num_workers)


def require_labels(samples: LabelledSamples, who: str, which: str) -> None:
    """
    Args:
        samples: where there is no list of their labels, a few are looked at.
        who: asks.
        which: what the samples are for.

    Raises:
        UserError: where no sample has a label.
    """
    labels: Any = getattr(samples, "labels", None)
    if labels is None:
        labels = [int(samples[place][1]) for place in _even_distances(samples, LOOKED_AT)]
    if not (torch.as_tensor(labels) >= 0).any():
        raise UserError(
            f"trainer.callbacks: {who} needs labels, and the {which} samples have none; leave it "
            "out"
        )


def _even_distances(samples: LabelledSamples, at_most: int) -> list[int]:
    """From the first sample to the last."""
    return torch.linspace(0, len(samples) - 1, min(at_most, len(samples))).long().tolist()
