import math

import pytest
import torch

from blocklearn.metrics.lidar import lidar


def plain(features: torch.Tensor, sample: torch.Tensor) -> float:
    """The definition, sample by sample, with the inverse root of the whole matrix."""
    names = sorted(set(sample.tolist()))
    groups = [features[sample == name] for name in names]
    means = torch.stack([group.mean(dim=0) for group in groups])
    between = torch.cov(means.T)
    within = 1e-4 * torch.eye(features.shape[1], dtype=torch.float64)
    for group, mean in zip(groups, means, strict=True):
        for row in group:
            within += torch.outer(row - mean, row - mean) / (len(features) - len(names))
    values, vectors = torch.linalg.eigh(within)
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    found = torch.linalg.eigvalsh(root @ between @ root).clamp(min=0)
    share = (found + 1e-8) / found.sum()
    return math.exp(-sum(float(p) * math.log(float(p)) for p in share))


def views(samples: int, each: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sample = torch.arange(samples).repeat_interleave(each)
    centres = torch.randn(samples, width, generator=generator).double()
    noise = torch.randn(samples * each, width, generator=generator).double()
    return centres[sample] + 0.3 * noise, sample


@pytest.mark.parametrize(("samples", "width"), [(30, 6), (5, 12)])
def test_it_is_the_definition_with_more_samples_than_dimensions_and_with_fewer(
    samples: int, width: int
) -> None:
    features, sample = views(samples, 4, width)
    assert lidar(features, sample) == pytest.approx(plain(features, sample), rel=1e-6)
    assert 1 < lidar(features, sample) <= min(width, samples - 1) * (1 + 1e-4)


def test_samples_are_told_apart_by_their_number_not_by_their_place() -> None:
    features, sample = views(12, 3, 5)
    order = torch.randperm(len(sample), generator=torch.Generator().manual_seed(1))
    shuffled = lidar(features[order], sample[order])
    assert shuffled == pytest.approx(lidar(features, sample), rel=1e-9)
    assert lidar(features, 1000 - 7 * sample) == pytest.approx(shuffled, rel=1e-9)
    assert lidar(features[order], sample) != pytest.approx(shuffled, rel=1e-2)


def test_views_may_be_uneven() -> None:
    features, sample = views(12, 3, 5)
    keep = torch.arange(len(sample)) % 7 != 0
    assert lidar(features[keep], sample[keep]) == pytest.approx(
        plain(features[keep], sample[keep]), rel=1e-6
    )


def test_one_direction_is_rank_1_and_so_is_a_constant() -> None:
    _, sample = views(20, 3, 4)
    line = torch.zeros(60, 4)
    line[:, 2] = sample.float()
    assert lidar(line, sample) == pytest.approx(1, abs=1e-4)
    assert lidar(torch.ones(60, 4), sample) == 1


def test_without_several_views_there_is_nothing_to_measure_against() -> None:
    with pytest.raises(ValueError, match="several views"):
        lidar(torch.randn(4, 3), torch.arange(4))
    with pytest.raises(ValueError, match="at least 2 samples"):
        lidar(torch.randn(4, 3), torch.zeros(4))
