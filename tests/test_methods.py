"""Every local method of `configs/methods`, on the recipe of the digits made narrow."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from ranks import run_ranks
from small import StopAt, same_weights, small_data, small_trainer, weights
from test_configs import METHODS, parser
from test_every_axis_trains import ONE_UNIT, VIT, assert_two_steps_move_every_block

from blocklearn import BlockwiseModule
from blocklearn.blocks.costs import count_costs
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.runs.run_folder import find_config

NARROW = {**ONE_UNIT, "channels": [8, 8, 8, 8], "output_stride": 8}
FAMILIES: dict[str, Any] = {
    "convnext_atto": {"dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "vit_tiny_patch16_224": {**VIT["backbone_kwargs"], "embed_dim": 24, "num_heads": 2},
}
OVERLAPPING = {"loco"}  # the loss of a block reaches the stage that it shares
every_method = pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)


def method(path: Path, backbone: str = "resnet18", **kwargs: Any) -> BlockwiseModule:
    seed_everything(0, verbose=False)
    files = ["--config", str(find_config("bt_digits.yaml")), "--config", str(path)]
    changes = [
        f"--model.backbone={backbone}",
        f"--model.network.backbone_kwargs={kwargs or NARROW}",
        "--model.lr_schedule.warmup_epochs=0",
    ]
    return parser().instantiate(parser().parse_args([*files, *changes])).model


def data(image_size: int = 32) -> Any:
    return small_data(batch_size=8, num_images=16, image_size=image_size)


@every_method
def test_a_method_is_counted_takes_two_steps_and_its_losses_stay_in_their_blocks(
    path: Path, tmp_path: Path
) -> None:
    network = method(path)
    samples = data()
    samples.setup("fit")
    rows = measure_reach(network, samples.few_samples(6))
    reached = [[norm is not None for norm in row.norms] for row in rows]
    allowed = int(path.stem in OVERLAPPING)
    for i, row in enumerate(reached):
        assert row[i]
        assert not any(row[: max(i - allowed, 0)]), "a loss reaches an earlier block"
        assert not any(row[i + 1 :]), "a loss reaches a later block"
    costs = count_costs(network, samples.few_samples(2), 8)
    assert len(costs) == len(network.walked)
    assert all(cost.flops > 0 for cost in costs)
    assert_two_steps_move_every_block(network, tmp_path, data())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@every_method
def test_a_method_takes_two_steps_on_other_families(path: Path, name: str, tmp_path: Path) -> None:
    if path.stem in OVERLAPPING:
        pytest.skip("its blocks are named after the stages of a ResNet")
    images = data(96 if name.startswith("convnext") else 32)  # the last map has 3 x 3 positions
    assert_two_steps_move_every_block(method(path, name, **FAMILIES[name]), tmp_path, images)


@pytest.mark.slow
@every_method
def test_a_method_goes_on_as_if_it_had_not_been_stopped(path: Path, tmp_path: Path) -> None:
    def fit(*callbacks: Any, resume: Path | None = None) -> Any:
        network = method(path)
        trainer = small_trainer(tmp_path, max_epochs=3, callbacks=list(callbacks))
        trainer.fit(network, datamodule=data(), ckpt_path=resume, weights_only=True)
        return weights(network)

    whole, stopped = fit(), tmp_path / "stopped.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        fit(StopAt(3, stopped))
    assert same_weights(whole, fit(resume=stopped))


@pytest.mark.slow
def test_a_method_whose_blocks_share_nothing_learns_the_same_on_two_processes(
    tmp_path: Path,
) -> None:
    from methods_on_ranks import __file__ as script
    from methods_on_ranks import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = train(tmp_path)
    torch.set_num_threads(threads)
    first, second = run_ranks(script, tmp_path, tmp_path, 2, timeout=550)
    assert len(alone) >= 20
    for name, kept in alone.items():
        together = {**first[name], **second[name]}
        assert together.keys() == kept.keys(), name
        assert len(first[name]) < len(kept) > len(second[name]), "neither has all of them"
        different = [key for key in kept if not torch.equal(kept[key], together[key])]
        assert not different, (name, different)
