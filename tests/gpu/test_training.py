"""Runs of the Trainer on a GPU."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from small import OBJECTIVE, StopAt, small_data, small_network, small_trainer, weights

from blocklearn import LARS, ExpandPooling
from blocklearn.data import BarlowTwinsViews

STEPS, INTERVAL = 10, 10


class NoWaits(Callback):
    """Batches of which no figure is logged, and what lies between them, must not wait."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if 2 <= batch_idx < INTERVAL - 1 else "default")

    def on_exception(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


OPTIMIZERS: dict[str, Any] = {
    "lars": LARS,
    "adamw": torch.optim.AdamW,
    "fused adamw": partial(torch.optim.AdamW, fused=True),
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
}
FUSED = partial(OBJECTIVE, pooling=partial(ExpandPooling, width=64))


@pytest.mark.parametrize(
    "changes",
    [
        *({"optimizer": optimizer} for optimizer in OPTIMIZERS.values()),
        {"gradient_clip_norm": 1.0},
        {"recompute": "views"},
        {"recompute": "units"},
        {"compile": True},
    ],
    ids=[*OPTIMIZERS, "clipped", "views", "units", "compiled"],
)
@pytest.mark.parametrize("resident", [True, False], ids=["resident", "device colours"])
def test_no_step_between_two_logs_waits_for_the_device(
    cuda: torch.device, tmp_path: Path, resident: bool, changes: dict[str, Any]
) -> None:
    recipe = partial(BarlowTwinsViews, colour="device")
    data = small_data(resident=resident, recipe=recipe, num_images=8 * STEPS, seed=0, num_workers=0)
    trainer = small_trainer(
        tmp_path,
        accelerator="gpu",
        devices=1,
        precision="bf16-mixed",
        log_every_n_steps=INTERVAL,
        callbacks=[NoWaits()],
    )
    network = small_network(objective=FUSED, noise="all", **changes)
    try:
        trainer.fit(network, datamodule=data)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.global_step == STEPS


def test_a_run_that_is_resumed_in_mid_epoch_ends_as_one_that_was_not(
    cuda: torch.device, tmp_path: Path
) -> None:
    def train(folder: str, resume: Path | None = None, **changes: Any) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        dropping = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "drop_path_rate": 0.2}
        network = small_network(noise="all", backbone_kwargs=dropping)
        settings = {"accelerator": "gpu", "devices": 1, "precision": "64-true", "max_epochs": 2}
        trainer = small_trainer(tmp_path / folder, **settings, **changes)
        data = small_data(resident=True, seed=0)
        trainer.fit(network, datamodule=data, ckpt_path=resume, weights_only=True)
        return weights(network.cpu())

    whole, path = train("whole"), tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train("cut", callbacks=[StopAt(6, path)])
    torch.testing.assert_close(train("resumed", path), whole, rtol=1e-7, atol=1e-9)
