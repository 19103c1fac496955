import math
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

from blocklearn import DINO, DINOHead, StageSpec, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives.objective import LocalBatch
from blocklearn.training.contract import Clock

SPEC = StageSpec("layer1", channels=3, stride=4)
HEAD = partial(DINOHead, hidden=7, bottleneck=4, prototypes=6)
SMALL = partial(DINO, head=HEAD, frozen_epochs=0)


def made(**changes: Any) -> Any:
    module = SMALL(SPEC, **changes).double()
    module.bind(())
    return module


def draw(views: int = 3) -> list[Tensor]:
    """The first two larger than the others."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(5, 3, side, side, dtype=torch.float64, generator=generator)
        for side in [4, 4, 2, 2, 2, 2][:views]
    ]


def learn(objective: Any, views: list[Tensor], epoch: int = 0) -> Any:
    return objective(LocalBatch(views, small_batch(size=5), views, clock=Clock(epoch=epoch)))


def plain_outputs(objective: Any, view: Tensor) -> Tensor:
    head, x = objective.projector, view.mean(dim=(2, 3))
    for layer in (0, 2, 4):
        x = x @ head.mlp[layer].weight.T + head.mlp[layer].bias
        x = x * (1 + torch.erf(x / math.sqrt(2))) / 2 if layer < 4 else x  # GELU
    rows = head.prototypes.weight / head.prototypes.weight.norm(dim=1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True) @ rows.T


@pytest.mark.parametrize(("views", "taught"), [(2, 2), (4, 2), (3, 1)])
def test_value_and_gradients_equal_the_plain_formula(views: int, taught: int) -> None:
    objective = made(global_views=taught, teacher_temperature=0.3)
    objective.centre.uniform_(-0.1, 0.1)
    centre, features = objective.centre.clone(), draw(views)
    loss = learn(objective, features).loss
    outputs = [plain_outputs(objective, view) for view in features]  # the teacher is a copy yet
    terms = []
    for t in range(taught):
        target = torch.exp((outputs[t].detach() - centre) / 0.3)
        target = target / target.sum(dim=1, keepdim=True)
        for s in range(views):
            if s != t:
                p = torch.exp(outputs[s] / 0.1)
                p = p / p.sum(dim=1, keepdim=True)
                terms += [-(target[row] * torch.log(p[row])).sum() for row in range(5)]
    expected = torch.stack(terms).mean()
    leaves = list(objective.projector.parameters())
    assert_same_value_and_gradient(loss, expected, leaves, gradient=(1e-9, 1e-12))
    mean = torch.cat([outputs[t].detach() for t in range(taught)]).mean(dim=0)
    torch.testing.assert_close(objective.centre, 0.9 * centre + 0.1 * mean, rtol=1e-9, atol=0)


def test_the_teachers_temperature_warms_up_epoch_by_epoch() -> None:
    objective = made(teacher_temperature=0.07, warmup_epochs=4)
    found = [objective.temperature_at(Clock(epoch=epoch)) for epoch in (0, 1, 3, 4, 9)]
    assert found == pytest.approx([0.04, 0.05, 0.07, 0.07, 0.07])


def test_the_prototypes_stand_still_in_the_first_epochs(tmp_path: Path) -> None:
    network = small_network(objective=partial(SMALL, frozen_epochs=1))
    before = weights(network)
    small_trainer(tmp_path, max_epochs=1).fit(network, datamodule=small_data())
    name = "blocks.0.objective.projector.prototypes.weight"
    directions = [
        torch.nn.functional.normalize(of[name], dim=1) for of in (before, weights(network))
    ]
    torch.testing.assert_close(*directions)
    objective = made(frozen_epochs=1)
    for epoch, learns in ((0, False), (1, True)):
        objective.zero_grad()
        learn(objective, draw(), epoch).loss.backward()
        assert bool(objective.projector.prototypes.weight.grad.any()) is learns


def test_the_centre_stands_still_outside_of_training_and_where_it_is_not_finite() -> None:
    objective = made().eval()
    learn(objective, draw())
    assert not objective.centre.any()
    first, *others = draw()
    learn(objective.train(), [first * torch.nan, *others])
    assert not objective.centre.any()


def test_the_metrics_tell_the_two_kinds_of_collapse() -> None:
    from blocklearn.objectives.dino import _spread

    uniform, one = torch.full((8, 4), 0.25), torch.eye(4)[:1].repeat(8, 1)
    found = [
        {k: float(v) for k, v in _spread([p, p]).items()} for p in (uniform, one, torch.eye(4))
    ]
    assert found[0] == pytest.approx({"teacher_entropy": 1, "prototype_use": 1})
    assert found[1] == pytest.approx({"teacher_entropy": 0, "prototype_use": 0})
    assert found[2] == pytest.approx({"teacher_entropy": 0, "prototype_use": 1})


def test_a_run_that_is_resumed_ends_with_the_same_weights_and_centres(tmp_path: Path) -> None:
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
    assert whole["blocks.3.objective.centre"].any()


@pytest.mark.parametrize("frozen", [0, 1])
def test_it_is_isolated_and_every_parameter_learns(frozen: int) -> None:
    reach = measure_reach(
        small_network(objective=partial(SMALL, frozen_epochs=frozen)), small_batch()
    )
    assert not any(row.leaks_into or row.unreached for row in reach)


def test_too_few_views_and_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="DINO compares 3 views or more, the data recipe makes 2"):
        learn(made(global_views=3), draw(views=2))
    with pytest.raises(ValueError, match="DINO needs temperatures > 0"):
        made(student_temperature=0.0)
