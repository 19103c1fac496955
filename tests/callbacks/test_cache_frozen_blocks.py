"""Stored features of patches: what the patches of an image make belongs to the image."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import StopAt, same_weights, small_data, small_network, small_trainer, weights

from blocklearn import BlockwiseModule, Patches, PatchInfoNCE, SequentialSchedule, UserError
from blocklearn.callbacks import CacheFrozenBlocks
from blocklearn.data.stored_views import StoredViews
from blocklearn.objectives import LocalBatch, ObjectiveOutput

GRID = 3


def train(folder: Path, *callbacks: Any, resume: Path | None = None) -> BlockwiseModule:
    seed_everything(0, verbose=False)
    network = small_network(
        objective=partial(PatchInfoNCE, steps=1, negatives=4),
        patches=Patches(size=16, stride=8, grid=GRID),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        schedule=SequentialSchedule(),
    )
    trainer = small_trainer(folder, max_epochs=4, callbacks=list(callbacks))
    trainer.fit(
        network, datamodule=small_data(fixed_views=True), ckpt_path=resume, weights_only=True
    )
    return network


def test_cached_features_of_patches_change_nothing(tmp_path: Path) -> None:
    shapes: list[torch.Size] = []

    class Watch(CacheFrozenBlocks):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_epoch_start(trainer, pl_module)
            if pl_module.entry:
                stored = StoredViews(
                    tmp_path / "frozen_features" / f"behind_block{pl_module.entry}"
                )
                shapes.append(stored[0].stored[0].shape)

    plain, cached = train(tmp_path), train(tmp_path, Watch())
    assert same_weights(weights(plain), weights(cached))
    assert [shape[:2] for shape in shapes] == [
        (GRID * GRID, 8),
        (GRID * GRID, 8),
        (GRID * GRID, 16),
    ]


def test_a_run_with_cached_patches_resumes_in_mid_epoch(tmp_path: Path) -> None:
    whole = train(tmp_path)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, CacheFrozenBlocks(), StopAt(10, tmp_path / "cut.ckpt"))
    assert same_weights(
        weights(whole), weights(train(tmp_path, CacheFrozenBlocks(), resume=tmp_path / "cut.ckpt"))
    )


class WithImages(PatchInfoNCE):
    """Its loss depends on the images, whatever stands in for the block's input."""

    needs_images = True

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        output = super().forward(local)
        brightness = torch.stack([view.abs().mean() for view in local.batch.views]).mean()
        return output._replace(loss=output.loss * brightness)


@pytest.mark.parametrize("resident", [False, True])
def test_objectives_that_look_at_images_find_them_beside_the_stored_features(
    tmp_path: Path, resident: bool
) -> None:
    def run(*callbacks: Any) -> BlockwiseModule:
        seed_everything(0, verbose=False)
        network = small_network(
            objective=partial(WithImages, steps=1, negatives=4),
            patches=Patches(size=16, stride=8, grid=GRID),
            schedule=SequentialSchedule(),
        )
        trainer = small_trainer(tmp_path, max_epochs=4, callbacks=list(callbacks))
        trainer.fit(network, datamodule=small_data(fixed_views=True, resident=resident))
        return network

    assert same_weights(weights(run()), weights(run(CacheFrozenBlocks())))


class HandsOn(PatchInfoNCE):
    def hand_on(self, local: LocalBatch) -> dict[str, Any]:
        return {"mask": None}


def test_an_objective_that_hands_on_more_than_features_is_refused(tmp_path: Path) -> None:
    network = small_network(
        objective=partial(HandsOn, steps=1), schedule=SequentialSchedule(), small_stem=True
    )
    with pytest.raises(UserError, match="the HandsOn of block1 hands on"):
        small_trainer(tmp_path, callbacks=[CacheFrozenBlocks()]).fit(
            network, datamodule=small_data(fixed_views=True, image_size=32)
        )
