"""Alignment, uniformity, and the standard deviation of unit rows."""

import math

import pytest
import torch

from blocklearn.metrics.alignment import alignment
from blocklearn.metrics.feature_std import feature_std
from blocklearn.metrics.uniformity import uniformity


def draw(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).double()


def test_alignment_is_the_mean_squared_distance_of_the_views_as_unit_vectors() -> None:
    x, y = draw(7, 4), draw(7, 4, 1)
    plain = [float((a / a.norm() - b / b.norm()).pow(2).sum()) for a, b in zip(x, y, strict=True)]
    assert alignment(x, y) == pytest.approx(sum(plain) / 7)
    assert alignment(x, 3 * x) == pytest.approx(0, abs=1e-12)
    assert alignment(x, -x) == pytest.approx(4)
    assert alignment(torch.eye(4), torch.eye(4).roll(1, 0)) == pytest.approx(2)
    with pytest.raises(ValueError, match="the same samples"):
        alignment(x, y[1:])


def test_uniformity_is_the_log_of_the_mean_over_all_pairs() -> None:
    x = draw(9, 4)
    unit = [row / row.norm() for row in x]
    pairs = [
        math.exp(-2 * float((unit[i] - unit[j]).pow(2).sum())) for i in range(9) for j in range(i)
    ]
    assert uniformity(x) == pytest.approx(math.log(sum(pairs) / 36))
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-12)
    assert uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(torch.eye(6)) == pytest.approx(-4)


def test_drawn_pairs_come_near_all_pairs_and_the_same_seed_draws_the_same() -> None:
    x = draw(200, 3)
    drawn = uniformity(x, pairs=15_000)
    assert drawn == pytest.approx(uniformity(x), abs=0.03)
    assert drawn == uniformity(x, pairs=15_000) != uniformity(x, pairs=15_000, seed=1)
    two = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [1.0, 0.0]])
    assert uniformity(two, pairs=1) < 1e-12
    ends = torch.eye(40)
    assert uniformity(ends, pairs=500) == pytest.approx(-4), "no sample is paired with itself"


def test_the_standard_deviation_of_unit_rows_does_not_know_their_scale() -> None:
    x = draw(50, 6)
    unit = x / x.norm(dim=1, keepdim=True)
    plain = [
        math.sqrt(sum((float(v) - float(c.mean())) ** 2 for v in c) / 49) * math.sqrt(6)
        for c in unit.T
    ]
    assert feature_std(x) == pytest.approx(sum(plain) / 6)
    assert feature_std(9 * x) == pytest.approx(feature_std(x))
    assert feature_std(9 * x, unit_rows=False) == pytest.approx(9 * float(x.std(dim=0).mean()))
    assert feature_std(torch.ones(5, 3)) == 0 == feature_std(torch.ones(5, 3), unit_rows=False)
    assert feature_std(draw(5000, 16)) == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match="2 rows"):
        feature_std(x[:1])
