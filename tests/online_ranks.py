"""A run that is evaluated while it trains, in two processes with half of every batch each, and in
one.

`launch(FOLDER)` starts two real processes of this file; each leaves `FOLDER/RANK.pt`.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from online_runs import figures, train
from ranks import run_ranks
from small import weights

from blocklearn import BlockwiseDDPStrategy
from blocklearn.callbacks import OnlineKNN, OnlineProbe
from blocklearn.runs.little_noise import QUIET


def run(folder: Path) -> dict[str, Any]:
    probe, ranks = OnlineProbe(1), {}
    if dist.is_initialized():
        ranks = {"devices": 2, "strategy": BlockwiseDDPStrategy()}
    network, trainer = train(
        folder, OnlineKNN(bank=301), probe, trainer={"precision": "64-true", **ranks}
    )
    return {
        "state": weights(network),
        "classifiers": {name: weights(c) for name, c in probe.classifiers.items()},
        "knn": figures(trainer, "knn"),
        "probe": figures(trainer, "probe"),
    }


def launch(folder: Path) -> list[dict[str, Any]]:
    """Results of two real processes, by rank."""
    return run_ranks(__file__, folder, folder, 2)


if __name__ == "__main__":
    warnings.simplefilter("error")
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    folder = Path(sys.argv[1])
    torch.save(run(folder), folder / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()
