"""Run frozen blocks once, not in every epoch."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.callbacks.stop_on_signal import stop_early
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.stored_views import StoredViews, is_stored, store_views
from blocklearn.errors import UserError
from blocklearn.evaluation.tracked import tracked
from blocklearn.objectives.combined import Combined
from blocklearn.objectives.objective import Objective
from blocklearn.training.contract import Carried, Clock


class CacheFrozenBlocks(Callback):
    """Under a sequential schedule the blocks before the one that learns are frozen. With
    `--data.fixed_views true` their output for an image never changes, so it is computed once, kept
    on disk and read in place of the images from then on: the same result, without decoding,
    augmenting and the frozen blocks' forward pass.

    The file takes images x views x channels x height x width x 4 bytes (2 in bf16) of the last
    frozen block; where images are cut into patches, height and width are those of all patches side
    by side.

    Args:
        folder: where to make a folder `frozen_features`, which is removed when training ends; null
            for the run's folder.

    Raises:
        UserError: when training starts, without fixed views or over several processes; when the
            disk has not the room.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, BlockwiseModule):
            # a probe of the run that this callback belongs to: it freezes no blocks of its own
            return
        if trainer.world_size > 1:
            raise UserError(
                "CacheFrozenBlocks works in one process: set --trainer.devices 1, or leave the "
                "callback out"
            )
        if (
            not isinstance(trainer.datamodule, KeyedDataModule)  # pyright: ignore
            or not trainer.datamodule.fixed_views  # pyright: ignore[reportAttributeAccessIssue]
        ):  # pyright: ignore
            raise UserError(
                "CacheFrozenBlocks: the views of an image change from epoch to epoch, so there is "
                "nothing to keep; set --data.fixed_views true, or leave the callback out"
            )
        for block in pl_module.walked:
            objective = block.objective
            parts = [part for part in objective.modules() if isinstance(part, Objective)]
            hands_on = any(
                type(part).hand_on not in (Objective.hand_on, Combined.hand_on) for part in parts
            )
            if hands_on:
                raise UserError(
                    f"CacheFrozenBlocks: the {type(objective).__name__} of {block.name} hands on "
                    "more than features, which is not stored: leave the callback out"
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a run that is resumed in mid-epoch does not start one
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, BlockwiseModule):
            return
        frozen = 0
        for block in pl_module.walked:
            if trainer.global_step < pl_module.window(block).stop:
                break
            frozen += 1
        if frozen == pl_module.entry or frozen == len(pl_module.walked):
            return
        folder, fingerprint = (
            self._folder(trainer) / f"behind_block{frozen}",
            _fingerprint(pl_module, frozen),
        )
        if not is_stored(folder, fingerprint):
            images = trainer.datamodule.every_training_view()  # pyright: ignore
            store_views(
                folder,
                self._features(trainer, pl_module, images, frozen),
                len(images.dataset),
                fingerprint,
            )
        if pl_module.entry:
            shutil.rmtree(
                self._folder(trainer) / f"behind_block{pl_module.entry}", ignore_errors=True
            )
        pl_module.entry = frozen
        sampler: Any = trainer.train_dataloader.keyed_sampler  # pyright: ignore
        sampler.stored_views = folder
        sampler.images_too = any(b.objective.needs_images for b in pl_module.walked[frozen:])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, BlockwiseModule):
            return
        pl_module.entry = 0
        shutil.rmtree(self._folder(trainer), ignore_errors=True)

    def _features(
        self, trainer: Trainer, network: BlockwiseModule, images: DataLoader[Batch], frozen: int
    ) -> Iterator[Batch]:
        """The output of the last frozen block, from the last that is stored, or else from the
        images."""
        first, batches = network.entry, images
        if first:
            stored: Any = StoredViews(self._folder(trainer) / f"behind_block{first}")
            batches = DataLoader(stored, batch_size=images.batch_size)
        blocks = network.walked[first:frozen]
        for block in network.walked[:frozen]:
            block.eval()
        clock = Clock(seed=network.seed)  # of the masks
        total = -(-len(batches.dataset) // (images.batch_size or 1))  # pyright: ignore
        for batch in tracked(f"Storing the output of {blocks[-1].name}", batches, total):
            stop_early(trainer)
            views = _as_handed_over(batch) if first else batch.views
            carried = Carried([view.to(network.device) for view in views])
            seen = network.masked(batch._replace(index=batch.index.to(network.device)), clock)
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                for block in blocks:
                    carried = block.pass_on(carried, seen)
            made = [view.unflatten(0, (len(batch.index), -1)) for view in carried.views]
            yield batch._replace(views=[], stored=made)

    def _folder(self, trainer: Trainer) -> Path:
        return Path(self.folder or trainer.default_root_dir) / "frozen_features"


def _as_handed_over(batch: Batch) -> list[Tensor]:
    """Stored views, `(B, rows, ...)` with what the patches of an image make along the second axis,
    as blocks hand them on, `(B * rows, ...)`."""
    return [view.flatten(0, 1) for view in batch.stored]


def _fingerprint(network: BlockwiseModule, frozen: int) -> str:
    """Of the frozen blocks' weights, so that a resumed run does not take over another's
    features."""
    digest = hashlib.sha256()
    for block in network.walked[:frozen]:
        for tensor in block.stages.state_dict().values():
            digest.update(
                tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()
