from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from small import small_data, small_network, small_trainer

from blocklearn.callbacks.last_checkpoint import LastCheckpoint


def test_a_state_is_on_disk_within_the_epoch_after_the_stated_time(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    found: list[int] = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            found.append(torch.load(path, weights_only=True)["global_step"] if path.exists() else 0)

    callbacks = [Look(), LastCheckpoint(path.parent, minutes=0)]
    trainer = small_trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True)
    trainer.fit(small_network(), datamodule=small_data())
    assert found == [0, 1, 2, 3]
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_a_run_that_ends_in_mid_epoch_is_saved(tmp_path: Path) -> None:
    keep = LastCheckpoint(tmp_path / "checkpoints")
    trainer = small_trainer(
        tmp_path, max_epochs=-1, max_steps=6, callbacks=[keep], enable_checkpointing=True
    )
    trainer.fit(small_network(), datamodule=small_data())
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
