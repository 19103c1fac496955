"""`blocklearn plan`: which blocks should go to which device."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small import NARROW
from torch._subclasses.fake_tensor import FakeTensor

from blocklearn import BlockwiseModule
from blocklearn.__main__ import main
from blocklearn.blocks.costs import BlockCost, count_costs

SMALL = [
    "--config=bt_digits.yaml",
    *NARROW,
    "--data.batch_size=16",
    "--data.image_size=32",
]


def plan(*changes: str) -> int:
    return main(["plan", *SMALL, *changes])


def words(text: str) -> str:
    return " ".join(text.split())


def test_blocks_and_ranks_are_shown_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan("--devices=2") == 0
    printed = words(capsys.readouterr().out)
    assert "Of one step" in printed
    assert all(f"block{k} │ layer{k}" in printed for k in range(1, 5))
    assert "2 ranks" in printed
    assert "Counted, not measured" in printed
    assert "Predicted: block-parallel on 2 devices makes 1." in printed
    assert "--trainer.strategy block_parallel --trainer.devices 2" in printed
    assert list(tmp_path.iterdir()) == []


def test_the_file_holds_what_is_shown_and_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert plan("--devices=3", f"--out={tmp_path / name}") == 0
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()
    found = json.loads((tmp_path / "one").read_text())
    assert not found["measured"]
    blocks, ranks = found["blocks"], found["ranks"]
    assert [name for rank in ranks for name in rank["blocks"]] == [b["name"] for b in blocks]
    assert sum(rank["flops"] for rank in ranks) == sum(block["flops"] for block in blocks)
    total, slowest = (f(rank["flops"] for rank in ranks) for f in (sum, max))
    assert found["speed_up"] == pytest.approx(total / slowest)
    assert len(found["borders"]) == 2
    by_name = {block["name"]: block for block in blocks}
    for rank in ranks:
        own = [by_name[name] for name in rank["blocks"]]
        kept = sum(block["weight_bytes"] + block["optimizer_bytes"] for block in own)
        views = 2 * 16 * 3 * 32 * 32 * 4 if rank is ranks[0] else 0
        assert rank["bytes"] == kept + views + max(block["activation_bytes"] for block in own)
    for border in found["borders"]:
        assert border["bytes"] == by_name[border["after"]]["sent_bytes"]
        assert border["gbit_per_s"] == pytest.approx(border["bytes"] * 8e-9 / (slowest / 1e14))


def test_every_replica_has_its_part_of_a_batch(tmp_path: Path) -> None:
    assert plan("--devices=2", f"--out={tmp_path / 'one'}") == 0
    assert plan("--devices=4", "--data_parallel=2", f"--out={tmp_path / 'two'}") == 0
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one", "two"))
    assert len(two["ranks"]) == 2
    assert two["speed_up"] > 1.5 * one["speed_up"]
    for whole, half in zip(one["borders"], two["borders"], strict=True):
        assert whole["bytes"] == 2 * half["bytes"]


def test_measured_blocks_are_timed_and_the_first_rank_makes_the_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    flags = ["--trainer.accelerator=cpu", "--data.num_workers=0", "--data.resident=false"]
    assert plan("--devices=2", "--measure=true", f"--out={out}", *flags) == 0
    assert "Rank 0 also makes every batch itself" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["measured"]
    assert found["loading_seconds"] > 0
    seconds = [block["seconds"] for block in found["blocks"]]
    assert all(second > 0 for second in seconds)
    first, last = found["ranks"]
    count = len(first["blocks"])
    assert first["seconds"] == pytest.approx(sum(seconds[:count]) + found["loading_seconds"])
    assert last["seconds"] == pytest.approx(sum(seconds[count:]))


def test_data_that_is_not_there_is_counted_by_its_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, not_there = tmp_path / "there", tmp_path / "not_there"
    data = ["--data=ImageFolder", f"--data.root={tmp_path / 'none'}"]
    shape = ["--data=Synthetic", "--data.num_images=32"]
    recipe = ["--data.recipe=BarlowTwinsViews", "--data.batch_size=16"]
    assert plan(*shape, *recipe, "--devices=2", f"--out={there}") == 0
    assert "not at hand" not in capsys.readouterr().out
    assert plan(*data, *recipe, "--devices=2", f"--out={not_there}") == 0
    printed = words(capsys.readouterr().out)
    assert "The data is not at hand" in printed
    assert "for random inputs of (3, 32, 32) instead" in printed
    assert there.read_text() == not_there.read_text()


def test_counting_builds_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published recipe's would take 2.4 GB, with gradients and moments more."""
    seen: list[torch.Tensor] = []

    def look(network: BlockwiseModule, *args: Any) -> list[BlockCost]:
        seen.extend([*network.parameters(), *network.buffers()])
        return count_costs(network, *args)

    monkeypatch.setattr("blocklearn.cli.plan.count_costs", look)
    assert plan("--devices=2") == 0
    assert len(seen) > 20
    assert all(isinstance(tensor, FakeTensor) for tensor in seen)


