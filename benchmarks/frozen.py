"""A sequential training run with the output of frozen blocks kept on disk, filling the cache
included.

Baseline: the same run without `CacheFrozenBlocks`. Both train in this process, in turns; whether
they end with the same weights is told.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything

from benchmarks.digits_network import digits_network, small_images
from benchmarks.rows import Row, in_turns, run_rows
from blocklearn import SequentialSchedule
from blocklearn.callbacks import CacheFrozenBlocks

BASELINE, OURS = "recomputed", "kept on disk"


def train(way: str, settings: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The weights that a whole run ends with."""
    seed_everything(0, verbose=False)
    network = digits_network(schedule=SequentialSchedule())
    data = small_images(settings, fixed_views=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=settings.epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_train_batches=settings.limit_train_batches,
            limit_val_batches=0,
            default_root_dir=folder,
            callbacks=[CacheFrozenBlocks()] if way == OURS else [],
        )
        trainer.fit(network, datamodule=data)
    return network.state_dict()


def measure(settings: argparse.Namespace) -> list[Row]:
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    weights: dict[str, dict[str, torch.Tensor]] = {}
    seconds = in_turns(
        {
            way: lambda way=way: weights.update({way: train(way, settings)})
            for way in (BASELINE, OURS)
        },
        settings.turns,
        warm_up=False,
    )
    same = all(
        torch.equal(weights[BASELINE][name], weights[OURS][name]) for name in weights[BASELINE]
    )
    print(f"the same weights, bitwise: {same}")
    what = f"sequential training, 4 blocks, {settings.epochs} epochs of {settings.root or 'digits'}"
    notes = {"batch_size": settings.batch_size, "same weights": same}
    return [
        Row("frozen blocks", what, BASELINE, "s", seconds[OURS], seconds[BASELINE], notes=notes)
    ]


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", type=Path, help="an image folder, taken at 32 pixels; without it the digits"
    )
    parser.add_argument(
        "--epochs", type=int, default=40, help="of the whole run, a quarter for each block"
    )
    parser.add_argument(
        "--limit_train_batches", type=int, help="of an epoch; all where it is not given"
    )
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--num_workers", type=int, default=0)


if __name__ == "__main__":
    run_rows(measure, __doc__, {"epochs": 4, "limit_train_batches": 2}, more_arguments)
