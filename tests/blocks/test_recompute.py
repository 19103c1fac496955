"""What backward computes again changes what is kept, and nothing else."""

import argparse
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from masked import DECODER, KINDS, SMALL
from small import per_block, small_batch, small_data, small_network, small_trainer, weights
from torch import nn

from benchmarks.growth import held_megabytes
from benchmarks.ways_to_train import BASELINE, OURS, UNITS, VIEWS, add_arguments
from blocklearn import BlockwiseModule, UserError
from blocklearn.backbones.stage import Stage
from blocklearn.blocks import finite
from blocklearn.blocks.lazy_views import LazyViews, ViewFeatures
from blocklearn.blocks.live_bytes import LiveBytes
from blocklearn.blocks.recompute import _cheap_runs, _units
from blocklearn.training.contract import Carried, Clock

WAYS = ["cheap", "views", "units"]
MASKED: dict[str, Any] = {
    **KINDS["images"],
    "backbone_kwargs": {**SMALL, "img_size": 32, "patch_size": 8, "drop_path_rate": 0.2},
    "objective": DECODER,
    "blocks": 2,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet": {},
    "end to end": {"blocks": "end_to_end"},
    "drop path and dropout": {
        "backbone_kwargs": {"layers": [1, 1, 1, 1], "channels": [8] * 4, "drop_path_rate": 0.5}
    },
    "overlapping": {"blocks": [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]},
    "vit": {
        "backbone": "vit_tiny_patch16_224",
        "backbone_kwargs": {"img_size": 32, "depth": 2, "embed_dim": 12},
    },
    "masked tokens": MASKED,
}


