import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from small import small_network

from blocklearn import UserError
from blocklearn.interop.checkpoint_io import StreamingCheckpointIO
from blocklearn.interop.export import save_backbone
from blocklearn.weights.atomic_write import replacing


def test_the_exported_backbone_loads_into_plain_timm_without_blocklearn(tmp_path: Path) -> None:
    network = small_network().eval()
    image = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        torch.save(network(image), tmp_path / "expected.pt")
    save_backbone(network, tmp_path / "backbone.safetensors")
    code = """
import sys; sys.modules["blocklearn"] = None
import json, timm, torch
from safetensors import safe_open
from safetensors.torch import load_file
with safe_open("backbone.safetensors", "pt") as file:
    about = file.metadata()
model = timm.create_model(about["backbone"], num_classes=0, **json.loads(about["backbone_kwargs"]))
model.load_state_dict(load_file("backbone.safetensors"), strict=True)
image = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
with torch.no_grad():
    assert torch.equal(model.eval().forward_features(image), torch.load("expected.pt"))
"""
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    save_backbone(small_network(), tmp_path / "b.safetensors")
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        about = file.metadata()
    assert about["backbone"] == "resnet18"
    assert about["blocks"] == '[["layer1"], ["layer2"], ["layer3"], ["layer4"]]'


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_clear_line_and_the_last_checkpoint_survives(tmp_path: Path) -> None:
    """A real full disk: a file system of 1 MB, where it can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        path = disk / "last.ckpt"
        StreamingCheckpointIO().save_checkpoint({"x": torch.zeros(10)}, path)
        with pytest.raises(
            UserError, match=r"cannot write .*last.ckpt.*the one from before is untouched"
        ):
            StreamingCheckpointIO().save_checkpoint({"x": torch.zeros(1_000_000)}, path)
        assert torch.equal(torch.load(path)["x"], torch.zeros(10))
        assert list(disk.iterdir()) == [path]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
