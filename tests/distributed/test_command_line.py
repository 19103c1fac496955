"""`blocklearn fit` as a user starts it on two devices."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small import NARROW

SMALL = [
    "--config=bt_digits.yaml",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=3",
    "--trainer.limit_val_batches=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=1",
    "--trainer.accelerator=cpu",
    "--model.noise=none",
    *NARROW,
    "--data.batch_size=16",
    "--data.num_workers=0",
    "--model.lr_schedule.warmup_epochs=1",
]


def fit(folder: Path, devices: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blocklearn", "fit", *SMALL, f"--trainer.devices={devices}"]
    folder.mkdir()
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_two_devices_leave_one_run_folder_with_the_weights_of_one_device(tmp_path: Path) -> None:
    folders = []
    for devices in (1, 2):
        done = fit(tmp_path / str(devices), devices)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Run folder:") == done.stdout.count("Trained:") == 1
        (folder,) = (tmp_path / str(devices) / "runs").iterdir()
        names = {path.name for path in folder.rglob("*") if path.is_file()}
        assert names == {"config.yaml", "last.ckpt", "metrics.csv", "backbone.safetensors"}
        folders.append(folder)
    one, two = (load_file(folder / "backbone.safetensors") for folder in folders)
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)
    config = yaml.safe_load((folders[1] / "config.yaml").read_text())
    assert (config["trainer"]["strategy"], int(config["trainer"]["devices"])) == ("auto", 2)
