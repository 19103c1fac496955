"""The small network with every metric of features, in one process and in two.

`launch(FOLDER)` starts two processes of this file.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from ranks import run_ranks
from small import small_data, small_network, small_trainer

from blocklearn import BlockParallelStrategy, BlockwiseDDPStrategy
from blocklearn.callbacks import CollapseAlarm
from blocklearn.metrics import Alignment, FeatureStd, RankMe, Uniformity
from blocklearn.reporting.loggers import MetricsCSV
from blocklearn.runs.little_noise import QUIET


def train(folder: Path, strategy: Any = None, alarm: CollapseAlarm | None = None) -> dict[str, Any]:
    """Two epochs of four batches with metrics at every second, and validation on batches that do
    not divide evenly."""
    seed_everything(0, verbose=False)
    metrics = [RankMe(samples=12), FeatureStd(), Alignment(), Uniformity(samples=11)]
    several: dict[str, Any] = {"devices": 2, "strategy": strategy} if strategy else {}
    trainer = small_trainer(
        folder,
        max_epochs=2,
        precision="64-true",
        log_every_n_steps=2,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        callbacks=[alarm] if alarm else [],
        logger=MetricsCSV(folder),
        **several,
    )
    trainer.fit(small_network(metrics=metrics), datamodule=small_data(num_images=32))
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return {"logged": logged, "batches": trainer.global_step}


def launch(folder: Path) -> list[dict[str, Any]]:
    """Results of two real processes, by rank."""
    return run_ranks(__file__, folder, folder, 2)


if __name__ == "__main__":
    warnings.simplefilter("error")
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    torch.set_num_threads(1)
    folder, own, environment = Path(sys.argv[1]), os.environ["RANK"], dict(os.environ)
    crossed = {"feature_std": 10.0}
    results = {}
    for name, strategy in (
        ("watched", BlockwiseDDPStrategy()),
        ("stopped", BlockwiseDDPStrategy()),
        ("chain", BlockParallelStrategy()),
    ):
        os.environ.update(environment)  # of which Lightning drops some after a run
        alarm = None if name == "watched" else CollapseAlarm("stop", crossed, looks=1)
        print(name, file=sys.stderr)
        results[name] = train(folder / name, strategy, alarm)
    torch.save(results, folder / f"{own}.pt")
