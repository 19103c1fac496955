"""What network, data and budget make of one another: told before a folder is made."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.callbacks import Timer
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.block_parallel import BlockParallelStrategy, require_whole_chains
from blocklearn.distributed.launch import count_processes, say
from blocklearn.distributed.strategy import BlockwiseDDPStrategy
from blocklearn.errors import UserError
from blocklearn.runs.refusals import listed, other_strategy
from blocklearn.training.monitor_times import Rhythm, require_in_time
from blocklearn.training.monitors import require_monitors
from blocklearn.training.schedule import require_shared_batches
from blocklearn.training.trainer_parts import (
    refuse_across_ranks,
    refuse_callbacks,
    refuse_precision,
)


def refuse_plan(model: BlockwiseModule, data: KeyedDataModule, trainer: Mapping[str, Any]) -> None:
    """What network, data and the length of the run do not go together for. Reads the list of
    samples, and no sample.

    Args:
        model: to be trained.
        data: to be trained on.
        trainer: the section of the configuration.

    Raises:
        UserError: saying what to change.
    """
    refuse_callbacks(trainer["callbacks"] or ())
    _refuse_plugins(trainer["plugins"])
    strategy = trainer["strategy"]
    if isinstance(strategy, Strategy) and not isinstance(
        strategy, (SingleDeviceStrategy, BlockwiseDDPStrategy)
    ):
        raise other_strategy(type(strategy).__name__)
    data.setup("fit")
    model.require_fit(data)
    data.require_enough()
    samples = len(data.pretraining_samples())
    processes = count_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"])
    if isinstance(strategy, BlockParallelStrategy):
        processes = _require_chains(model, strategy, processes, trainer)
    _refuse_batch(data, samples, processes)
    for block in model.walked:  # an optimizer that cannot be built says so here
        model.rule.build_optimizer(block.parameters(), data.batch_size, block.settings.lr_factor)
    _refuse_short_validation(data, trainer["limit_val_batches"])
    for line in require_monitors(
        model, trainer["callbacks"] or (), data, trainer["limit_val_batches"] != 0
    ):
        say(line)
    model.monitors_checked = True
    if not trainer["fast_dev_run"]:
        refuse_schedule(model, samples // data.batch_size, trainer)


def _require_chains(
    model: BlockwiseModule,
    strategy: BlockParallelStrategy,
    processes: int,
    trainer: Mapping[str, Any],
) -> int:
    """Among how many processes a batch is divided."""
    refuse_across_ranks(trainer["callbacks"] or ())
    if trainer["max_time"] is not None:
        refuse_across_ranks([Timer(trainer["max_time"])])
    require_whole_chains(processes, strategy.data_parallel)
    ranks = processes // strategy.data_parallel
    alike = model.parts._replace(costs=lambda: [1.0] * len(model.walked))  # whether there is any
    alike.grouping(ranks, strategy.blocks_per_rank)
    return strategy.data_parallel


def _refuse_plugins(plugins: Any) -> None:
    for plugin in listed(plugins):
        refuse_precision(
            getattr(plugin, "precision", ""), f"trainer.plugins: {type(plugin).__name__} of "
        )
        if isinstance(plugin, CheckpointIO):
            raise UserError(
                f"trainer.plugins: {type(plugin).__name__} would take the place of what writes "
                "checkpoints whole or not at all; leave it out"
            )


def _refuse_batch(data: KeyedDataModule, samples: int, processes: int) -> None:
    batch_size = data.batch_size
    if batch_size // processes < 2:
        raise UserError(
            f"data: a batch of {batch_size // processes} sample: BatchNorm and the criterion need "
            f"at least 2 on each of {processes} processes; raise --data.batch_size"
        )
    if batch_size % processes:
        raise UserError(
            f"data: batch_size {batch_size} does not divide among {processes} processes"
        )
    if batch_size == samples:
        raise UserError(
            f"data: {data.title} has {samples} samples for training, so every epoch is one batch "
            f"of {batch_size}; lower --data.batch_size"
        )


def refuse_schedule(model: BlockwiseModule, batches: int, trainer: Mapping[str, Any]) -> None:
    """Learning-rate curves and windows that the run has no room for.

    Args:
        batches: in a whole epoch.
        trainer: says how many of them are taken, and for how long.
    """
    limit = trainer["limit_train_batches"]
    if limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(limit, batches)
    if batches < 1:
        raise UserError(
            f"trainer.limit_train_batches: {limit} of an epoch leaves no batch to train on"
        )
    epochs, steps = trainer["max_epochs"], trainer["max_steps"]
    total = (
        batches * epochs if epochs not in (None, -1) else 1000 * batches if steps == -1 else steps
    )
    if epochs == -1 and steps == -1:
        raise UserError(
            "the learning-rate curve needs an end: set --trainer.max_epochs or --trainer.max_steps"
        )
    total = min(total, steps) if steps != -1 else total
    if (trainer["min_steps"] or 0) > total:
        raise UserError(
            f"trainer.min_steps: {trainer['min_steps']} is more than the {total} batches of this "
            "run"
        )
    _refuse_rare_validation(trainer, batches)
    windows = [model.window_within(block, min(batches, total), total) for block in model.walked]
    require_shared_batches(model.walked, windows)
    require_in_time(
        model.walked, windows, trainer.get("callbacks") or (), _rhythm(trainer, batches, total)
    )
    for block, window in zip(model.walked, windows, strict=True):
        if window:
            model.rule.lr_schedule.require_room(block.name, batches, len(window))


def _rhythm(trainer: Mapping[str, Any], batches: int, total: int) -> Rhythm:
    interval = trainer["val_check_interval"]
    log_every = trainer["log_every_n_steps"] or 50
    return Rhythm(
        batches,
        total,
        trainer["limit_val_batches"] not in (0, 0.0),
        trainer["check_val_every_n_epoch"],
        1.0 if interval is None else interval,
        min(log_every, batches, total),
    )


def _refuse_rare_validation(trainer: Mapping[str, Any], batches: int) -> None:
    interval = trainer["val_check_interval"]
    within_an_epoch = trainer["check_val_every_n_epoch"] is not None and trainer[
        "limit_val_batches"
    ] not in (0, 0.0)
    if within_an_epoch and isinstance(interval, int) and interval > batches:
        raise UserError(
            f"trainer.val_check_interval: {interval} is more than the {batches} batches of an "
            "epoch; lower it, or count on over epochs with --trainer.check_val_every_n_epoch null"
        )


def _refuse_short_validation(data: KeyedDataModule, limit: Any) -> None:
    if isinstance(limit, float) and 0 < limit < 1 and int(len(data.val_dataloader()) * limit) < 1:
        raise UserError(
            f"trainer.limit_val_batches: {limit} of the held-out samples leaves no batch; give a "
            "number of batches, or 0 for no validation"
        )
