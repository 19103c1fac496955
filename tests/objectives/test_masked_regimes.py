"""Masked reconstruction in every way of training: what blocks see, and what stays the same."""

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from masked import DECODER, KINDS, masked_batch, masked_data, masked_network
from small import StopAt, same_weights, small_trainer, weights
from torch import Tensor

from blocklearn import BlockwiseModule, SequentialSchedule
from blocklearn.blocks.features import stage_features
from blocklearn.callbacks import CacheFrozenBlocks
from blocklearn.masks import BlockMask, Mask
from blocklearn.objectives import LocalBatch, MaskedReconstruction, ObjectiveOutput
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.training.contract import Carried, Clock

Seen = dict[tuple[bool, int, int], list[list[Tensor]]]  # by training, epoch, sample: of every block


def train(
    folder: Path,
    kind: str = "images",
    callbacks: Any = (),
    resume: Path | None = None,
    seed: int = 0,
    data: Any = None,
    trainer: dict[str, Any] | None = None,
    **changes: Any,
) -> BlockwiseModule:
    """Three epochs of two batches."""
    seed_everything(seed, verbose=False)
    network = masked_network(kind, lr_schedule=ConstantLR(), **changes)
    settings = {"max_epochs": 3, "callbacks": list(callbacks), **(trainer or {})}
    small_trainer(folder, **settings).fit(
        network,
        datamodule=masked_data(kind, **(data or {})),
        ckpt_path=resume,
        weights_only=True,
    )
    return network


class Noting(MaskedReconstruction):
    """Notes which tokens of every sample it was told to be visible."""

    seen: Seen = {}

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        clock, batch = local.clock, local.batch
        for row, index in enumerate(batch.index.tolist()):
            key = (clock.learning, clock.epoch, index)
            self.seen[key].append([visible[row] for visible in batch.visible])
        return super().forward(local)


def noted(folder: Path, **changes: Any) -> Seen:
    Noting.seen = defaultdict(list)
    train(folder, objective=partial(Noting, **DECODER.keywords), **changes)
    return Noting.seen


def of_first_block(seen: Seen, learning: bool = True) -> dict[tuple[int, int], list[list[int]]]:
    return {
        (epoch, index): [view.tolist() for view in blocks[0]]
        for (learns, epoch, index), blocks in seen.items()
        if learns == learning
    }


def test_all_blocks_see_one_mask_another_in_every_epoch_sample_and_view(tmp_path: Path) -> None:
    seen = noted(tmp_path)
    for blocks in seen.values():
        assert len(blocks) == 3
        assert all(
            torch.equal(own, first)
            for views in blocks
            for own, first in zip(views, blocks[0], strict=True)
        )
    masks = of_first_block(seen)
    assert {len(visible) for views in masks.values() for visible in views} == {4}
    drawn = [tuple(visible) for views in masks.values() for visible in views]
    assert len(drawn) == 3 * 8 * 2
    assert len(set(drawn)) > 0.9 * len(drawn)  # of 1820 that there are


def test_the_mask_of_another_run_is_the_same_for_its_seed_alone(tmp_path: Path) -> None:
    first = of_first_block(noted(tmp_path))
    assert of_first_block(noted(tmp_path, data={"batch_size": 2})) == first
    other = of_first_block(noted(tmp_path, seed=1))
    assert sum(other[key] == mask for key, mask in first.items()) <= 1


def test_a_resumed_run_sees_the_masks_that_it_would_have_seen(tmp_path: Path) -> None:
    whole = of_first_block(noted(tmp_path))
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, callbacks=[StopAt(3, tmp_path / "cut.ckpt")])
    resumed = of_first_block(noted(tmp_path, resume=tmp_path / "cut.ckpt"))
    assert len(resumed) == 4 + 8  # half an epoch, and one
    assert all(whole[key] == mask for key, mask in resumed.items())


def test_validation_sees_the_same_masks_every_time(tmp_path: Path) -> None:
    seen = noted(
        tmp_path, trainer={"limit_val_batches": 1.0, "num_sanity_val_steps": 0, "max_epochs": 2}
    )
    ((index, blocks), *_) = [(i, b) for (learns, _, i), b in seen.items() if not learns]
    assert len(blocks) == 3 * 2, f"blocks and epochs of sample {index}"
    assert all(torch.equal(views[0], blocks[0][0]) for views in blocks)
    assert len({tuple(views[0]) for views in of_first_block(seen, False).values()}) > 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", [None, BlockMask(0.5)], ids=["usual", "block-wise"])
def test_masked_pixels_reach_no_feature_and_visible_ones_do(kind: str, mask: Mask | None) -> None:
    torch.manual_seed(0)
    network = masked_network(kind, **({"mask": mask} if mask else {}), recompute="nothing").eval()
    tokens, batch = network.masked_tokens, network.masked(masked_batch(kind))
    assert tokens is not None
    (view,), (visible,) = batch.views, batch.visible
    before = features_behind_blocks(network, batch.views, batch)
    hidden = torch.ones(len(view), tokens.count, dtype=torch.bool).scatter(1, visible, False)
    patches = tokens.patches(view)
    painted = patches.where(~hidden.unsqueeze(2), torch.full_like(patches, float("nan")))
    after = features_behind_blocks(network, [tokens.view(painted)], batch)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    for sample in range(len(view)):
        patches = tokens.patches(view)
        patches[sample, visible[sample, -1]] += 1
        moved = features_behind_blocks(network, [tokens.view(patches)], batch)
        for one, other in zip(before, moved, strict=True):
            differs = (one != other).flatten(1).any(dim=1)
            assert differs.nonzero().flatten().tolist() == [sample]


