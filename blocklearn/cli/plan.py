"""`blocklearn plan`: what every block costs, and which blocks go to which rank."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from blocklearn.backbones.create import create_backbone
from blocklearn.backbones.cut import cut_backbone
from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.blocks.costs import count_costs, measure_costs
from blocklearn.blocks.imagined import imagined_weights
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.grouping import best_grouping
from blocklearn.errors import UserError
from blocklearn.reporting.placement import Plan, time_of
from blocklearn.training.block_parts import shares_with_the_one_before

REPEATS = 5  # steps and batches that are timed
TRUE_PRECISIONS = {"64": torch.float64, "64-true": torch.float64, "bf16-true": torch.bfloat16}


@contextmanager
def reduced_for_plan(config: Any) -> Iterator[None]:
    """One process, no weights from anywhere, and where nothing is measured none at all; for the
    configuration of the command, and around the building of its parts."""
    trainer, network = config.trainer, config.model.network
    if config.measure is None:
        gpu = trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        config.measure = gpu
    trainer.devices, trainer.num_nodes, trainer.strategy, trainer.callbacks = 1, 1, "auto", None
    config.model.checkpoint, network.pretrained = None, False
    if config.measure:
        yield
        return
    # bytes and products are the same
    trainer.accelerator, network.compile, network.channels_last = "cpu", False, False
    usual = torch.get_default_dtype()
    torch.set_default_dtype(TRUE_PRECISIONS.get(str(trainer.precision), usual))
    try:
        with imagined_weights():
            yield
    finally:
        torch.set_default_dtype(usual)


def make_plan(
    network: BlockwiseModule,
    data: KeyedDataModule,
    ranks: int,
    replicas: int,
    measure: bool,
    device: torch.device,
    precision: Any,
) -> Plan:
    """Count or measure the blocks, and group them.

    Args:
        network: to be trained.
        data: it would be trained on; without its files what it states of its samples is taken.
        ranks: to which consecutive blocks go.
        replicas: how many times every rank is there.
        measure: whether to run the blocks; otherwise their products are counted.
        device: that measures.
        precision: the Trainer's plugin.

    Raises:
        UserError: for more ranks than blocks, or data of which too little is known.
    """
    together = sorted(shares_with_the_one_before(network.walked))
    _require_enough_blocks(network, ranks, together)
    samples = _samples(data, replicas)
    batch = _few_samples(data)
    batch = batch._replace(views=list(precision.convert_input(batch.views)))
    network.require_fit(data)
    loading = 0.0
    if measure:
        whole, loading = _whole_batch(data, batch, samples)
        whole = whole._replace(views=list(precision.convert_input(whole.views)))
        network = precision.convert_module(network)
        with _explaining_memory(device):
            costs = measure_costs(network, whole, REPEATS, device, precision.forward_context)
    else:
        costs = count_costs(network, batch, samples, precision.forward_context)
    times = [time_of(cost) for cost in costs]
    times[0] += loading
    view_bytes = sum(view[0].numel() * view.element_size() for view in batch.views)
    return Plan(
        costs,
        best_grouping(times, ranks, together),
        best_grouping([cost.flops for cost in costs], ranks, together),
        loading,
        view_bytes * samples,
        replicas,
    )


def _samples(data: KeyedDataModule, replicas: int) -> int:
    if data.batch_size % replicas:
        raise UserError(
            f"plan: --data.batch_size {data.batch_size} does not divide among --data_parallel "
            f"{replicas}"
        )
    return data.batch_size // replicas


def _require_enough_blocks(network: BlockwiseModule, ranks: int, together: Sequence[int]) -> None:
    try:
        best_grouping([1.0] * len(network.walked), ranks, together)
    except UserError as error:
        raise UserError(f"plan: {error}{_finer(network)}") from error


def _finer(network: BlockwiseModule) -> str:
    """What to do about too few blocks."""
    own = network.structure
    kwargs = own.backbone_kwargs
    try:
        with imagined_weights():
            whole = create_backbone(own.backbone, False, own.small_stem, **kwargs)
            count = len(cut_backbone(whole, "per_unit", network.patches))
    except UserError:
        return ""
    more = count > len(network.walked)
    return f"; --model.blocks per_unit gives {count} blocks" if more else ""


def _few_samples(data: KeyedDataModule) -> Batch:
    """Two samples; where there are none at hand zeros of their shape.

    Raises:
        UserError: where the data does not state it either.
    """
    try:
        data.setup("fit")
        return data.few_samples(2)
    except (UserError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
    spec, name = data.input_spec, type(data).__name__
    if spec is None or spec.shape is None or data.frame_labels:
        raise UserError(
            f"plan: {name} does not state the shape of its samples, and there are none to "
            f"look at ({reason})"
        )
    print(f"The data is not at hand ({reason}): for random inputs of {spec.shape} instead.")
    shapes = [replace(spec, size=size).shape or () for size in data.recipe.sizes(spec.size)]
    views = [torch.zeros(2, *shape) for shape in shapes]
    return Batch(views, torch.zeros(2, dtype=torch.int64), torch.arange(2))


def _whole_batch(data: KeyedDataModule, few: Batch, samples: int) -> tuple[Batch, float]:
    """Of a process, and the seconds that it takes to make one where the process does so itself."""
    try:
        batches = iter(data.train_dataloader())
        first = next(batches)
    except (OSError, RuntimeError) as error:
        if isinstance(error, UserError) and "fewer than one batch" in str(error):
            raise
        views = [torch.randn(samples, *view.shape[1:]) for view in few.views]
        label = torch.zeros(samples, *few.label.shape[1:], dtype=few.label.dtype)
        return Batch(views, label, torch.arange(samples)), 0.0
    part = len(first.index) // samples or 1
    whole = Batch(
        [view[:samples] for view in first.views], first.label[:samples], first.index[:samples]
    )
    if data.num_workers or getattr(data, "resident", False):
        return whole, 0.0
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        if next(batches, None) is None:
            break
        times.append(time.perf_counter() - start)
    return whole, median(times) / part if times else 0.0


@contextmanager
def _explaining_memory(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"plan: a batch of one process does not fit {device}: lower --data.batch_size, or "
            "count with --measure false"
        ) from error
