"""Reconstructions of a tiny vision transformer, against a plain loop over its tokens."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small import network, same_weights, small_data, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.data import MovingDigits
from blocklearn.evaluation import Reconstruction
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.evaluation.reconstruction import GREY
from blocklearn.masks import RandomMask, TubeMask
from blocklearn.objectives import MaskedReconstruction
from blocklearn.pictures.figure import told

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


def masked_network(normalise: bool = True, **changes: Any) -> Any:
    torch.manual_seed(0)
    objective = partial(MaskedReconstruction, depth=1, width=12, heads=2, normalise=normalise)
    settings = {"mask": RandomMask(0.75), "blocks": [["blocks.0"], ["blocks.1"]], **changes}
    return network(objective, "vit_tiny_patch16_224", backbone_kwargs=VIT, **settings)


def looked(folder: Path, **settings: int) -> Reconstruction:
    return Reconstruction(**settings).under(
        ProbeSettings(), lambda epochs: small_trainer(folder, max_epochs=epochs)
    )


@torch.no_grad()
def plain_errors(net: Any, data: Any, normalise: bool) -> list[tuple[float, float]]:
    """Sample by sample and patch by patch; a batch of one masked sample at a time."""
    net.eval()
    painted: list[list[torch.Tensor]] = [[], []]
    true: list[torch.Tensor] = []
    for batch in data.test_dataloader():
        for n in range(len(batch.index)):
            image = batch.views[0][n : n + 1]
            one = batch._replace(views=[image], index=batch.index[n : n + 1])
            visible = net.masked(one).visible[0]
            hidden = [p for p in range(16) if p not in visible[0].tolist()]
            x = image
            for number, block in enumerate(net.walked):
                for stage in block.stages:
                    x = stage(x, visible)
                found = block.objective.reconstruct(x, visible)[0]
                painted[number] += [found[p].double() for p in hidden]
            for p in hidden:
                row, column = divmod(p, 4)
                patch = image[0, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].double()
                pixels = patch.permute(1, 2, 0).flatten()
                if normalise:
                    pixels = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
                true.append(pixels)
    targets = torch.stack(true)
    mean = float((targets - targets.mean(dim=0)).square().mean())
    return [(float((torch.stack(own) - targets).square().mean()), mean) for own in painted]


@pytest.mark.parametrize("normalise", [True, False])
def test_the_errors_are_those_of_a_plain_loop(tmp_path: Path, normalise: bool) -> None:
    net, data = masked_network(normalise), small_data(num_images=20)
    before = weights(net)
    rows = looked(tmp_path).run(net, data)
    assert same_weights(before, weights(net))
    assert [(row.stage, row.index, row.feature) for row in rows] == [
        ("blocks.0", 1, "decoder"),
        ("blocks.1", 2, "decoder"),
    ]
    for row, (masked, mean) in zip(rows, plain_errors(net, data, normalise), strict=True):
        assert row.values["masked_mse"] == pytest.approx(masked, rel=1e-5)
        assert row.values["mean_mse"] == pytest.approx(mean, rel=1e-5)


def test_the_picture_has_the_input_what_is_visible_and_what_each_block_paints(
    tmp_path: Path,
) -> None:
    evaluation, data = looked(tmp_path, shown=2), small_data(num_images=20)
    net = masked_network()
    evaluation.run(net, data)
    for block in net.walked:  # a decoder that paints nothing paints the mean of each patch
        torch.nn.init.zeros_(block.objective.decoder.head.weight)
    evaluation.run(net, data)
    batch = next(iter(data.test_dataloader()))
    image = torch.as_tensor(data.as_seen(batch.views[0][:1]))[0]
    visible = net.masked(batch).visible[0][0].tolist()
    kept, masked, first, second = (kind[0] for kind in evaluation._pictures[0])
    torch.testing.assert_close(kept, image)
    for p in range(16):
        row, column = divmod(p, 4)
        patch = slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)
        if p in visible:
            assert torch.equal(masked[patch], kept[patch])
            torch.testing.assert_close(first[patch], kept[patch])
        else:
            assert bool((masked[patch] == GREY).all())
            flat = torch.full((1, 3, 1, 1), float(batch.views[0][0][:, *patch].mean()))
            expected = torch.as_tensor(data.as_seen(flat))[0].expand(8, 8, 3)
            torch.testing.assert_close(first[patch], expected)
            torch.testing.assert_close(second, first)
    (path,) = evaluation.leave(tmp_path)
    assert told(path)[1].startswith("2 test samples, what is left under the mask")


def test_of_clips_a_tubelet_is_grey_in_all_its_frames(tmp_path: Path) -> None:
    clips = {"frames": 4, "tubelet": 2, "img_size": 16, "patch_size": 8}
    size = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    objective = partial(MaskedReconstruction, depth=1, width=12, heads=2)
    net = network(objective, "video_vit_tiny", mask=TubeMask(0.5), backbone_kwargs=clips | size)
    data = MovingDigits(frames=4, image_size=16, seed=0)
    evaluation = looked(tmp_path, shown=1)
    rows = evaluation.run(net, data)
    assert set(rows[0].values) == {"masked_mse", "mean_mse"}
    batch = next(iter(data.test_dataloader()))
    visible = net.masked(batch).visible[0][0].tolist()
    kept, masked, _ = evaluation._pictures[0]
    pixels = batch.views[0][0] * torch.tensor(data.std).reshape(3, 1, 1, 1) + data.mean[0]
    torch.testing.assert_close(kept, pixels.clamp(0, 1).permute(1, 2, 3, 0))
    for token in range(8):
        frame, row, column = 2 * (token // 4), 8 * (token // 2 % 2), 8 * (token % 2)
        for picture in (masked[frame], masked[frame + 1]):
            grey = bool((picture[row : row + 8, column : column + 8] == GREY).all())
            assert grey == (token not in visible)
    (path,) = evaluation.leave(tmp_path)
    assert told(path)[1].startswith("1 test sample, what is left under the mask")


def test_other_networks_are_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this network has JointEmbedding; choose another"):
        looked(tmp_path).run(small_network(), small_data())
    with pytest.raises(UserError, match="this network has no mask; set --model.mask"):
        looked(tmp_path).run(masked_network(mask=None), small_data())
    with pytest.raises(ValueError, match="shown >= 1"):
        Reconstruction(shown=0)


def test_a_run_is_tested_from_its_checkpoint_and_the_picture_is_in_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    common = ["--data.num_workers=0", "--wandb.mode=disabled", "--trainer.accelerator=cpu"]
    config = tmp_path / "mae.yaml"
    config.write_text(
        f"""
