from functools import partial
from itertools import permutations
from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient, small_batch, small_network
from torch import Tensor

from blocklearn import Projector, SimSiam, StageSpec, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives.objective import LocalBatch

SPEC = StageSpec("layer1", channels=3, stride=4)
SMALL = partial(SimSiam, projector=partial(Projector, widths=[6, 24], last_norm=True))


def draw(views: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(7, 3, 2, 2, dtype=torch.float64) for _ in range(views)]


def learn(objective: Any, views: list[Tensor]) -> Any:
    batch = small_batch(size=7)
    return objective(LocalBatch(views, batch, views))


def plain_loss(objective: Any, views: list[Tensor]) -> Tensor:
    """Eq. 1 to 4 of arXiv 2011.10566, sample by sample."""
    z = [objective.projector(view.mean(dim=(2, 3))) for view in views]
    p = [objective.predictor(x) for x in z]
    terms = []
    for a, b in permutations(range(len(views)), 2):
        for guess, target in zip(p[a], z[b].detach(), strict=True):
            terms.append(-(guess @ target) / (guess.norm() * target.norm()))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("views", [2, 3])
def test_value_and_gradients_equal_the_plain_formula(views: int) -> None:
    features = draw(views)
    objective = SMALL(SPEC).double()
    loss = learn(objective, features).loss
    expected = plain_loss(objective, features)
    leaves = list(objective.parameters())
    assert_same_value_and_gradient(loss, expected, leaves, gradient=(1e-9, 1e-12))


def test_the_metric_is_about_1_of_spread_outputs_and_0_of_equal_ones() -> None:
    from blocklearn.objectives.simsiam import _spread

    spread = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert float(_spread([spread])) == pytest.approx(1, abs=0.03)
    assert float(_spread([torch.ones(50, 16)])) == pytest.approx(0, abs=1e-6)


def test_it_is_isolated_and_every_parameter_learns() -> None:
    reach = measure_reach(small_network(objective=SMALL), small_batch())
    assert not any(row.leaks_into or row.unreached for row in reach)


def test_a_single_view_is_refused() -> None:
    with pytest.raises(UserError, match="SimSiam compares two views or more, the data recipe mak"):
        learn(SMALL(SPEC).double(), draw(1))
