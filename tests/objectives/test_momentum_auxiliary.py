from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from residual_unit import basic_unit, randomise, weights_of
from small import (
    OBJECTIVE,
    assert_same_value_and_gradient,
    small_batch,
    small_data,
    small_network,
    small_trainer,
)
from torch import nn
from torch.nn.functional import cross_entropy

from blocklearn import BlockwiseModule, MomentumAuxiliary, Supervised
from blocklearn.optim import ConstantLR
from blocklearn.training.contract import Carried, Clock


def averaged(objective: Any = OBJECTIVE, **changes: Any) -> BlockwiseModule:
    own = {name: changes.pop(name) for name in ("momentum", "scaled") if name in changes}
    objective = partial(MomentumAuxiliary, objective=objective, **own)
    return small_network(objective=objective, **changes)


def unit_behind(network: BlockwiseModule, index: int = 0) -> nn.Module:
    return next(iter(network.walked[index + 1].stages[0]))  # pyright: ignore


@pytest.mark.parametrize("scaled", [False, True])
def test_loss_and_all_gradients_are_those_of_the_sum_written_out(scaled: bool) -> None:
    network = averaged(partial(Supervised, num_classes=3), scaled=scaled).double()
    block, batch = network.walked[0], small_batch(dtype=torch.float64)
    randomise(block.objective)
    auxiliary, linear = block.objective.network, block.objective.objective.classifier
    got = block.local_step(Carried(batch.views), batch, Clock()).loss
    total = torch.zeros((), dtype=torch.float64)
    for view in batch.views:
        x = block(view)
        learned = basic_unit(x, weights_of(auxiliary.learned[0]), stride=2)
        average = basic_unit(x, weights_of(auxiliary.average.module[0]), stride=2)
        if scaled:
            learned, average = learned * auxiliary.scale, average * (2 - auxiliary.scale)
        logits = (learned + average).mean(dim=(2, 3)) @ linear.weight.T + linear.bias
        total = total + cross_entropy(logits, batch.label) / 2
    learns = [p for p in block.parameters() if p.requires_grad]
    assert_same_value_and_gradient(got, total, learns)


def test_the_average_begins_as_the_next_unit_and_the_learned_copy_does_not() -> None:
    network = averaged()
    unit, auxiliary = unit_behind(network), network.walked[0].objective.network
    theirs = unit.state_dict()
    for name, value in auxiliary.average.module[0].state_dict().items():
        assert torch.equal(value, theirs[name])
    learned = auxiliary.learned[0].conv1.weight
    assert learned.shape == theirs["conv1.weight"].shape
    assert not torch.equal(learned, theirs["conv1.weight"])


def test_the_average_follows_the_next_unit_one_update_behind(tmp_path: Path) -> None:
    sgd = partial(torch.optim.SGD, lr=0.5)
    network = averaged(momentum=0.75, optimizer=sgd, lr_schedule=ConstantLR())
    unit, seen = unit_behind(network), list[list[torch.Tensor]]()

    class Note(MomentumAuxiliary):
        def after_update(self, clock: Clock) -> None:
            seen.append([p.detach().clone() for p in unit.parameters()])
            super().after_update(clock)

    objective = network.walked[0].objective
    objective.__class__ = Note
    small_trainer(tmp_path, max_epochs=-1, max_steps=2).fit(network, datamodule=small_data())
    (before, between), after = seen, [p.detach() for p in unit.parameters()]
    for own, v0, v1 in zip(objective.network.average.parameters(), before, between, strict=True):
        torch.testing.assert_close(own, 0.75 * v0 + 0.25 * v1, rtol=1e-5, atol=1e-7)
    assert any(not torch.equal(a, b) for a, b in zip(before, between, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(between, after, strict=True))


def test_running_statistics_of_the_average_are_those_of_this_blocks_features() -> None:
    network, batch = averaged(momentum=0.0), small_batch()
    first, unit = network.walked[0], unit_behind(network)
    norm = first.objective.network.average.module[0].bn1
    first.local_step(Carried(batch.views), batch, Clock())
    moved = norm.running_mean.clone()
    assert float(moved.abs().sum()) > 0
    with torch.no_grad():
        unit.bn1.running_mean.fill_(9)  # pyright: ignore
        unit.bn1.weight.fill_(2)  # pyright: ignore
    first.objective.after_update(Clock())
    assert torch.equal(norm.running_mean, moved)
    assert torch.equal(norm.weight, torch.full((8,), 2.0))  # the weights are taken over
    other = torch.randn(4, 8, 8, 8) * 5
    first.objective.network.average.module.train()(other)
    statistics = norm(torch.randn(64, 8, 4, 4) * 7 + 3)  # in training a batch's own
    assert float(statistics.mean()) == pytest.approx(float(norm.bias.mean()), abs=1e-4)


def test_the_average_belongs_to_no_optimizer_and_the_next_blocks_loss_is_its_own() -> None:
    network, batch = averaged(), small_batch()
    first, second = network.walked[:2]
    taken = {id(p) for p in first.objective.network.average.parameters()}
    optimizer = network.rule.build_optimizer(first.parameters(), None)
    assert not taken & {id(p) for group in optimizer.param_groups for p in group["params"]}
    first.local_step(Carried(batch.views), batch, Clock()).loss.backward()
    assert all(p.grad is None for p in second.parameters())
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    assert all(p.grad is not None for p in first.parameters() if p.requires_grad)


def test_a_momentum_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\], got 2"):
        averaged(momentum=2)
