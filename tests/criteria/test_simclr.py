import math

import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor

from blocklearn import SimCLR


def plain_nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Eq. 1 of arXiv 2002.05709, one pair at a time; sample k's views are rows k and k + B."""
    z = torch.cat([z1, z2])
    count = len(z1)

    def similarity(i: int, j: int) -> Tensor:
        return z[i] @ z[j] / (z[i].norm() * z[j].norm())

    total = torch.zeros((), dtype=z.dtype)
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        others = sum(torch.exp(similarity(i, k) / temperature) for k in range(2 * count) if k != i)
        total = total - torch.log(torch.exp(similarity(i, partner) / temperature) / others)
    return total / (2 * count)


@pytest.mark.parametrize(("count", "width"), [(2, 3), (5, 7)])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_value_and_gradient_equal_the_plain_formula(
    count: int, width: int, temperature: float
) -> None:
    z1, z2 = (torch.randn(count, width, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = SimCLR(temperature=temperature)([z1, z2]).loss
    expected = plain_nt_xent(z1, z2, temperature)
    assert_same_value_and_gradient(loss, expected, [z1, z2])


def test_the_length_of_an_embedding_does_not_matter() -> None:
    z1, z2 = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(SimCLR()([3 * z1, 0.1 * z2]).loss, SimCLR()([z1, z2]).loss)


def test_metrics_of_views_that_agree_on_orthogonal_samples() -> None:
    output = SimCLR(temperature=0.5)([torch.eye(4), torch.eye(4)])
    assert {name: float(value) for name, value in output.metrics.items()} == pytest.approx(
        {"contrastive_top1": 1, "positive_similarity": 1, "negative_similarity": 0}
    )
    assert float(output.loss) == pytest.approx(math.log(1 + 6 * math.exp(-2)))


def test_metrics_of_views_that_belong_to_the_wrong_sample() -> None:
    metrics = SimCLR()([torch.eye(4), torch.eye(4).roll(1, 0)]).metrics
    assert float(metrics["contrastive_top1"]) == 0
    assert float(metrics["positive_similarity"]) == 0
    assert float(metrics["negative_similarity"]) == pytest.approx(8 / (8 * 6))


def test_collapse_has_negative_similarity_1() -> None:
    z = torch.randn(1, 5).expand(8, 5)
    assert float(SimCLR()([z, z]).metrics["negative_similarity"]) == pytest.approx(1)


def test_the_loss_is_computed_in_float32_under_autocast() -> None:
    z1, z2 = torch.randn(8, 6), torch.randn(8, 6)
    expected = SimCLR()([z1, z2]).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(SimCLR()([z1, z2]).loss, expected)
    assert SimCLR()([z1.bfloat16(), z2.bfloat16()]).loss.dtype == torch.float32


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature > 0, got 0"):
        SimCLR(temperature=0)