model:
  backbone: vit_tiny_patch16_224
  network: {{backbone_kwargs: {json.dumps(VIT)}}}
  blocks: [[blocks.0], [blocks.1]]
  mask: {{class_path: blocklearn.masks.RandomMask}}
  objective:
    class_path: blocklearn.objectives.MaskedReconstruction
    init_args: {{depth: 1, width: 12, heads: 2}}
  lr_schedule: {{class_path: blocklearn.optim.WarmupCosine, init_args: {{warmup_epochs: 0}}}}
data: {{class_path: blocklearn.data.Digits, init_args: {{batch_size: 64, image_size: 32}}}}
trainer: {{max_epochs: 1, limit_train_batches: 4, limit_val_batches: 0}}
"""
    )
    fit = ["fit", f"--config={config}", f"--trainer.default_root_dir={run}"]
    assert main([*fit, *common]) == 0
    checkpoint = f"--model.checkpoint={run / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", checkpoint, "--evaluation=Reconstruction", *common]) == 0
    assert "Masked reconstruction on digits" in capsys.readouterr().out
    results = json.loads((run / "reconstruction" / "results.json").read_text())
    assert results["values"] == ["masked_mse", "mean_mse"]
    assert results["higher_is_better"] is False
    assert (run / "reconstruction" / "reconstruction.png").is_file()
    assert main(["report", str(run)]) == 0
    assert "2 blocks make of that" in (run / "report.html").read_text()
