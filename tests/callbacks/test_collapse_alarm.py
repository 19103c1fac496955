from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import OBJECTIVE, same_weights, small_data, small_network, small_trainer, weights
from torch import nn

from blocklearn import JointEmbedding, PatchInfoNCE, VICReg
from blocklearn.callbacks import CollapseAlarm
from blocklearn.callbacks.collapse_bounds import BOUNDS
from blocklearn.data import Digits
from blocklearn.metrics import BlockMetric, FeatureStd, RankMe, Uniformity
from blocklearn.optim.warmup_cosine import ConstantLR


class Scripted(BlockMetric):
    """Says these one after the other."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__(every=1)
        self.values = list(values)

    def update(self, *_: Any) -> None:
        pass

    def compute(self) -> dict[str, float]:
        return {"rankme": self.values.pop(0)}


def train(
    folder: Path, alarm: CollapseAlarm | None, network: Any = None, batches: int = 8, **changes: Any
) -> Any:
    seed_everything(0, verbose=False)
    trainer = small_trainer(
        folder,
        max_epochs=-1,
        max_steps=batches,
        log_every_n_steps=1,
        callbacks=[alarm] if alarm else [],
    )
    trainer.fit(network or small_network(**changes), datamodule=small_data())
    return trainer


def alarms(capsys: pytest.CaptureFixture[str]) -> list[str]:
    told = capsys.readouterr().err.splitlines()
    return [line for line in told if line.startswith("collapse:")]


def with_constant_embeddings(block: int) -> Any:
    """A network whose block of that number embeds every sample alike."""
    network = small_network()
    projector: Any = network.walked[block - 1].objective.projector
    last = [part for part in projector.modules() if isinstance(part, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    last.weight.requires_grad_(False)
    return network


def test_constant_embeddings_are_named_by_block_metric_bound_batch_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, CollapseAlarm(looks=2), with_constant_embeddings(2))
    (line,) = alarms(capsys)
    assert line.startswith("collapse: block2: on_diag is 1, within 0.0005 of 1, since batch 1:")
    assert "What usually helps: a lower --model.optimizer.lr" in line


def test_invariance_without_variance_collapses_and_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    criterion = partial(VICReg, variance=0.0, covariance=0.0)
    objective = partial(JointEmbedding, **{**OBJECTIVE.keywords, "criterion": criterion})
    optimizer = partial(torch.optim.Adam, lr=0.02)
    changes = {"objective": objective, "optimizer": optimizer, "lr_schedule": ConstantLR()}
    train(tmp_path, CollapseAlarm(), batches=60, **changes)
    found = alarms(capsys)
    assert found
    assert all(" std is 0.0" in line for line in found)


def test_a_sound_run_on_digits_raises_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed_everything(0, verbose=False)
    watched = [RankMe(), FeatureStd(), Uniformity()]
    for objective in (
        OBJECTIVE,
        partial(JointEmbedding, **{**OBJECTIVE.keywords, "criterion": VICReg}),
    ):
        network = small_network(objective=objective, metrics=watched)
        alarm = CollapseAlarm(looks=1)
        trainer = small_trainer(
            tmp_path, max_steps=20, max_epochs=-1, log_every_n_steps=1, callbacks=[alarm]
        )
        trainer.fit(network, datamodule=Digits())
        assert {key.rpartition("/")[2] for key in trainer.callback_metrics} & BOUNDS.keys()
    assert alarms(capsys) == []


def test_it_is_said_once_and_again_after_a_recovery(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [5, 1.0, 1.0, 1.0, 1.0, 5, 1.0, 5, 1.0, 1.0]
    network = small_network(metrics=[Scripted(values)])
    train(tmp_path, CollapseAlarm(looks=2), network, batches=10)
    told = alarms(capsys)
    first = [line for line in told if "block1" in line]
    assert ["since batch 2:" in first[0], "since batch 9:" in first[1]] == [True, True]
    assert len(first) == 2
    assert len(told) == 2 * 4, "every block by itself"


def test_bounds_are_set_by_metric_and_null_switches_one_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for bounds, count in (({"rankme": 5.5}, 4), ({"rankme": None}, 0), ({}, 0)):
        network = small_network(metrics=[Scripted([5.0] * 9)])
        train(tmp_path, CollapseAlarm(bounds=bounds), network, batches=4)
        assert len(alarms(capsys)) == count


def test_stop_ends_the_run_behind_that_batch_and_off_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = train(tmp_path, CollapseAlarm("stop", looks=2), with_constant_embeddings(3))
    assert trainer.global_step == 2
    assert alarms(capsys)[-1] == (
        "collapse: training ends here, as CollapseAlarm(policy=stop) asks."
    )
    trainer = train(tmp_path, CollapseAlarm("off", looks=1), with_constant_embeddings(3))
    assert trainer.global_step == 8
    assert alarms(capsys) == []


def test_guessing_exactly_is_a_collapse_of_infonce(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from blocklearn import Patches

    changes = {
        "objective": partial(PatchInfoNCE, steps=1, skip=0, negatives=4),
        "patches": Patches(grid=3, size=16),
    }
    train(tmp_path, CollapseAlarm(looks=1), **changes)
    assert alarms(capsys) == []
    network = small_network(**changes)
    with torch.no_grad():
        for parameter in network.walked[1].objective.parameters():
            parameter.zero_()
    network.walked[1].objective.requires_grad_(False)
    train(tmp_path, CollapseAlarm(looks=1), network, batches=2)
    (line,) = alarms(capsys)
    assert line.startswith("collapse: block2: distance_from_chance is")


def test_it_changes_no_number_of_a_run(tmp_path: Path) -> None:
    ends = []
    for alarm in (CollapseAlarm(looks=1), None):
        trainer = train(tmp_path, alarm)
        ends.append(weights(trainer.lightning_module))
    assert same_weights(*ends)


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="no bound for accuracy; it knows on_diag"):
        CollapseAlarm(bounds={"accuracy": 1.0})
    with pytest.raises(ValueError, match="looks of at least 1"):
        CollapseAlarm(looks=0)
