"""Runs of the small network in several real processes, block-parallel or data-parallel, and in one.

`launch(FOLDER, PROCESSES)` starts processes of this file, each of which goes through `RUNS`.
"""

import os
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from masked import DECODER, KINDS, masked_data
from ranks import run_ranks
from small import OBJECTIVE, small_data, small_network, small_trainer, weights

from blocklearn import (
    AugLocal,
    BlockParallelStrategy,
    BlockSettings,
    MoCo,
    Patches,
    PatchInfoNCE,
    PlainProjector,
    Supervised,
)
from blocklearn.blocks.noise import GaussianNoise
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.reporting.loggers import MetricsCSV
from blocklearn.runs.little_noise import QUIET

NETWORKS: dict[str, dict[str, Any]] = {
    "barlow_twins": {"noise": GaussianNoise()},
    "patches": {
        "objective": partial(PatchInfoNCE, steps=1, skip=0, negatives=4),
        "patches": Patches(grid=3, size=16),
    },
    "supervised": {"objective": partial(Supervised, num_classes=8)},
    "auglocal": {"objective": partial(AugLocal, objective=OBJECTIVE)},
    "moco": {
        "objective": partial(MoCo, projector=partial(PlainProjector, widths=[8, 4]), queue_size=12)
    },
    "stops early": {"per_block": {"block1": BlockSettings(stop_epoch=1)}},
    "without noise": {},
    "accumulated": {"accumulate_batches": 3, "lr_schedule": ConstantLR()},
    "masked": {
        **KINDS["clips"],
        "objective": DECODER,
        "blocks": 4,
        "per_block": {"block1": BlockSettings(stop_epoch=1)},
    },
}
# in several processes: what each run is called, its network, and settings
Runs = dict[str, tuple[str, dict[str, Any]]]
TWO: Runs = {
    **{name: (name, {}) for name in NETWORKS},
    "goes on": ("barlow_twins", {"resume": "one/begun/checkpoints/last.ckpt"}),
    "begun": ("barlow_twins", {"max_steps": 6}),
    "waiting": ("accumulated", {"resume": "one/between/checkpoints/last.ckpt"}),
}
RUNS: dict[int, Runs] = {
    2: TWO,
    3: {"barlow_twins": ("barlow_twins", {"blocks_per_rank": [1, 1, 2]})},
    4: {
        "barlow_twins": ("barlow_twins", {}),
        "mesh": ("without noise", {"data_parallel": 2, "precision": "64-true"}),
        "divided": (
            "without noise",
            {"data_parallel": 2, "precision": "64-true", "shard": True},
        ),
    },
}


def run(
    folder: Path,
    name: str = "barlow_twins",
    resume: str | None = None,
    max_steps: int = -1,
    precision: Any = "32-true",
    **strategy: Any,
) -> dict[str, Any]:
    """Five epochs of four batches: whose tensors lie here, and which state was the best."""
    seed_everything(0, verbose=False)
    network = small_network(**NETWORKS[name])
    several: dict[str, Any] = {}
    if dist.is_initialized() or "RANK" in os.environ:
        several = {
            "devices": int(os.environ["WORLD_SIZE"]),
            "strategy": BlockParallelStrategy(**strategy),
        }
    best = ModelCheckpoint(folder / "best", monitor="block4/val_loss")
    trainer = small_trainer(
        folder,
        max_epochs=5,
        max_steps=max_steps,
        precision=precision,
        log_every_n_steps=1,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        callbacks=[
            *([] if resume or max_steps > 0 else [best]),
            LastCheckpoint(folder / "checkpoints"),
        ],
        enable_checkpointing=True,
        logger=MetricsCSV(folder),
        **several,
    )
    data = masked_data("clips", unreadable=(3,)) if network.mask else small_data(num_images=32)
    trainer.fit(network, datamodule=data, ckpt_path=resume, weights_only=True)
    return {
        "here": [n for n, tensor in weights(network).items() if not tensor.is_meta],
        "best": best.best_model_path,
    }


def launch(root: Path, processes: int) -> list[Any]:
    """The runs of so many processes, in `root/PROCESSES/NAME`: their results by rank and name."""
    folder = root / str(processes)
    folder.mkdir(parents=True)
    return run_ranks(__file__, root, folder, processes)


if __name__ == "__main__":
    warnings.simplefilter("error")
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    torch.set_num_threads(1)
    root, processes = Path(sys.argv[1]), int(os.environ["WORLD_SIZE"])
    results, environment = {}, dict(os.environ)  # of which Lightning drops some after a run
    for title, (network, settings) in RUNS[processes].items():
        os.environ.update(environment)
        own = dict(settings)
        if "resume" in own:
            own["resume"] = str(root / own["resume"])
        results[title] = run(root / str(processes) / title, network, **own)
    torch.save(results, root / str(processes) / f"{os.environ['RANK']}.pt")
