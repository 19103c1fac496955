"""What Lightning's Trainer and the walk add to a training step.

Baseline: the same blocks, batches and updates in a plain loop over `local_step`, `backward` and
`UpdateRule.apply`, on a second network. The two alternate step by step in one process.
"""

import argparse
import logging
import tempfile
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from benchmarks.rows import Row, run_rows
from blocklearn import Batch, BlockwiseModule, ExpandPooling, JointEmbedding, Projector
from blocklearn.blocks.settings import NetworkOptions
from blocklearn.callbacks.progress_bar import BlockProgressBar
from blocklearn.reporting.loggers import MetricsCSV
from blocklearn.training.contract import Carried, Clock

WARM_UP = 3


class PlainStep:
    """A step of the bare loop."""

    def __init__(self, module: BlockwiseModule, total: int) -> None:
        self.module, self.total, self.step = module.train(), total, 0
        self.optimizers = [
            module.rule.build_optimizer(block.parameters(), None) for block in module.walked
        ]

    def __call__(self, batch: Batch) -> None:
        carried = Carried(batch.views)
        for block, optimizer in zip(self.module.walked, self.optimizers, strict=True):
            self.module.rule.set_lr(optimizer, self.step, self.total, self.total)
            output = block.local_step(carried, batch, Clock(self.step))
            output.loss.backward()
            self.module.rule.apply(optimizer)
            carried = output.carried
        self.step += 1


class Alternate(Callback):
    """Takes a plain step before every step of the Trainer, whose time runs from there to the next
    plain one."""

    def __init__(self, plain: PlainStep) -> None:
        self.plain = plain
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.began: float | None = None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, batch_idx: int) -> None:
        start = time.perf_counter()
        if self.began is not None:
            self.ours.append(start - self.began)
        self.plain(batch)
        self.began = time.perf_counter()
        self.theirs.append(self.began - start)


def network(backbone: dict[str, Any], width: int) -> BlockwiseModule:
    torch.manual_seed(0)
    objective = partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=width),
        projector=partial(Projector, widths=[width] * 2),
    )
    return BlockwiseModule(objective, **backbone)


def run(
    backbone: dict[str, Any], width: int, batches: list[Batch], folder: str
) -> tuple[list[float], list[float]]:
    """Seconds of every step but the first ones, of the Trainer with progress bar and CSV file, and
    of the plain loop."""
    alternate = Alternate(PlainStep(network(backbone, width), len(batches)))
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=MetricsCSV(Path(folder)),
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        callbacks=[alternate, BlockProgressBar()],
        default_root_dir=folder,
    )
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        trainer.fit(network(backbone, width), DataLoader(batches, batch_size=None))  # pyright: ignore[reportArgumentType]
    pairs = list(zip(alternate.ours, alternate.theirs, strict=False))[WARM_UP:]
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def measure(settings: argparse.Namespace) -> list[Row]:
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    small = {"layers": [1, 1, 1, 1], "channels": [32, 48, 64, 96], "output_stride": 8}
    digits = {"backbone": "resnet18", "network": NetworkOptions(small, channels_last=True)}
    cases = [
        (
            "P4 digits",
            "the digits network, 32 px, batch 64",
            digits,
            256,
            64,
            32,
            2 * settings.turns,
            None,
        )
    ]
    if not settings.quick:
        case = (
            "P4",
            "ResNet-50, 64 px, batch 8",
            {"backbone": "resnet50"},
            1024,
            8,
            64,
            settings.turns,
            1.03,
        )
        cases.insert(0, case)
    rows: list[Row] = []
    for name, what, backbone, width, count, size, steps, target in cases:
        generator = torch.Generator().manual_seed(0)
        views = [torch.randn(count, 3, size, size, generator=generator) for _ in range(2)]
        batches = [Batch(views, torch.zeros(count, dtype=torch.long), torch.arange(count))] * (
            steps + WARM_UP + 1
        )
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = run(backbone, width, batches, folder)
        notes = {"steps": steps, "warm_up": WARM_UP}
        rows.append(
            Row(
                name,
                f"a training step, {what}",
                "plain loop",
                "s",
                ours,
                theirs,
                target,
                notes=notes,
            )
        )
    return rows


if __name__ == "__main__":
    run_rows(measure, __doc__, {"turns": 10}, lambda parser: parser.set_defaults(turns=20))
