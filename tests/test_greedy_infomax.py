"""Greedy InfoMax on the walk: images in patches, and speech with an autoregressive module."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from small import StopAt, same_weights, small_data, small_trainer, weights
from sounds import write_librispeech, write_spoken_digits

from blocklearn import (
    BlockwiseModule,
    FrameSupervised,
    Patches,
    PatchInfoNCE,
    RecurrentContext,
    SequentialSchedule,
    SimultaneousSchedule,
    Supervised,
    TemporalInfoNCE,
    UserError,
)
from blocklearn.callbacks import CacheFrozenBlocks
from blocklearn.data import CropViews, KeyedDataModule, LibriSpeech, SpokenDigits, WindowViews
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.evaluation.linear_probe import run_linear_probe
from blocklearn.evaluation.probe_settings import ProbeSettings

CONTRAST = partial(TemporalInfoNCE, steps=3, negatives=4)
NETWORKS: dict[str, Any] = {
    "vision": partial(
        BlockwiseModule,
        partial(PatchInfoNCE, steps=2, negatives=4),
        backbone="gim_resnet34",
        backbone_kwargs={"layers": [1, 1, 1], "channels": [4, 6, 8], "in_chans": 1},
        patches=Patches(8, 4, 5),
    ),
    "speech": partial(
        BlockwiseModule,
        CONTRAST,
        backbone="gim_speech_8k",
        backbone_kwargs={"channels": 6},
        blocks=[["conv1"], ["conv2"], ["conv3"], ["conv4"], ["conv5"], []],
        objectives=[None] * 5 + [partial(CONTRAST, context=partial(RecurrentContext, hidden=5))],
    ),
}


def data_for(kind: str, folder: Path) -> KeyedDataModule:
    if kind == "speech":
        root = folder / "sounds"
        return SpokenDigits(
            root if root.exists() else write_spoken_digits(root), batch_size=4, num_workers=0
        )
    return small_data(
        image_size=24, batch_size=4, num_images=16, recipe=partial(CropViews, greyscale=True)
    )


def train(
    kind: str,
    folder: Path,
    schedule: Any = None,
    callbacks: Sequence[Callback] = (),
    ckpt_path: Path | None = None,
    epochs: int = 2,
) -> BlockwiseModule:
    seed_everything(0, verbose=False)
    network = NETWORKS[kind](schedule=schedule, optimizer=partial(torch.optim.Adam, lr=0.01))
    trainer = small_trainer(folder, max_epochs=epochs, callbacks=list(callbacks))
    trainer.fit(network, datamodule=data_for(kind, folder), ckpt_path=ckpt_path, weights_only=False)
    return network


@pytest.mark.parametrize("kind", NETWORKS)
def test_no_gradient_of_a_module_reaches_another(kind: str, tmp_path: Path) -> None:
    data = data_for(kind, tmp_path)
    data.setup("fit")
    network = NETWORKS[kind]()
    rows = measure_reach(network, next(iter(data.train_dataloader())))
    assert [[norm is not None for norm in row.norms] for row in rows] == [
        [index == other for other in range(len(network.walked))]
        for index in range(len(network.walked))
    ]
    assert not any(row.unreached for row in rows)


@pytest.mark.parametrize("schedule", [SimultaneousSchedule, SequentialSchedule])
@pytest.mark.parametrize("kind", NETWORKS)
def test_resuming_in_mid_epoch_is_exact_to_the_last_negative(
    kind: str, schedule: Any, tmp_path: Path
) -> None:
    epochs = 6 if schedule is SequentialSchedule else 2
    whole = train(kind, tmp_path, schedule(), epochs=epochs)
    path = tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train(kind, tmp_path, schedule(), [StopAt(5, path)], epochs=epochs)
    torch.manual_seed(123)
    resumed = train(kind, tmp_path, schedule(), ckpt_path=path, epochs=epochs)
    assert same_weights(weights(whole), weights(resumed))


@pytest.mark.parametrize("kind", NETWORKS)
def test_one_module_at_a_time_trains_each_to_its_end_before_the_next(
    kind: str, tmp_path: Path
) -> None:
    class Watch(Callback):
        """Which blocks moved in each epoch."""

        def __init__(self) -> None:
            self.moved: list[list[int]] = []

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.before = [weights(block) for block in pl_module.walked]

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pairs = zip(self.before, pl_module.walked, strict=True)
            self.moved.append(
                [block.index for old, block in pairs if not same_weights(old, weights(block))]
            )

    watch = Watch()
    blocks = 3 if kind == "vision" else 6
    train(kind, tmp_path, SequentialSchedule(), [watch], epochs=blocks)
    assert watch.moved == [[index] for index in range(blocks)]


def test_a_module_is_the_same_whether_or_not_later_ones_exist(tmp_path: Path) -> None:
    whole = train("speech", tmp_path)
    seed_everything(0, verbose=False)
    short = NETWORKS["speech"](
        optimizer=partial(torch.optim.Adam, lr=0.01),
        blocks=[["conv1"], ["conv2"], ["conv3"], ["conv4"], ["conv5"]],
        objectives=None,
    )
    small_trainer(tmp_path, max_epochs=2).fit(short, datamodule=data_for("speech", tmp_path))
    assert same_weights(weights(whole.blocks[:5]), weights(short.blocks))


def test_validation_draws_the_same_negatives_every_time(tmp_path: Path) -> None:
    network = NETWORKS["vision"]()
    losses = [
        small_trainer(tmp_path, limit_val_batches=2).validate(
            network, data_for("vision", tmp_path), verbose=False
        )
        for _ in range(2)
    ]
    assert losses[0] == losses[1]
    assert "block3/val_loss" in losses[0][0]


def test_grey_images_for_a_colour_backbone_are_refused_before_training(tmp_path: Path) -> None:
    network = NETWORKS["vision"](backbone_kwargs={"layers": [1, 1, 1], "channels": [4, 6, 8]})
    with pytest.raises(
        UserError, match="gim_resnet34 takes 3 channels, the data makes 1: add in_chans: 1 to"
    ):
        small_trainer(tmp_path).fit(network, datamodule=data_for("vision", tmp_path))


@pytest.mark.parametrize(
    ("kind", "other", "message"),
    [
        ("vision", "speech", "gim_resnet34 takes images, the data is sound"),
        ("speech", "vision", "gim_speech_8k takes sound, the data is images"),
    ],
)
def test_data_of_another_kind_is_refused_before_training(
    kind: str, other: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        small_trainer(tmp_path).fit(NETWORKS[kind](), datamodule=data_for(other, tmp_path))


def test_a_label_for_every_frame_is_refused_by_an_objective_that_takes_one_a_sample(
    tmp_path: Path,
) -> None:
    data = LibriSpeech(write_librispeech(tmp_path), target="phone", num_workers=0, batch_size=2)
    network = BlockwiseModule(
        partial(Supervised, num_classes=41), backbone="gim_speech", backbone_kwargs={"channels": 4}
    )
    with pytest.raises(
        UserError, match="a label for every frame, the objective takes one per sample: choose"
    ):
        small_trainer(tmp_path).fit(network, datamodule=data)


@pytest.mark.parametrize("blocks", ["per_stage", "end_to_end"])
def test_phones_train_speech_frame_by_frame(blocks: Any, tmp_path: Path) -> None:
    recipe = partial(WindowViews, window=4000)
    data = LibriSpeech(
        write_librispeech(tmp_path), target="phone", num_workers=0, batch_size=2, recipe=recipe
    )
    network = BlockwiseModule(
        partial(FrameSupervised, num_classes=41),
        backbone="gim_speech",
        backbone_kwargs={"channels": 8},
        blocks=blocks,
        optimizer=partial(torch.optim.Adam, lr=0.01),
    )
    before = weights(network)
    small_trainer(tmp_path, max_epochs=2).fit(network, datamodule=data)
    assert not any(torch.equal(before[name], p) for name, p in network.named_parameters())


def test_a_run_with_cached_frozen_blocks_can_be_probed_with_its_own_configuration(
    tmp_path: Path,
) -> None:
    data = data_for("vision", tmp_path)
    network = NETWORKS["vision"]()
    settings = ProbeSettings(epochs=1, batch_size=4)
    rows = run_linear_probe(
        network, data, settings, small_trainer(tmp_path, callbacks=[CacheFrozenBlocks()])
    )
    assert len(rows) == 3
