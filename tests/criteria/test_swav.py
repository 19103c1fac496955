from functools import partial

import pytest
import torch
from small import assert_same_value_and_gradient, small_batch, small_network
from torch import Tensor

from blocklearn import GlobalPooling, JointEmbedding, Projector, SwAV, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.training.contract import Carried


def plain_codes(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Algorithm 1 of arXiv 2006.09882 in its own layout, prototypes by samples."""
    q = torch.exp(scores / epsilon).T
    count, samples = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / count
        q = q / q.sum(dim=0, keepdim=True) / samples
    return (q / q.sum(dim=0, keepdim=True)).T


def plain_loss(criterion: SwAV, z: list[Tensor], code_views: int) -> Tensor:
    rows = criterion.prototypes.weight
    rows = rows / rows.norm(dim=1, keepdim=True)
    scores = [view / view.norm(dim=1, keepdim=True) @ rows.T for view in z]
    total = torch.zeros((), dtype=z[0].dtype)
    for c in range(code_views):
        q = plain_codes(scores[c].detach(), 0.05, 3)
        for v in range(len(z)):
            if v != c:
                p = torch.exp(scores[v] / 0.1) / torch.exp(scores[v] / 0.1).sum(1, keepdim=True)
                term = -(q * torch.log(p)).sum(dim=1).mean()
                total = total + term / (code_views * (len(z) - 1))
    return total


@pytest.mark.parametrize(("views", "code_views"), [(2, 2), (5, 2), (3, 1)])
def test_value_and_gradients_equal_the_plain_formula(views: int, code_views: int) -> None:
    criterion = SwAV(4, prototypes=6, code_views=code_views).double()
    z = [torch.randn(7, 4, dtype=torch.float64, requires_grad=True) for _ in range(views)]
    loss, expected = criterion(z).loss, plain_loss(criterion, z, code_views)
    leaves = [*z[code_views == 1 :], criterion.prototypes.weight]
    assert_same_value_and_gradient(loss, expected, leaves, gradient=(1e-9, 1e-12))


def test_codes_spread_the_samples_evenly_over_the_prototypes() -> None:
    codes = SwAV(4, prototypes=3, epsilon=0.5, iterations=200)._codes(torch.rand(9, 3))
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(9))
    torch.testing.assert_close(codes.sum(dim=0), torch.full((3,), 3.0))


def test_equal_embeddings_have_finite_codes_at_a_small_epsilon() -> None:
    z = [torch.ones(6, 4), torch.ones(6, 4)]
    assert torch.isfinite(SwAV(4, prototypes=5, epsilon=0.005)(z).loss)


def test_the_prototypes_stand_still_in_the_first_batches_which_are_counted() -> None:
    criterion = SwAV(4, prototypes=6, frozen_batches=2)
    for learns in (False, False, True):
        criterion.zero_grad()
        criterion([torch.randn(7, 4), torch.randn(7, 4)]).loss.backward()
        assert criterion.prototypes.weight.grad is not None
        assert bool(criterion.prototypes.weight.grad.any()) is learns
    assert int(criterion.state_dict()["batches"]) == 3
    criterion.eval()([torch.randn(7, 4), torch.randn(7, 4)])
    assert int(criterion.batches) == 3


def test_metrics_of_views_that_agree() -> None:
    criterion = SwAV(4, prototypes=4)
    with torch.no_grad():
        criterion.prototypes.weight.copy_(torch.eye(4))
    metrics = criterion([torch.eye(4), 3 * torch.eye(4)]).metrics
    assert {k: float(v) for k, v in metrics.items()} == pytest.approx(
        {"swapped_top1": 1, "prototype_use": 1}
    )
    one = criterion([torch.eye(4)[:1].repeat(4, 1)] * 2).metrics
    assert float(one["prototype_use"]) < 0.01


def test_the_loss_is_computed_in_float32_under_autocast() -> None:
    criterion, z = SwAV(4, prototypes=6), [torch.randn(8, 4), torch.randn(8, 4)]
    expected = criterion(z).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(criterion(z).loss, expected)


def test_in_blocks_it_is_isolated_and_takes_two_views_or_more() -> None:
    objective = partial(
        JointEmbedding,
        pooling=GlobalPooling,
        projector=partial(Projector, widths=[6, 5]),
        criterion=partial(SwAV, prototypes=4),
    )
    network, batch = small_network(objective=objective), small_batch()
    reach = measure_reach(network, batch)
    assert not any(row.leaks_into or row.unreached for row in reach)
    network.walked[0].local_step(Carried([*batch.views, *batch.views]), batch)
    with pytest.raises(UserError, match="compares two views or more, the data recipe makes 1"):
        network.walked[0].local_step(Carried(batch.views[:1]), batch)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="SwAV needs a width"):
        SwAV()
    with pytest.raises(ValueError, match="at least 2 prototypes, got 1"):
        SwAV(4, prototypes=1)
