"""Losses, gradients and weights that are no numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import BlockwiseModule, UserError
from blocklearn.blocks import finite
from blocklearn.callbacks.export_backbone import ExportBackbone
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.training.finite import FiniteWatch


class Spoil(Callback):
    """Makes a gradient of one block no number at some batches, where the loss is finite."""

    def __init__(self, block: int, steps: tuple[int, ...], value: float = float("nan")) -> None:
        self.block, self.steps, self.value = block, steps, value

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        parameter = next(pl_module.walked[self.block].parameters())
        self.hook = parameter.register_hook(
            lambda grad: grad * self.value if trainer.global_step in self.steps else grad
        )

    def on_exception(self, *_: Any) -> None:
        self.hook.remove()

    def on_fit_end(self, *_: Any) -> None:
        self.hook.remove()


class SpoilInput(Callback):
    """Makes the input of one batch no number, so that every block's loss and running statistics
    would be."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            batch.views[0][0] = float("nan")


class States(Callback):
    def __init__(self) -> None:
        self.by_step: dict[int, dict[str, torch.Tensor]] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.by_step[trainer.global_step] = weights(pl_module)


def train(folder: Path, *callbacks: Callback, **changes: Any) -> BlockwiseModule:
    torch.manual_seed(0)
    network = small_network(noise="all", **changes)
    trainer = small_trainer(
        folder, max_epochs=2, callbacks=[*callbacks], enable_checkpointing=True, log_every_n_steps=1
    )
    trainer.fit(network, datamodule=small_data())
    return network


def of_block(state: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(f"blocks.{number}.")}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_no_number_stops_the_run_before_it_is_used(
    tmp_path: Path, value: float, clip: float | None
) -> None:
    kept, states = LastCheckpoint(tmp_path), States()
    callbacks = [
        Spoil(1, (5,), value),
        states,
        kept,
        ExportBackbone(tmp_path / "backbone.safetensors"),
    ]
    with pytest.raises(
        UserError,
        match=r"block2 \(layer2\): the gradient is not finite at batch 5; nothing was updated",
    ):
        train(tmp_path, *callbacks, gradient_clip_norm=clip)
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["global_step"] == 4, "the checkpoint of the first epoch"
    assert all(torch.isfinite(tensor).all() for tensor in content["state_dict"].values())
    assert not (tmp_path / "backbone.safetensors").exists()


def test_skipping_drops_one_blocks_update_and_leaves_the_others_bit_identical(
    tmp_path: Path,
) -> None:
    whole, skipping = States(), States()
    train(tmp_path, whole)
    network = train(tmp_path, skipping, Spoil(3, (5,)), non_finite="skip")
    assert network.watch.skipped == {"block4": 1}
    for step in range(1, 9):
        for block in range(3):
            assert same_weights(
                of_block(whole.by_step[step], block), of_block(skipping.by_step[step], block)
            )
    last = [of_block(skipping.by_step[step], 3) for step in (5, 6, 7)]
    assert same_weights(*last[:2]), "weights and running statistics stay"
    assert not same_weights(*last[1:]), "and the next batch is learned from again"


def test_skipping_outlives_an_input_that_is_no_number(tmp_path: Path) -> None:
    network = train(tmp_path, SpoilInput(5), non_finite="skip")
    assert network.watch.skipped == {f"block{number}": 1 for number in range(1, 5)}
    assert all(torch.isfinite(tensor).all() for tensor in weights(network).values())


def test_skipping_counts_in_the_metrics_and_gives_up_after_so_many_in_a_row(tmp_path: Path) -> None:
    class Logged(Callback):
        values: list[float] = []

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.values.append(float(trainer.callback_metrics["block2/skipped"]))

    with pytest.raises(
        UserError, match=r"block2 \(layer2\): 3 updates in a row, up to batch 6, were dropped"
    ):
        train(tmp_path, Spoil(1, (1, 4, 5, 6)), Logged(), non_finite="skip", non_finite_limit=3)
    assert Logged.values == [0, 1, 1, 1, 2, 3]


@pytest.mark.parametrize("shared", [False, True])
def test_skipping_is_right_where_blocks_share_a_stage_and_gradients_accumulate(
    tmp_path: Path, shared: bool
) -> None:
    blocks = (
        [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]
        if shared
        else "per_stage"
    )
    network = train(tmp_path, SpoilInput(2), non_finite="skip", blocks=blocks, accumulate_batches=2)
    assert set(network.watch.skipped.values()) == {1}
    assert all(torch.isfinite(tensor).all() for tensor in weights(network).values())


def test_on_a_device_it_is_told_when_losses_are_read_and_nothing_bad_is_saved_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is a CPU here, taken for one that is read at intervals only."""
    monkeypatch.setattr(finite, "_on_device", lambda _: True)
    monkeypatch.setattr(BlockwiseModule, "_reads_losses", lambda self, step: step == 7)
    kept = LastCheckpoint(tmp_path)
    with pytest.raises(UserError, match=r"block2 .* at batch 7"):
        train(tmp_path, Spoil(1, (5,)), kept)
    with pytest.raises(
        UserError, match=r"not written, the one before stays: state_dict.*not finite"
    ):
        train(tmp_path / "other", Spoil(1, (2,)), kept := LastCheckpoint(tmp_path / "other"))
    assert not kept.path.exists()
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4


def test_weights_that_are_no_numbers_are_not_exported(tmp_path: Path) -> None:
    from blocklearn.interop.export import save_backbone

    network, path = small_network(), tmp_path / "backbone.safetensors"
    save_backbone(network, path)
    before = load_file(path)
    with torch.no_grad():
        next(network.walked[2].stages.parameters())[0] = float("inf")
    with pytest.raises(
        UserError, match=r"backbone.safetensors is not written: layer3\..* not finite"
    ):
        save_backbone(network, path)
    assert same_weights(before, load_file(path))


@pytest.mark.parametrize("changes", [{"policy": "hope"}, {"limit": 0}])
def test_another_policy_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="non_finite is stop or skip"):
        FiniteWatch(**changes)
