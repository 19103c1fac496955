"""Invariants 3, 4 and 6, with a real Trainer."""

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from small import (
    OBJECTIVE,
    StopAt,
    same_weights,
    small_batch,
    small_data,
    small_network,
    small_trainer,
    weights,
)
from torch import nn

from blocklearn import Batch, Block, BlockwiseModule, UserError, WarmupCosine
from blocklearn.backbones.create import create_backbone
from blocklearn.backbones.cut import cut_backbone
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.objectives.objective import LocalBatch
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.training.contract import Carried, Clock
from blocklearn.training.schedule import Schedule
from blocklearn.training.update_rule import UpdateRule


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.5)


def train(
    folder: Path,
    data: Any = None,
    callbacks: Any = (),
    trainer: Any = None,
    seed: int = 0,
    **changes: Any,
) -> BlockwiseModule:
    seed_everything(seed, verbose=False)
    network = small_network(**changes)
    small_trainer(folder, callbacks=list(callbacks), **(trainer or {})).fit(
        network, datamodule=data or small_data()
    )
    return network


class Recorder(Callback):
    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.steps: list[int] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.steps.append(trainer.global_step)
        self.rates.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])


def test_every_block_is_updated(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    before = weights(small_network())
    network = train(tmp_path, trainer={"max_epochs": 2})
    changed = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize("blocks", ["per_stage", "end_to_end"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_global_step_counts_batches_and_the_rates_are_the_formula(
    tmp_path: Path, blocks: str, accumulate: int
) -> None:
    recorder = Recorder()
    train(
        tmp_path,
        callbacks=[recorder],
        trainer={"max_epochs": 3},
        blocks=blocks,
        optimizer=sgd,
        accumulate_batches=accumulate,
        lr_schedule=WarmupCosine(warmup_epochs=1),
    )
    assert recorder.steps == list(range(1, 13))
    for step, rates in enumerate(recorder.rates):
        expected = 0.5 * WarmupCosine(warmup_epochs=1).factor(step, 4, 12)
        assert rates == pytest.approx([expected] * len(rates))


def test_bfloat16_trains_every_block_and_keeps_float32_weights(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    before = weights(small_network())
    network = train(tmp_path, noise="all", trainer={"precision": "bf16-mixed", "max_epochs": 2})
    for name, p in network.named_parameters():
        assert p.dtype == torch.float32
        assert torch.isfinite(p).all()
        assert not torch.equal(p, before[name]), name


def test_max_steps_means_batches(tmp_path: Path) -> None:
    recorder = Recorder()
    train(tmp_path, callbacks=[recorder], trainer={"max_epochs": -1, "max_steps": 6})
    assert recorder.steps == [1, 2, 3, 4, 5, 6]


def test_the_reference_batch_scales_the_learning_rate_once(tmp_path: Path) -> None:
    recorder = Recorder()
    train(
        tmp_path,
        callbacks=[recorder],
        optimizer=sgd,
        lr_reference_batch=32,
        lr_schedule=WarmupCosine(0),
    )
    assert recorder.rates[0] == pytest.approx([0.5 * 8 / 32] * 4)


def test_the_same_seed_gives_bitwise_the_same_weights(tmp_path: Path) -> None:
    first, second = (train(tmp_path, noise="all") for _ in range(2))
    assert same_weights(weights(first), weights(second))


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    """Both by another start and, from the same start, by another order and other draws."""
    first = weights(train(tmp_path))
    assert not same_weights(first, weights(train(tmp_path, seed=1)))
    start = small_network(optimizer=sgd).state_dict()
    ends = []
    for seed in (0, 1, 0):
        seed_everything(seed, verbose=False)
        network = small_network(optimizer=sgd, noise="all")
        network.load_state_dict(start)
        small_trainer(tmp_path).fit(network, datamodule=small_data())
        ends.append(weights(network))
    assert same_weights(ends[0], ends[2])
    assert not same_weights(ends[0], ends[1])


@pytest.mark.parametrize("kept", [1, 2, 3])
@pytest.mark.parametrize("drop_path_rate", [0.0, 0.5])
def test_a_block_learns_bitwise_the_same_whether_or_not_later_blocks_exist(
    tmp_path: Path, kept: int, drop_path_rate: float
) -> None:
    kwargs = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "drop_path_rate": drop_path_rate}
    whole = train(tmp_path, noise="all", backbone_kwargs=kwargs)
    seed_everything(0, verbose=False)
    part = small_network(noise="all", backbone_kwargs=kwargs)
    part.blocks = nn.ModuleList(part.walked[:kept])
    small_trainer(tmp_path).fit(part, datamodule=small_data())
    expected = {name: value for name, value in weights(whole).items() if name in part.state_dict()}
    assert same_weights(expected, weights(part))


def test_the_walk_equals_a_bare_loop(tmp_path: Path) -> None:
    """The slow, obvious reference: cut, forward, loss, backward, step, detach."""
    trained = train(tmp_path, optimizer=sgd, lr_schedule=WarmupCosine(0))
    seed_everything(0, verbose=False)
    stages = cut_backbone(create_backbone("resnet18", layers=[1, 1, 1, 1], channels=[8, 8, 16, 16]))
    objectives = [OBJECTIVE(stage.spec) for stage in stages]
    optimizers = [
        sgd([*s.parameters(), *o.parameters()]) for s, o in zip(stages, objectives, strict=True)
    ]
    data = small_data()
    data.setup()
    for step, batch in enumerate(data.train_dataloader()):
        views = batch.views
        for stage, objective, optimizer in zip(stages, objectives, optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 0.5 * WarmupCosine(0).factor(step, 4, 4)
            features = [stage(view) for view in views]
            loss = objective(LocalBatch(features, batch)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            views = [f.detach() for f in features]
    for block, stage, objective in zip(trained.walked, stages, objectives, strict=True):
        assert same_weights(weights(block.stages[0]), weights(stage))
        assert same_weights(weights(block.objective), weights(objective))


def test_a_gradient_is_clipped_block_by_block(tmp_path: Path) -> None:
    norms: list[float] = []

    class Watch(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            grads = [
                p.grad for group in self.param_groups for p in group["params"] if p.grad is not None
            ]
            norms.append(float(torch.nn.utils.get_total_norm(grads)))
            return super().step(closure)

    train(tmp_path, optimizer=lambda params: Watch(params, lr=0.1), gradient_clip_norm=0.01)
    assert len(norms) == 16
    assert max(norms) <= 0.01 * 1.001


@pytest.mark.parametrize("batches", [2, 3, 4, 5])
def test_accumulated_batches_give_the_mean_of_their_gradients(tmp_path: Path, batches: int) -> None:
    """Also in a last group of an epoch that is smaller. The reference sums plain gradients and
    divides by the size of the group."""
    data = small_data(num_images=8 * batches)
    kept: list[Batch] = []

    class Keep(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, *_: Any) -> None:
            kept.append(batch)

    network = small_network(optimizer=sgd, lr_schedule=ConstantLR(), accumulate_batches=2).double()
    reference = copy.deepcopy(network)
    trainer = small_trainer(tmp_path, callbacks=[Keep()], precision="64-true")
    trainer.fit(network, datamodule=data)
    assert len(kept) == batches
    optimizers = [sgd(list(block.parameters())) for block in reference.walked]
    for first in range(0, batches, 2):
        group = kept[first : first + 2]
        for batch in group:
            carried = Carried(batch.views)
            for block in reference.walked:
                output = block.local_step(carried, batch)
                output.loss.backward()
                carried = output.carried
        for block, optimizer in zip(reference.walked, optimizers, strict=True):
            for p in block.parameters():
                p.grad /= len(group)
            optimizer.step()
            optimizer.zero_grad()
    for name, tensor in weights(network).items():
        torch.testing.assert_close(tensor, reference.state_dict()[name], rtol=1e-9, atol=1e-12)


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    alone = train(tmp_path, small_data(num_workers=0), noise="all")
    helped = train(tmp_path, small_data(num_workers=2), noise="all")
    assert same_weights(weights(alone), weights(helped))


def test_noise_depends_on_seed_step_block_and_view() -> None:
    network = small_network(noise="all")
    batch = small_batch()
    batch = batch._replace(views=[batch.views[0], batch.views[0]])

    def features(seed: int, step: int) -> Sequence[torch.Tensor]:
        clock = Clock(step, seed=seed)
        return network.walked[0].local_step(Carried(batch.views), batch, clock).carried.views

    again, other_step, other_seed = features(0, 1), features(0, 2), features(1, 1)
    assert torch.equal(features(0, 1)[0], again[0])
    assert not torch.equal(again[0], again[1])
    assert not torch.equal(again[0], other_step[0])
    assert not torch.equal(again[0], other_seed[0])


def test_noise_is_off_in_eval_mode() -> None:
    block = small_network(noise="all").eval().walked[0]
    batch = small_batch()
    assert torch.equal(
        block.local_step(Carried(batch.views), batch).carried.views[0], block(batch.views[0])
    )


@pytest.mark.parametrize("stop_at", [2, 4, 6])
@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_in_mid_epoch_is_exact(tmp_path: Path, stop_at: int, workers: int) -> None:
    data = {"num_workers": workers}
    whole = train(tmp_path, small_data(**data), noise="all", trainer={"max_epochs": 3})
    path = tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, small_data(**data), [StopAt(stop_at, path)], {"max_epochs": 3}, noise="all")
    seed_everything(0, verbose=False)
    resumed = small_network(noise="all")
    recorder = Recorder()
    trainer = small_trainer(tmp_path, max_epochs=3, callbacks=[recorder])
    trainer.fit(resumed, datamodule=small_data(**data), ckpt_path=path, weights_only=True)
    assert recorder.steps == list(range(stop_at + 1, 13))
    assert same_weights(weights(whole), weights(resumed))


def test_resuming_after_an_epoch_is_exact(tmp_path: Path) -> None:
    whole = train(tmp_path, noise="all", trainer={"max_epochs": 3})

    class DieInEpoch2(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(
            tmp_path,
            callbacks=[DieInEpoch2(), LastCheckpoint(tmp_path / "checkpoints")],
            noise="all",
            trainer={"max_epochs": 3, "enable_checkpointing": True},
        )
    resumed = small_network(noise="all")
    keep = LastCheckpoint(tmp_path / "checkpoints")
    trainer = small_trainer(tmp_path, max_epochs=3, callbacks=[keep], enable_checkpointing=True)
    path = tmp_path / "checkpoints" / "last.ckpt"
    trainer.fit(resumed, datamodule=small_data(), ckpt_path=path, weights_only=True)
    assert same_weights(weights(whole), weights(resumed))


class OnlyTheFirst(Schedule):
    def window(self, block: int, num_blocks: int, steps_per_epoch: int, total_steps: int) -> range:
        return range(total_steps if block == 0 else 0)


def test_a_block_that_is_not_learning_runs_in_eval_mode_and_stays_as_it_is(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    before = weights(small_network())
    after = weights(train(tmp_path, schedule=OnlyTheFirst()))
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"0"}


def test_a_block_trains_by_itself_on_the_features_of_the_one_before(tmp_path: Path) -> None:
    network = small_network()
    first, second = network.walked[:2]
    alone = Block(0, second.stages, second.objective, rule=UpdateRule(sgd))
    data = small_data()
    data.setup()

    class Features(torch.utils.data.Dataset[Batch]):
        def __init__(self) -> None:
            first.eval()
            self.batches = [
                b._replace(views=first.pass_on(Carried(b.views), b).views)
                for b in data.train_dataloader()
            ]

        def __len__(self) -> int:
            return len(self.batches)

        def __getitem__(self, index: int) -> Batch:
            return self.batches[index]

    before = weights(alone)
    loader = torch.utils.data.DataLoader(Features(), batch_size=None)
    small_trainer(tmp_path, max_epochs=2).fit(
        alone, train_dataloaders=loader, val_dataloaders=loader
    )
    assert not any(torch.equal(p, before[name]) for name, p in alone.named_parameters())


def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    network = small_network()
    with torch.no_grad():
        network.walked[1].objective.get_submodule("projector")[0].weight.fill_(float("nan"))
    before = weights(network.walked[1])
    with pytest.raises(UserError, match=r"block2 \(layer2\): the loss is nan at batch 0"):
        small_trainer(tmp_path).fit(network, datamodule=small_data())
    after = dict(network.walked[1].named_parameters())
    assert all(
        torch.allclose(p, before[name], rtol=0, atol=0, equal_nan=True) for name, p in after.items()
    )


def test_a_batch_of_one_is_refused_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a batch of 1 sample: BatchNorm"):
        train(tmp_path, small_data(batch_size=1))


def test_a_curve_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs an end"):
        train(tmp_path, trainer={"max_epochs": -1})


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        (
            {"strategy": DDPStrategy(), "precision": "32-true"},
            "DDPStrategy expects one backward pass per step",
        ),
        ({"strategy": SingleDeviceStrategy("cpu"), "precision": "16-mixed"}, "use bf16-mixed"),
    ],
)
def test_what_the_walk_cannot_do_rightly_it_refuses(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], complaint: str
) -> None:
    network = small_network()
    monkeypatch.setattr(BlockwiseModule, "trainer", SimpleNamespace(**state))
    with pytest.raises(UserError, match=complaint):
        network.on_fit_start()


def test_validation_logs_every_blocks_loss_and_updates_nothing(tmp_path: Path) -> None:
    network = small_network()
    before = weights(network)
    (metrics,) = small_trainer(tmp_path, limit_val_batches=2).validate(
        network, datamodule=small_data(), verbose=False
    )
    assert {f"block{k}/val_loss" for k in range(1, 5)} <= metrics.keys()
    assert same_weights(before, weights(network))
