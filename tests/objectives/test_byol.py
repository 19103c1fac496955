import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import (
    StopAt,
    same_weights,
    small_batch,
    small_data,
    small_network,
    small_trainer,
    weights,
)

from blocklearn import BYOL, BlockwiseModule, Projector, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives.objective import LocalBatch
from blocklearn.optim import ConstantLR
from blocklearn.training.contract import Carried, Clock

MLP = partial(Projector, widths=[16, 8])


def small_byol(**changes: Any) -> Any:
    return partial(BYOL, projector=MLP, predictor=MLP, **changes)


def network(**changes: Any) -> BlockwiseModule:
    own = {name: changes.pop(name) for name in ("momentum", "feed_teacher") if name in changes}
    return small_network(**{"objective": small_byol(**own), **changes})


def train(folder: Path, *callbacks: Any, resume: Path | None = None, **changes: Any) -> Any:
    seed_everything(0, verbose=False)
    made = network(**changes)
    trainer = small_trainer(folder, max_epochs=2, callbacks=list(callbacks))
    trainer.fit(made, datamodule=small_data(), ckpt_path=resume, weights_only=True)
    return made


def test_the_loss_is_twice_one_minus_the_cosine_in_both_directions() -> None:
    block = network().walked[0].double()
    batch = small_batch(dtype=torch.float64)
    output = block.local_step(Carried(batch.views), batch, Clock())
    objective = block.objective
    with torch.no_grad():
        guesses = [
            objective.predictor(objective.projector(objective.pooling(block(view))))
            for view in batch.views
        ]
        targets = [objective.teacher_head(objective.teacher_stages(view)) for view in batch.views]
    unit = [torch.nn.functional.normalize(z, dim=1) for z in (*guesses, *targets)]
    first = (unit[0] - unit[3]).square().sum(dim=1).mean()  # |a - b|^2 = 2 - 2 cos
    second = (unit[1] - unit[2]).square().sum(dim=1).mean()
    torch.testing.assert_close(output.loss.detach(), first + second, rtol=1e-9, atol=0)


def test_the_teacher_begins_as_the_student_and_follows_it_after_every_update(
    tmp_path: Path,
) -> None:
    sgd = partial(torch.optim.SGD, lr=0.5)
    made = network(momentum=0.75, optimizer=sgd, lr_schedule=ConstantLR())
    student = [p.detach().clone() for p in made.walked[1].stages.parameters()]
    small_trainer(tmp_path, max_epochs=-1, max_steps=1).fit(made, datamodule=small_data())
    block = made.walked[1]
    teacher = list(block.objective.teacher_stages.parameters())
    for own, before, now in zip(teacher, student, block.stages.parameters(), strict=True):
        torch.testing.assert_close(own, 0.75 * before + 0.25 * now, rtol=1e-5, atol=1e-7)
    now = list(block.stages.parameters())
    assert any(not torch.equal(b, n) for b, n in zip(student, now, strict=True)), "it has moved"


def test_the_momentum_rises_to_1() -> None:
    objective = network(momentum=0.5).walked[0].objective
    followed: list[float] = []
    for part in (objective.teacher_stages, objective.teacher_head):
        part.follow = lambda module, momentum: followed.append(momentum)
    for step in (0, 5, 10):
        objective.after_update(Clock(step, total=10))
    assert followed[::2] == pytest.approx([0.5, 0.75, 1.0])


def test_the_teacher_gets_no_gradient_and_belongs_to_no_optimizer() -> None:
    made = network()
    reach = measure_reach(made, small_batch())
    assert not any(row.leaks_into or row.unreached for row in reach)
    block = made.walked[2]
    taught = [p for name, p in block.objective.named_parameters() if "teacher" in name]
    assert taught
    assert not any(p.requires_grad for p in taught)
    optimizer = made.rule.build_optimizer(block.parameters(), None)
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not owned & {id(p) for p in taught}


def test_teachers_that_feed_one_another_are_one_network() -> None:
    made = network(feed_teacher=True).eval()
    batch = small_batch()
    carried, expected = Carried(batch.views), batch.views[0]
    for block in made.walked:
        output = block.local_step(carried, batch)
        expected = block.objective.teacher_stages(expected)
        assert torch.equal(output.carried.extras["teacher"][0], expected)
        carried = output.carried
    assert (
        "teacher" not in network().walked[0].local_step(Carried(batch.views), batch).carried.extras
    )


def test_a_frozen_block_hands_its_teachers_output_on() -> None:
    first = network(feed_teacher=True).walked[0].eval()
    batch = small_batch()
    learned = first.local_step(Carried(batch.views), batch).carried
    passed = first.pass_on(Carried(batch.views), batch)
    assert torch.equal(learned.extras["teacher"][1], passed.extras["teacher"][1])
    assert not passed.extras["teacher"][0].requires_grad


def test_a_run_that_is_resumed_ends_with_the_same_weights_teachers_too(tmp_path: Path) -> None:
    whole = train(tmp_path, feed_teacher=True)
    path = tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, StopAt(3, path), feed_teacher=True)
    assert same_weights(weights(whole), weights(train(tmp_path, resume=path, feed_teacher=True)))


def test_it_learns_to_agree_and_its_features_are_published(tmp_path: Path) -> None:
    made = train(tmp_path)
    assert [spec.kind for spec in made.feature_specs()] == ["raw", "head"] * 4
    batch = small_batch()
    loss = made.walked[0].local_step(Carried(batch.views), batch).loss.detach()
    assert 0 <= float(loss) <= 8
    assert math.isfinite(float(loss))


def test_a_single_view_and_overlapping_blocks_are_refused() -> None:
    block = network().walked[0]
    batch = small_batch()
    with pytest.raises(UserError, match="BYOL compares two views or more, the data recipe makes 1"):
        block.objective(LocalBatch(batch.views[:1], batch))
    overlapping = [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]
    made = network(feed_teacher=True, blocks=overlapping)
    carried = made.walked[0].local_step(Carried(batch.views), batch).carried
    with pytest.raises(UserError, match="blocks must not share stages"):
        made.walked[1].local_step(carried, batch)
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\], got 2"):
        network(momentum=2)
