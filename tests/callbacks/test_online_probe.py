"""A classifier that learns beside every block."""

from pathlib import Path
from typing import Any

import pytest
import torch
from online_runs import BATCHES, figures, narrow, train
from small import StopAt, same_weights, weights
from torch import nn

from blocklearn import BlockSettings, UserError
from blocklearn.callbacks import OnlineProbe
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.training.contract import BlockOutput, Carried, Clock
from blocklearn.training.schedule import SequentialSchedule


def states(probe: OnlineProbe) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, classifier in probe.classifiers.items()
        for key, value in classifier.state_dict().items()
    }


@pytest.mark.slow
def test_it_learns_every_n_batches_and_is_better_than_chance(tmp_path: Path) -> None:
    probe = OnlineProbe(every_n_steps=2)
    _, trainer = train(
        tmp_path,
        probe,
        trainer={"max_epochs": 4, "limit_train_batches": 1.0},
        lr_schedule=ConstantLR(),
    )
    assert set(probe.steps.values()) == {4 * 44 // 2}
    found = figures(trainer, "probe")
    assert list(found) == [f"block{number}/probe" for number in range(1, 5)]
    assert min(found.values()) > 25, "of ten classes; a narrow network, four epochs"


def plain_steps(batches: list[tuple[torch.Tensor, torch.Tensor]], total: int) -> torch.Tensor:
    """SGD with momentum by its formula, in float64, from weights 0 and without standardising."""
    width, classes = batches[0][0].shape[1], 3
    weight = torch.zeros(classes, width + 1, dtype=torch.float64)
    speed = torch.zeros_like(weight)
    for step, (features, label) in enumerate(batches):
        known = label >= 0
        x = torch.cat([features.double(), torch.ones(len(features), 1)], dim=1)[known]
        share = (x @ weight.T).softmax(dim=1)
        gradient = (share - torch.eye(classes)[label[known]]).T @ x / known.sum()
        speed = 0.9 * speed + gradient + 1e-2 * weight
        weight -= 0.1 * (1 + torch.tensor(torch.pi * step / total).cos()) / 2 * speed
    return weight


def test_a_step_is_that_of_the_formula_and_unlabelled_or_spoilt_samples_are_left_out() -> None:
    block, total = narrow().walked[2], 5
    probe = OnlineProbe(1, standardise=False, weight_decay=1e-2)
    width = block.spec.channels
    linear = nn.Linear(width, 3)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    probe.classifiers, probe.steps = {block.name: nn.Sequential(linear)}, {block.name: 0}
    probe._optimizers = {block.name: torch.optim.SGD(linear.parameters(), 0.1, momentum=0.9)}
    batches = []
    for step in range(total):
        generator = torch.Generator().manual_seed(step)
        maps = torch.randn(9, width, 2, 2, generator=generator)
        label = torch.randint(-1, 3, (9,), generator=generator)
        batches.append((maps.mean((2, 3)), label))
        spoilt = torch.cat([maps, torch.full_like(maps[:1], float("nan"))])
        probe._label = torch.cat([label, torch.tensor([1])])
        output = BlockOutput(torch.tensor(0.0), {}, Carried([spoilt]))
        probe._learn(block, output, Clock(step, total))
    slow = plain_steps(batches, total)
    found = torch.cat([linear.weight, linear.bias[:, None]], dim=1).double()
    torch.testing.assert_close(found, slow, rtol=1e-5, atol=1e-6)


def test_a_run_that_is_resumed_in_mid_epoch_ends_with_the_same_classifiers_and_figures(
    tmp_path: Path,
) -> None:
    whole, cut, resumed = (OnlineProbe(2, every_n_epochs=1) for _ in range(3))
    one, ended = train(tmp_path, whole)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, StopAt(BATCHES + 3, tmp_path / "cut.ckpt"), cut)
    other, again = train(tmp_path, resumed, resume=tmp_path / "cut.ckpt")
    assert same_weights(weights(one), weights(other))
    assert same_weights(states(whole), states(resumed))
    assert whole.steps == resumed.steps
    assert figures(ended, "probe") == figures(again, "probe")
    kept = torch.load(tmp_path / "cut.ckpt", weights_only=True)["callbacks"]["OnlineProbe"]
    assert kept["block1"]["steps"] == (BATCHES + 3) // 2


def test_a_checkpoint_with_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, StopAt(3, tmp_path / "cut.ckpt"), OnlineProbe())
    with pytest.raises(UserError, match="OnlineProbe's classifier of block1 does not fit"):
        train(tmp_path, OnlineProbe(standardise=False), resume=tmp_path / "cut.ckpt")


def test_a_checkpoint_without_classifiers_is_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, StopAt(6, tmp_path / "cut.ckpt"))
    probe = OnlineProbe(1)
    train(tmp_path, probe, resume=tmp_path / "cut.ckpt")
    assert set(probe.steps.values()) == {2 * BATCHES - 6}


def test_a_classifier_learns_while_its_block_does(tmp_path: Path) -> None:
    probe = OnlineProbe(1, every_n_epochs=1)
    found: list[list[str]] = []

    class Look(OnlineProbe):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            found.append([*figures(trainer, "probe")])

    schedule = SequentialSchedule()
    train(tmp_path, Look(1, every_n_epochs=1), schedule=schedule, trainer={"max_epochs": 4})
    assert [len(names) for names in found] == [1, 2, 3, 4]
    train(tmp_path, probe, per_block={"block2": BlockSettings(stop_epoch=1)})
    assert [*probe.steps.values()] == [2 * BATCHES, BATCHES, 2 * BATCHES, 2 * BATCHES]


def test_overlapping_blocks_are_refused(tmp_path: Path) -> None:
    overlapping = [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]
    with pytest.raises(UserError, match="block1 shares its last stage .* take OnlineKNN"):
        train(tmp_path, OnlineProbe(), blocks=overlapping)


@pytest.mark.parametrize("changes", [{"every_n_steps": 0}, {"lr": 0.0}, {"weight_decay": -1.0}])
def test_values_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="OnlineProbe needs"):
        OnlineProbe(**changes)
