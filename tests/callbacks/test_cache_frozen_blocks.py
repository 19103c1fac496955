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
from blocklearn.objectives import LocalBatch

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
    needs_images = True


class HandsOn(PatchInfoNCE):
    def hand_on(self, local: LocalBatch) -> dict[str, Any]:
        return {"mask": None}


@pytest.mark.parametrize("kind", [WithImages, HandsOn])
def test_objectives_that_need_more_than_stored_features_are_refused(
    tmp_path: Path, kind: type[PatchInfoNCE]
) -> None:
    network = small_network(
        objective=partial(kind, steps=1), schedule=SequentialSchedule(), small_stem=True
    )
    with pytest.raises(UserError, match=f"the {kind.__name__} of block1 needs the images or hands"):
        small_trainer(tmp_path, callbacks=[CacheFrozenBlocks()]).fit(
            network, datamodule=small_data(fixed_views=True, image_size=32)
        )
