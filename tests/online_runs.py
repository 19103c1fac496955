"""Runs that are evaluated while they train."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from small import network, small_trainer

from blocklearn import BlockwiseModule
from blocklearn.data import Digits

BATCHES = 6  # of an epoch


def digits(**changes: Any) -> Digits:
    return Digits(**{"batch_size": 32, "num_workers": 0, "image_size": 16, **changes})


def narrow(**changes: Any) -> BlockwiseModule:
    from small import OBJECTIVE

    seed_everything(0, verbose=False)
    kwargs = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "output_stride": 8}
    own: dict[str, Any] = {
        "objective": OBJECTIVE,
        "backbone": "resnet18",
        "backbone_kwargs": kwargs,
        **changes,
    }
    return network(**own)


def train(
    folder: Path,
    *callbacks: Any,
    resume: Path | None = None,
    data: Digits | None = None,
    trainer: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[BlockwiseModule, Trainer]:
    """Two epochs of six batches, and a validation behind each."""
    blocks = narrow(**changes)
    settings: dict[str, Any] = {
        "max_epochs": 2,
        "limit_train_batches": BATCHES,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "callbacks": list(callbacks),
        **(trainer or {}),
    }
    running = small_trainer(folder, **settings)
    running.fit(
        blocks,
        datamodule=digits() if data is None else data,
        ckpt_path=resume,
        weights_only=True,
    )
    return blocks, running


def figures(trainer: Trainer, kind: str) -> dict[str, float]:
    found = {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if name.endswith(f"/{kind}")
    }
    return dict(sorted(found.items()))


def streams() -> tuple[Any, ...]:
    """Where the random streams of torch, NumPy and Python stand."""
    import random

    import numpy as np

    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002  # pyright: ignore
        random.getstate(),
    )