def test_tokens_that_are_hidden_are_not_sent(tmp_path: Path) -> None:
    small = "{img_size: 32, patch_size: 8, embed_dim: 48, depth: 2, num_heads: 2}"
    masked = ["--model.backbone=vit_tiny_patch16_224", "--model.blocks=2"]
    masked += [f"--model.network.backbone_kwargs={small}", "--model.mask=RandomMask"]
    masked += ["--model.objective=MaskedReconstruction", "--model.objective.depth=1"]
    assert plan("--devices=2", *masked, f"--out={tmp_path / 'plan'}") == 0
    found = json.loads((tmp_path / "plan").read_text())
    visible, class_token, views = 4, 1, 2
    tokens = views * 16 * ((visible + class_token) * 48 * 4 + visible * 8)  # and positions
    assert [border["bytes"] for border in found["borders"]] == [tokens + 2 * 16 * 8]


def test_a_run_in_float64_has_and_sends_twice_as_much(tmp_path: Path) -> None:
    for precision in ("32", "64-true"):
        out = f"--out={tmp_path / precision}"
        assert plan("--devices=2", f"--trainer.precision={precision}", out) == 0
    assert torch.get_default_dtype() == torch.float32
    half, whole = (json.loads((tmp_path / name).read_text()) for name in ("32", "64-true"))
    labels = 2 * 16 * 8
    for one, two in zip(half["borders"], whole["borders"], strict=True):
        assert two["bytes"] - labels == 2 * (one["bytes"] - labels)
    for one, two in zip(half["blocks"], whole["blocks"], strict=True):
        assert two["gradient_bytes"] == 2 * one["gradient_bytes"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ["--devices=5"],
            "plan: 5 ranks are too many for 4 blocks: at most 4 ranks can have one",
        ),
        (
            ["--devices=2", "--model.blocks=end_to_end"],
            "2 ranks are too many for 1 block: at most 1 rank can have one; --model.blocks "
            "per_unit gives 4 blocks",
        ),
        (
            ["--devices=2", "--model.blocks=[[layer1,layer2],[layer2,layer3],[layer3,layer4]]"],
            "2 ranks are too many for 3 blocks, 2 of which share a stage with another",
        ),
        (["--devices=0"], "plan: --devices 0 do not divide among --data_parallel 1"),
        (
            ["--devices=3", "--data_parallel=2"],
            "plan: --devices 3 do not divide among --data_parallel 2",
        ),
        (
            ["--devices=3", "--data_parallel=3"],
            "plan: --data.batch_size 16 does not divide among --data_parallel 3",
        ),
        (["--devices=2", "--out=none/plan.json"], "--out: "),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    changes: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(*changes) == 1
    printed = capsys.readouterr().err.strip()
    assert len(printed.splitlines()) == 1
    assert told in printed