def train(folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    seed_everything(0, verbose=False)
    network = small_network(**changes)
    small_trainer(folder, max_epochs=1).fit(network, datamodule=small_data(num_images=16))
    return {name: value.clone() for name, value in weights(network).items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_way_ends_with_the_same_weights_and_statistics_bitwise(
    name: str, tmp_path: Path
) -> None:
    changes = {"noise": "all", **NETWORKS[name]}
    kept = train(tmp_path, recompute="nothing", **changes)
    for way in WAYS:
        again = train(tmp_path, recompute=way, **changes)
        assert {key for key in kept if not torch.equal(kept[key], again[key])} == set(), way


def peak_of_a_step(recompute: Any, **changes: Any) -> int:
    torch.manual_seed(0)
    network, batch = (
        small_network(recompute=recompute, noise="all", **changes),
        small_batch(8, pixels=96),
    )
    with LiveBytes() as live:
        live.known(*network.parameters(), *network.buffers(), *batch.views)
        carried = Carried(batch.views)
        for block in network.walked:
            output = block.local_step(carried, batch, Clock(0))
            output.loss.backward()
            block.zero_grad()
            carried = output.carried
    return live.peak


def test_every_way_holds_less_than_keeping_all() -> None:
    kwargs = {"layers": [3, 3, 1, 1], "channels": [8, 8, 16, 16]}
    peaks = [peak_of_a_step(way, backbone_kwargs=kwargs) for way in ("nothing", *WAYS)]
    nothing, cheap, views, units = peaks
    assert cheap < 0.85 * nothing
    assert views < 0.9 * cheap
    assert units < cheap


def test_a_step_of_the_published_recipe_holds_less_than_half_of_what_end_to_end_holds() -> None:
    """ResNet-50 at 224 px, counted on fake tensors; with whole views or units computed again, less
    than 0.3."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    settings = parser.parse_args(["--batch_size", "8", "--width", "128"])
    held = {way: held_megabytes(way, settings) for way in (BASELINE, OURS, VIEWS, UNITS)}
    assert held[OURS] < 0.5 * held[BASELINE]
    assert held[VIEWS] < 0.3 * held[BASELINE]
    assert held[UNITS] < 0.3 * held[BASELINE]


def test_one_way_a_block() -> None:
    ways = per_block(recompute=["nothing", "cheap", "views", "units"])
    network = small_network(per_block=ways)
    assert [block.settings.recompute for block in network.walked] == [
        "nothing",
        "cheap",
        "views",
        "units",
    ]


def test_an_unknown_way_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        UserError, match="recompute is one of nothing, cheap, views, units, got 'view'"
    ):
        small_network(recompute="view")


def names(stage: Stage, runs: Any) -> list[tuple[list[str], bool]]:
    called = {module: name for name, module in stage.named_children()}
    return [([called[module] for module in run], again) for run, again in runs(stage)]


def test_cheap_is_the_stem_up_to_its_pooling_and_units_are_residual_units() -> None:
    first, second = (block.stages[0] for block in small_network().walked[:2])
    stem = ["conv1", "bn1", "act1", "maxpool"]
    assert names(first, _cheap_runs) == [(stem, True), (["layer1/0"], False)]
    assert names(first, _units) == [(stem, True), (["layer1/0"], True)]
    assert names(second, _cheap_runs) == [(["layer2/0"], False)]


def test_a_dear_convolution_before_a_pooling_is_kept() -> None:
    network = small_network(backbone="vgg11_bn", backbone_kwargs={})
    for block in network.walked:
        for run, again in _cheap_runs(block.stages[0]):
            dear = [m for m in run if isinstance(m, nn.Conv2d) and m.in_channels > 4]
            assert not (again and dear)


def test_a_view_is_made_at_the_first_look_and_once() -> None:
    made: list[int] = []

    def make(number: int) -> ViewFeatures:
        made.append(number)
        return ViewFeatures(torch.full((2,), float(number)), torch.full((2,), number + 10.0))

    views = LazyViews(make, 2)
    assert (len(views), made) == (2, [])
    assert views[1].tolist() == views[-1].tolist() == [1, 1]
    assert [view.tolist() for view in views] == [[0, 0], [1, 1]]
    assert views.hand_over()[0].tolist() == [10, 10]
    assert views[:1][0].tolist() == [0, 0]
    assert made == [1, 0]
    with pytest.raises(IndexError):
        views[2]


def test_dropout_is_drawn_by_step_block_and_view_alone() -> None:
    """Neither what was drawn before, nor what the objective draws between two views, nor the order
    of the views matters."""
    block, batch = (
        small_network(**NETWORKS["drop path and dropout"]).walked[3].train(),
        small_batch(),
    )
    for (
        parameter
    ) in block.stages.parameters():  # timm begins with residual branches that are switched off
        torch.nn.init.normal_(parameter)
    view = torch.rand(64, 8, 4, 4)  # 64 coins to toss
    first, same_view = block.local_step(Carried([view, view]), batch, Clock(5)).carried.views
    torch.rand(7)
    again, _ = block.local_step(Carried([view, view]), batch, Clock(5)).carried.views
    later, _ = block.local_step(Carried([view, view]), batch, Clock(6)).carried.views
    elsewhere, _ = block.local_step(Carried([view, view]), batch, Clock(5, rank=1)).carried.views
    assert torch.equal(first, again)
    assert not any(torch.equal(first, other) for other in (same_view, later, elsewhere))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "masked tokens"])
def test_a_compiled_network_learns_the_same_to_rounding(name: str, tmp_path: Path) -> None:
    changes = {"noise": "all", "recompute": "views", **NETWORKS[name]}
    eager, compiled = (train(tmp_path, compile=on, **changes) for on in (False, True))
    torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)


def test_compiling_keeps_names_and_compiles_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[nn.Module] = []
    monkeypatch.setattr(Stage, "compile", lambda self: called.append(self))
    plain, compiled = small_network(), small_network(compile=True)
    assert called == [stage for block in compiled.walked for stage in block.stages]
    assert list(plain.state_dict()) == list(compiled.state_dict())


def test_a_step_asks_the_device_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a number (`aten._local_scalar_dense`) is what makes a host wait for its device. On a
    CPU losses and gradients are looked at in every step; on a GPU only where metrics are read
    anyway, as here."""

    class Asked(LiveBytes):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if "local_scalar" in str(func) or "is_nonzero" in str(func):
                asked.append("".join(traceback.format_stack(limit=6)))
            return super().__torch_dispatch__(func, types, args, kwargs)

    asked: list[str] = []
    monkeypatch.setattr(finite, "_on_device", lambda _: True)
    monkeypatch.setattr(BlockwiseModule, "_reads_losses", lambda self, step: False)
    original = BlockwiseModule.training_step

    def watched(self: BlockwiseModule, batch: Any, batch_idx: int) -> None:
        with Asked():
            original(self, batch, batch_idx)

    monkeypatch.setattr(BlockwiseModule, "training_step", watched)
    network = small_network(
        noise="all", optimizer=torch.optim.SGD, **NETWORKS["drop path and dropout"]
    )
    small_trainer(tmp_path, log_every_n_steps=100).fit(
        network, datamodule=small_data(num_images=32)
    )
    assert asked == []
