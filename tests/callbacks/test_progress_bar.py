from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.trainer.connectors.logger_connector import _LoggerConnector
from small import small_data, small_network, small_trainer

from blocklearn.callbacks.progress_bar import BlockProgressBar


class Watched(BlockProgressBar):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.names: list[set[str]] = []

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        super().on_train_batch_end(trainer, *args)
        self.names.append(set(self.get_metrics(trainer, trainer.lightning_module)))


def test_losses_are_read_from_the_device_when_metrics_are_logged_and_shown_at_every_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar, read = Watched(), _LoggerConnector.progress_bar_metrics.fget

    def noted(self: _LoggerConnector) -> dict[str, float]:
        bar.steps.append(self.trainer.global_step)
        return read(self)

    monkeypatch.setattr(_LoggerConnector, "progress_bar_metrics", property(noted))
    trainer = small_trainer(
        tmp_path, log_every_n_steps=3, enable_progress_bar=True, callbacks=[bar]
    )
    trainer.fit(small_network(), datamodule=small_data(num_images=64))
    assert {step % 3 for step in bar.steps[2:]} == {0}
    assert bar.names == [{"block1", "block2", "block3", "block4"}] * 8
