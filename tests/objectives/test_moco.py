from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import (
    StopAt,
    assert_same_value_and_gradient,
    same_weights,
    small_batch,
    small_data,
    small_network,
    small_trainer,
    weights,
)
from torch import Tensor

from blocklearn import MoCo, PlainProjector, Projector, StageSpec, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives.objective import LocalBatch
from blocklearn.training.contract import Clock

SPEC = StageSpec("layer1", channels=3, stride=4)
SMALL = partial(MoCo, projector=partial(PlainProjector, widths=[6, 5]), queue_size=10)
V3 = partial(SMALL, queue_size=0, predictor=partial(Projector, widths=[6, 5], last_norm=True))


def made(objective: Any = SMALL) -> Any:
    module = objective(SPEC).double()
    module.bind(())
    return module


def draw(views: int = 2, size: int = 6, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(size, 3, 2, 2, dtype=torch.float64, generator=generator) for _ in range(views)
    ]


def learn(objective: Any, views: list[Tensor]) -> Any:
    return objective(LocalBatch(views, small_batch(size=len(views[0])), views))


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)


def keys(objective: Any, view: Tensor) -> Tensor:
    return unit(objective.projector(view.mean(dim=(2, 3)))).detach()  # the teacher is a copy yet


def plain_loss(query: Tensor, key: Tensor, negatives: list[Tensor], t: float) -> Tensor:
    """Eq. 1 of arXiv 1911.05722, one query at a time."""
    terms = []
    for q, k, others in zip(query, key, negatives, strict=True):
        positive = torch.exp(q @ k / t)
        terms.append(-torch.log(positive / (positive + sum(torch.exp(q @ o / t) for o in others))))
    return torch.stack(terms).mean()


def test_value_and_gradients_equal_the_plain_formula_with_a_queue() -> None:
    objective = made()
    views, queue = draw(), objective.queue.clone()
    loss = learn(objective, views).loss
    query = unit(objective.projector(views[0].mean(dim=(2, 3))))
    expected = plain_loss(query, keys(objective, views[1]), [queue] * 6, 0.2)
    leaves = list(objective.projector.parameters())
    assert_same_value_and_gradient(loss, expected, leaves, gradient=(1e-9, 1e-12))


def test_value_and_gradients_equal_the_plain_formula_without_a_queue() -> None:
    objective, views = made(V3), draw()
    loss = learn(objective, views).loss
    expected = torch.zeros((), dtype=torch.float64)
    for a, b in ((0, 1), (1, 0)):
        query = unit(objective.predictor(objective.projector(views[a].mean(dim=(2, 3)))))
        key = keys(objective, views[b])
        others = [torch.cat([key[:row], key[row + 1 :]]) for row in range(len(key))]
        expected = expected + plain_loss(query, key, others, 0.2) / 2
    leaves = [*objective.projector.parameters(), *objective.predictor.parameters()]
    assert_same_value_and_gradient(loss, expected, leaves, gradient=(1e-9, 1e-12))


def test_the_queue_begins_with_directions_takes_keys_in_order_and_goes_round() -> None:
    objective = made()
    torch.testing.assert_close(objective.queue.norm(dim=1), torch.ones(10).double())
    before = objective.queue.clone()
    batches = [draw(seed=seed) for seed in (1, 2)]
    for views in batches:
        learn(objective, views)
    first, second = (keys(objective, views[1]) for views in batches)
    torch.testing.assert_close(objective.queue[2:6], first[2:])
    torch.testing.assert_close(objective.queue[6:], second[:4])
    torch.testing.assert_close(objective.queue[:2], second[4:])
    assert int(objective.pointer) == 2
    assert not torch.equal(objective.queue, before)
    larger = draw(size=13)
    learn(objective, larger)
    assert int(objective.pointer) == 2  # all ten places have a new key
    torch.testing.assert_close(objective.queue[2:], keys(objective, larger[1])[3:11])


def test_nothing_is_put_into_the_queue_outside_of_training() -> None:
    objective = made().eval()
    before = objective.queue.clone()
    learn(objective, draw())
    assert torch.equal(objective.queue, before)


def test_a_key_that_is_not_finite_does_not_poison_the_queue() -> None:
    objective, (first, second) = made(), draw()
    second[0] = torch.nan
    assert not torch.isfinite(learn(objective, [first, second]).loss)
    assert torch.isfinite(objective.queue).all()


def test_a_run_that_is_resumed_ends_with_the_same_weights_and_queues(tmp_path: Path) -> None:
    def train(*callbacks: Any, resume: Path | None = None) -> Any:
        seed_everything(0, verbose=False)
        network = small_network(objective=SMALL)
        trainer = small_trainer(tmp_path, max_epochs=2, callbacks=list(callbacks))
        trainer.fit(network, datamodule=small_data(), ckpt_path=resume, weights_only=True)
        return weights(network)

    path, whole = tmp_path / "cut.ckpt", train()
    with pytest.raises(RuntimeError, match="killed"):
        train(StopAt(3, path))
    assert same_weights(whole, train(resume=path))
    assert int(whole["blocks.0.objective.pointer"]) == 8 * 8 % 10


def test_the_momentum_stays_or_goes_to_its_end() -> None:
    clocks = [Clock(step, total=10) for step in (0, 5, 10)]
    assert [made().momentum_at(clock) for clock in clocks] == pytest.approx([0.999] * 3)
    rises = made(partial(SMALL, momentum=0.5, final_momentum=1.0))
    assert [rises.momentum_at(clock) for clock in clocks] == pytest.approx([0.5, 0.75, 1.0])


@pytest.mark.parametrize("objective", [SMALL, V3], ids=["queue", "batch"])
def test_it_is_isolated_and_every_parameter_learns(objective: Any) -> None:
    reach = measure_reach(small_network(objective=objective), small_batch())
    assert not any(row.leaks_into or row.unreached for row in reach)


def test_other_numbers_of_views_and_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="MoCo compares two views, the data recipe makes 3"):
        learn(made(), draw(views=3))
    with pytest.raises(ValueError, match="temperature > 0 and queue_size >= 0, got 0 and 10"):
        made(partial(SMALL, temperature=0))
