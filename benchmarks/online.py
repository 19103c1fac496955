"""A training run that is evaluated while it trains, by `OnlineKNN` and `OnlineProbe` as they are by
default, validations included.

Baseline: the same run without them. All train in this process, in turns; whether they end with the
same weights is told.
"""

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything

from benchmarks.digits_network import digits_network, small_images
from benchmarks.rows import Row, in_turns, run_rows
from blocklearn.callbacks import OnlineKNN, OnlineProbe

BASELINE = "not evaluated"


def train(callbacks: list[Any], settings: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The weights that a run of the network of `bt_digits.yaml` ends with."""
    seed_everything(0, verbose=False)
    network = digits_network()
    data = small_images(settings)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=settings.epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_train_batches=settings.limit_train_batches,
            check_val_every_n_epoch=settings.epochs,
            num_sanity_val_steps=0,
            default_root_dir=folder,
            callbacks=callbacks,
        )
        trainer.fit(network, datamodule=data)
    return network.state_dict()


def measure(settings: argparse.Namespace) -> list[Row]:
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    steps = {} if settings.every_n_steps is None else {"every_n_steps": settings.every_n_steps}
    ways: dict[str, Any] = {
        BASELINE: list,
        "OnlineKNN": lambda: [OnlineKNN()],
        "OnlineProbe": lambda: [OnlineProbe(**steps)],
        "both": lambda: [OnlineKNN(), OnlineProbe(**steps)],
    }
    weights: dict[str, dict[str, torch.Tensor]] = {}
    seconds = in_turns(
        {
            way: lambda way=way, make=make: weights.update({way: train(make(), settings)})
            for way, make in ways.items()
        },
        settings.turns,
        warm_up=False,
    )
    rows = []
    what = f"4 blocks, {settings.epochs} epochs of {settings.root or 'digits'}, one look"
    for way in list(ways)[1:]:
        same = all(
            torch.equal(weights[BASELINE][name], tensor) for name, tensor in weights[way].items()
        )
        print(f"{way}: the same weights, bitwise: {same}")
        notes = {"batch_size": settings.batch_size, "same weights": same, **steps}
        target = None if way == "both" else 1.05
        ours, theirs = seconds[way], seconds[BASELINE]
        rows.append(Row(way, what, BASELINE, "s", ours, theirs, target, notes=notes))
    return rows


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", type=Path, help="an image folder, taken at 32 pixels; without it the digits"
    )
    parser.add_argument("--epochs", type=int, default=5, help="up to the look, the last one")
    parser.add_argument(
        "--limit_train_batches", type=int, help="of an epoch; all where it is not given"
    )
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--num_workers", type=int, default=0)
    parser.add_argument("--every_n_steps", type=int, help="of OnlineProbe; its default if null")


if __name__ == "__main__":
    run_rows(measure, __doc__, {"limit_train_batches": 2}, more_arguments)
