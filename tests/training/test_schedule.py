"""Which block learns when, with a real Trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from small import StopAt, same_weights, small_data, small_network, small_trainer, weights

from blocklearn import (
    BlockwiseModule,
    SequentialSchedule,
    SimultaneousSchedule,
    UserError,
    WarmupCosine,
)
from blocklearn.callbacks import CacheFrozenBlocks
from blocklearn.training.contract import Carried


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.5)


class Watch(Callback):
    """What changes from batch to batch, buffers included."""

    def __init__(self) -> None:
        self.learning: list[set[int]] = []
        self.rates: list[list[float]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.before = [weights(block) for block in pl_module.walked]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        after = [weights(block) for block in pl_module.walked]
        changed = zip(self.before, after, strict=True)
        self.learning.append(
            {k for k, (old, new) in enumerate(changed) if not same_weights(old, new)}
        )
        self.rates.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])


def train(
    folder: Path, epochs: int, *callbacks: Callback, data: Any = None, **changes: Any
) -> BlockwiseModule:
    seed_everything(0, verbose=False)
    network = small_network(**{"optimizer": sgd, **changes})
    trainer = small_trainer(folder, max_epochs=epochs, callbacks=list(callbacks))
    trainer.fit(network, datamodule=data or small_data())  # 4 batches an epoch
    return network


def test_simultaneous_is_all_batches_for_every_block() -> None:
    assert all(SimultaneousSchedule().window(block, 4, 10, 35) == range(35) for block in range(4))


def test_sequential_windows_follow_each_other_and_fall_between_epochs() -> None:
    assert [SequentialSchedule().window(k, 4, 10, 80) for k in range(4)] == [
        range(20),
        range(20, 40),
        range(40, 60),
        range(60, 80),
    ]
    assert [SequentialSchedule([1, 1, 2, 4]).window(k, 4, 10, 160)[0] for k in range(4)] == [
        0,
        20,
        40,
        80,
    ]
    assert [len(SequentialSchedule().window(k, 4, 10, 70)) for k in range(4)] == [20, 20, 10, 20]
    short = [SequentialSchedule().window(k, 4, 10, 6) for k in range(4)]
    assert [step for window in short for step in window] == list(range(6))


def test_sequential_refuses_shares_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="positive shares"):
        SequentialSchedule([1, 0])
    with pytest.raises(UserError, match="2 shares for 4 blocks"):
        SequentialSchedule([1, 1]).window(0, 4, 10, 40)


def test_sequential_trains_one_block_to_its_end_then_the_next(tmp_path: Path) -> None:
    watch = Watch()
    train(
        tmp_path,
        4,
        watch,
        schedule=SequentialSchedule(),
        lr_schedule=WarmupCosine(warmup_epochs=0.5),
    )
    assert watch.learning == [{step // 4} for step in range(16)]
    for step, rates in enumerate(watch.rates):
        # a warm-up and a decay of its own
        expected = 0.5 * WarmupCosine(warmup_epochs=0.5).factor(step % 4, 4, 4)
        assert rates[step // 4] == pytest.approx(expected)


def test_a_frozen_block_hands_on_without_noise(tmp_path: Path) -> None:
    handed: list[bool] = []

    class Compare(Callback):
        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            first, second = pl_module.walked[:2]
            if trainer.global_step - 1 in pl_module.window(second):
                handed.append(
                    torch.equal(
                        first.pass_on(Carried(batch.views), batch).views[0], first(batch.views[0])
                    )
                    and not first.training
                )

    train(tmp_path, 4, Compare(), schedule=SequentialSchedule(), noise="all")
    assert handed == [True] * 4


def test_a_stop_epoch_ends_a_blocks_learning_and_its_curve(tmp_path: Path) -> None:
    watch = Watch()
    train(tmp_path, 3, watch, stop_epochs=[1, None, 2, None], lr_schedule=WarmupCosine(0))
    assert watch.learning == [{0, 1, 2, 3}] * 4 + [{1, 2, 3}] * 4 + [{1, 3}] * 4
    curve = WarmupCosine(0)
    assert [rates[0] for rates in watch.rates[:4]] == pytest.approx(
        [0.5 * curve.factor(k, 4, 4) for k in range(4)]
    )
    assert [rates[1] for rates in watch.rates] == pytest.approx(
        [0.5 * curve.factor(k, 4, 12) for k in range(12)]
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_cached_features_of_frozen_blocks_change_nothing(tmp_path: Path, workers: int) -> None:
    data = {"fixed_views": True, "num_workers": workers}
    plain = train(tmp_path, 4, schedule=SequentialSchedule(), noise="all", data=small_data(**data))
    cached = train(
        tmp_path,
        4,
        CacheFrozenBlocks(),
        schedule=SequentialSchedule(),
        noise="all",
        data=small_data(**data),
    )
    assert same_weights(weights(plain), weights(cached))
    assert not list(tmp_path.iterdir()), "the features are removed at the end"


def test_a_run_with_cached_features_runs_the_frozen_blocks_once_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blocklearn import Block

    calls: list[int] = []
    pass_on = Block.pass_on
    monkeypatch.setattr(
        Block,
        "pass_on",
        lambda block, *args: (calls.append(block.index), pass_on(block, *args))[1],
    )
    train(
        tmp_path,
        8,
        CacheFrozenBlocks(),
        schedule=SequentialSchedule(),
        data=small_data(fixed_views=True),
    )
    assert [calls.count(block) for block in range(4)] == [4, 4, 4, 0]  # 32 images in batches of 8


@pytest.mark.parametrize("stop_at", [6, 8, 10])
def test_a_run_with_cached_features_resumes_exactly(tmp_path: Path, stop_at: int) -> None:
    whole = train(tmp_path, 4, schedule=SequentialSchedule(), data=small_data(fixed_views=True))
    path = tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train(
            tmp_path,
            4,
            CacheFrozenBlocks(),
            StopAt(stop_at, path),
            schedule=SequentialSchedule(),
            data=small_data(fixed_views=True),
        )
    seed_everything(0, verbose=False)
    resumed = small_network(optimizer=sgd, schedule=SequentialSchedule())
    trainer = small_trainer(tmp_path, max_epochs=4, callbacks=[CacheFrozenBlocks()])
    trainer.fit(resumed, datamodule=small_data(fixed_views=True), ckpt_path=path, weights_only=True)
    assert same_weights(weights(whole), weights(resumed))


def test_a_cache_in_a_folder_of_the_users_leaves_what_is_there(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "precious.txt").touch()
    cache = CacheFrozenBlocks(str(own))
    train(tmp_path, 4, cache, schedule=SequentialSchedule(), data=small_data(fixed_views=True))
    assert [path.name for path in own.iterdir()] == ["precious.txt"]


def test_a_cache_of_views_that_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data.fixed_views true"):
        train(tmp_path, 4, CacheFrozenBlocks(), schedule=SequentialSchedule())


def test_a_cache_that_the_disk_has_no_room_for_says_how_much_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"need 0.0 GB, .*frozen_features.* has 0.0 GB left"):
        train(
            tmp_path,
            4,
            CacheFrozenBlocks(),
            schedule=SequentialSchedule(),
            data=small_data(fixed_views=True),
        )


def test_fixed_views_are_the_same_in_every_epoch() -> None:
    def epochs(**changes: Any) -> list[torch.Tensor]:
        data = small_data(**changes, seed=0)
        loader = data.train_dataloader()
        views = []
        for epoch in range(2):
            loader.keyed_sampler.set_epoch(epoch)
            batches = list(loader)
            order = torch.cat([batch.index for batch in batches]).argsort()
            views.append(torch.cat([batch.views[0] for batch in batches])[order])
        return views

    assert torch.equal(*epochs(fixed_views=True))
    assert not torch.equal(*epochs())
    data = small_data(fixed_views=True, seed=0)
    in_order = torch.cat([batch.views[0] for batch in data.every_training_view()])
    assert torch.equal(in_order, epochs(fixed_views=True)[0])