def features_behind_blocks(
    network: BlockwiseModule, views: list[Tensor], batch: Any
) -> list[Tensor]:
    carried, found = Carried(views), []
    for block in network.walked:
        carried = block.pass_on(carried, batch)
        found.append(carried.views[0])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_sees_all_tokens(kind: str) -> None:
    torch.manual_seed(0)
    masked = masked_network(kind).eval()
    torch.manual_seed(0)
    plain = masked_network(kind, mask=None).eval()
    (view,) = masked_batch(kind).views
    assert same_weights(weights(masked), weights(plain))
    found, expected = (list(stage_features(n.walked, view)) for n in (masked, plain))
    assert len(found) >= 3
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert masked.masked_tokens is not None
    prefix = masked.walked[0].spec.prefix_tokens
    assert masked(view).shape[1] == prefix + masked.masked_tokens.count


WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "simultaneous": ("images", {}),
    "of clips": ("clips", {}),
    "sequential": ("clips", {"schedule": SequentialSchedule()}),
    "end to end": ("images", {"blocks": "end_to_end"}),
    "accumulated": ("clips", {"accumulate_batches": 2}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_resumed_in_mid_epoch_ends_with_the_same_weights(tmp_path: Path, way: str) -> None:
    kind, changes = WAYS[way]
    whole = train(tmp_path, kind, **changes)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, kind, [StopAt(3, tmp_path / "cut.ckpt")], **changes)
    resumed = train(tmp_path, kind, resume=tmp_path / "cut.ckpt", **changes)
    assert same_weights(weights(whole), weights(resumed))


@pytest.mark.parametrize("kind", KINDS)
def test_cached_features_of_visible_tokens_change_nothing(tmp_path: Path, kind: str) -> None:
    way: dict[str, Any] = {"schedule": SequentialSchedule(), "data": {"fixed_views": True}}
    plain = train(tmp_path, kind, **way)
    cached = train(tmp_path, kind, [CacheFrozenBlocks()], **way)
    assert same_weights(weights(plain), weights(cached))


def test_where_views_are_fixed_so_are_masks(tmp_path: Path) -> None:
    masks = of_first_block(noted(tmp_path, data={"fixed_views": True}))
    assert all(masks[0, index] == masks[2, index] for index in range(8))


def test_a_stand_in_for_an_unreadable_sample_has_its_own_mask(tmp_path: Path) -> None:
    data = {"unreadable": (3,)}
    masks, whole = (of_first_block(noted(tmp_path, kind="clips", data=d)) for d in (data, None))
    assert 3 not in {index for _, index in masks}
    assert all(whole[key] == mask for key, mask in masks.items())


def test_gradients_of_accumulated_batches_are_those_of_their_mean() -> None:
    torch.manual_seed(0)
    network, batch = masked_network().double(), masked_batch(samples=4)
    whole = network.masked(batch._replace(views=[batch.views[0].double()]), Clock())
    halves = [
        whole._replace(
            views=[whole.views[0][part]],
            index=whole.index[part],
            label=whole.label[part],
            visible=[whole.visible[0][part]],
        )
        for part in (slice(2), slice(2, 4))
    ]
    block = network.walked[0]
    found = []
    for batches in ([whole], halves):
        for one in batches:
            loss = block.local_step(Carried(one.views), one, Clock()).loss / len(batches)
            loss.backward()
        found.append({name: p.grad for name, p in block.named_parameters() if p.grad is not None})
        block.zero_grad()
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-15)


def test_more_than_one_view_is_the_mean_over_views() -> None:
    torch.manual_seed(0)
    network, batch = masked_network(), masked_batch()
    views = [batch.views[0], batch.views[0].flip(-1)]
    both = network.masked(batch._replace(views=views))
    assert not torch.equal(both.visible[0], both.visible[1])
    block = network.walked[0]
    loss = block.local_step(Carried(views), both).loss
    single = [
        block.local_step(Carried([view]), both._replace(views=[view], visible=[visible])).loss
        for view, visible in zip(views, both.visible, strict=True)
    ]
    torch.testing.assert_close(loss, torch.stack(single).mean())


def test_it_learns_to_be_better_than_the_mean(tmp_path: Path) -> None:
    logged: dict[str, Any] = {}

    class Look(StopAt):
        def on_train_end(self, trainer: Any, *_: Any) -> None:
            logged.update(trainer.callback_metrics)

    train(
        tmp_path,
        "clips",
        [Look(-1, tmp_path)],
        trainer={"max_epochs": 25, "log_every_n_steps": 1},
        objective=partial(DECODER, normalise=False),
        optimizer=partial(torch.optim.AdamW, lr=2e-2),
    )
    for block in ("block1", "block2", "block3"):
        assert logged[f"{block}/masked_mse"] < 0.85 * logged[f"{block}/mean_mse"], logged
