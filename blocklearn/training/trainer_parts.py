"""Callbacks of Lightning's that do not know several optimizers per step, and what does their job
here."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    Checkpoint,
    DeviceStatsMonitor,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    OnExceptionCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)

from blocklearn.errors import UserError

INSTEAD: dict[type[Callback], str] = {
    BaseFinetuning: (
        "moves parameters between the groups of one optimizer; --model.schedule and "
        "--model.stop_epochs say which blocks learn when, and blocklearn test --config "
        "probe_finetune.yaml trains a finished backbone on"
    ),
    BatchSizeFinder: (
        "changes the batch, on which the losses depend; try --data.batch_size, and "
        "--model.recompute to save memory"
    ),
    GradientAccumulationScheduler: (
        "cannot know the blocks; --model.update.accumulate_batches does it block by block"
    ),
    LearningRateFinder: (
        "looks for the rate of one optimizer; compare a few of --model.optimizer.lr in a W&B sweep"
    ),
    ModelPruning: "renames the weights, so that the run could not go on; prune the network that "
    "BlockwiseModule.load_from_checkpoint gives, with torch.nn.utils.prune",
    OnExceptionCheckpoint: (
        "would save some blocks after a batch and others before it; checkpoints/last.ckpt is the "
        "state after a whole batch, at most 15 minutes old"
    ),
    StochasticWeightAveraging: (
        "takes one optimizer; WeightAveraging and EMAWeightAveraging average the weights of all "
        "blocks"
    ),
    SpikeDetection: (
        "wants one loss per step; --model.update.non_finite skip drops a block's updates that are "
        "not finite"
    ),
}


OF_A_TRAINER: tuple[
    tuple[str, tuple[Any, ...], str], ...
] = (  # its attribute, values that ask for nothing, what to do
    (
        "gradient_clip_val",
        (None, 0),
        "cannot know the blocks; UpdateOptions(gradient_clip_norm=...) does it block by block",
    ),
    (
        "gradient_clip_algorithm",
        (None,),
        "cannot know the blocks, which are clipped by their gradient's norm: "
        "UpdateOptions(gradient_clip_norm=...)",
    ),
    (
        "accumulate_grad_batches",
        (1,),
        "cannot know the blocks; UpdateOptions(accumulate_batches=...) does it block by block",
    ),
    (
        "overfit_batches",
        (0,),
        "replaces the order of the samples; take few of them with limit_train_batches",
    ),
)
# where blocks lie in several processes
ACROSS_RANKS: dict[type[Callback], str] = {
    Timer: (
        "(--trainer.max_time) makes all processes wait for one another at every batch; end the run "
        "by SIGTERM, which saves its state, or by --trainer.max_steps"
    ),
    WeightAveraging: (
        "would average the blocks of one process; take blockwise_ddp, in which every process has "
        "all blocks"
    ),
}
# that say nothing of an evaluation
OF_TRAINING = (
    EarlyStopping,
    Checkpoint,
    Timer,
    WeightAveraging,
)


def refuse_kind(given: type) -> None:
    """Refuse a class of callbacks that cannot work with a loss and an optimizer of their own for
    every block.

    Raises:
        UserError: naming what does the job.
    """
    for kind, instead in INSTEAD.items():
        if issubclass(given, kind):
            raise UserError(f"trainer.callbacks: {given.__name__} {instead}")


def refuse_precision(precision: object, where: str = "") -> None:
    """Refuse 16 bits, of the Trainer or of a plugin.

    Raises:
        UserError: naming what does the job.
    """
    if str(precision).startswith("16") or "float16" in str(precision):
        raise UserError(
            f"{where}precision {precision} would let one block's overflow skip the others: use "
            "bf16-mixed, or 32"
        )


def refuse_settings(trainer: Trainer) -> None:
    """Refuse what a Trainer that was made in Python cannot do block by block; the command line
    refuses its flags itself.

    Raises:
        UserError: naming what does the job.
    """
    for flag, off, own in OF_A_TRAINER:
        if getattr(trainer, flag) not in off:
            raise UserError(f"Trainer({flag}={getattr(trainer, flag)}) {own}")


def refuse_across_ranks(callbacks: Iterable[Callback]) -> None:
    """Refuse callbacks that cannot work where blocks lie in several processes.

    Raises:
        UserError: naming what does the job.
    """
    for callback in callbacks:
        for kind, instead in ACROSS_RANKS.items():
            if isinstance(callback, kind):
                raise UserError(
                    f"trainer.callbacks: under block_parallel {type(callback).__name__} {instead}"
                )


def refuse_callbacks(callbacks: Iterable[Callback]) -> None:
    """Refuse callbacks, and settings of theirs, that cannot work with a loss and an optimizer of
    their own for every block.

    Raises:
        UserError: naming what does the job.
    """
    for callback in callbacks:
        refuse_kind(type(callback))
        if isinstance(callback, ModelCheckpoint) and callback._train_time_interval is not None:
            raise UserError(
                "trainer.callbacks: train_time_interval of ModelCheckpoint is not heeded by "
                "Lightning where a module steps its optimizers; checkpoints/last.ckpt is written "
                "every 15 minutes, and every_n_train_steps or every_n_epochs keep earlier states"
            )
        if (
            isinstance(callback, DeviceStatsMonitor)
            and callback._cpu_stats is not False
            and not find_spec("psutil")
        ):
            raise UserError(
                "trainer.callbacks: DeviceStatsMonitor needs psutil: pip install psutil, or "
                "cpu_stats: false"
            )
