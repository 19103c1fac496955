from functools import partial
from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient, small_batch, small_network
from torch import Tensor

from blocklearn import LPL, GlobalPooling, JointEmbedding, NoProjector, StageSpec, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives import LocalBatch


def plain_lpl(z: list[Tensor], weights: tuple[float, float, float], eps: float = 1e-4) -> Tensor:
    """The terms of the paper, with the erratum's decorrelation, one pair of units at a time."""
    prediction, hebbian, decorrelation = weights
    count, width = z[0].shape
    loss = prediction * (z[0] - z[1]).pow(2).sum() / (count * width)
    for view in z:
        mean = [view[:, i].detach().sum() / count for i in range(width)]
        for i in range(width):
            for k in range(width):
                c = ((view[:, i] - mean[i]) * (view[:, k] - mean[k])).sum() / (count - 1)
                if i == k:
                    loss = loss - hebbian * torch.log(c + eps) / (2 * width)
                else:
                    loss = loss + decorrelation * c**2 / (2 * (width**2 - width))
    return loss


@pytest.mark.parametrize("weights", [(1.0, 1.0, 10.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
@pytest.mark.parametrize(("count", "width"), [(2, 3), (9, 5)])
def test_value_and_gradient_equal_the_plain_formula(
    weights: tuple[float, float, float], count: int, width: int
) -> None:
    z = [(1 + torch.randn(count, width).double()).requires_grad_() for _ in range(2)]
    loss = LPL(None, *weights)(z).loss
    assert_same_value_and_gradient(loss, plain_lpl(z, weights), z)


def test_the_published_weights_are_1_1_and_10() -> None:
    z = [torch.randn(6, 4, dtype=torch.float64) for _ in range(2)]
    torch.testing.assert_close(LPL()(z).loss, plain_lpl(z, (1, 1, 10)))


def test_the_metrics_tell_collapse_agreement_and_redundancy() -> None:
    z = torch.ones(5, 3)
    metrics = LPL()([z, z]).metrics
    assert [float(metrics[name]) for name in ("prediction_error", "std", "covariance")] == [0] * 3
    same = torch.randn(50, 1).double().expand(50, 3)
    covariance = LPL()([same, same]).metrics["covariance"]
    torch.testing.assert_close(covariance, same[:, 0].var() ** 2)


def test_the_loss_is_computed_in_float32_under_autocast() -> None:
    z = [torch.randn(8, 6), torch.randn(8, 6)]
    expected = LPL()(z).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(LPL()(z).loss, expected)


PLAIN = partial(JointEmbedding, pooling=GlobalPooling, projector=NoProjector, criterion=LPL)


def test_without_a_projector_the_loss_is_of_the_pooled_features() -> None:
    objective: Any = PLAIN(StageSpec("layer1", 3, 4))
    batch = small_batch()
    features = [view[:, :, :4, :4] for view in batch.views]
    loss = objective(LocalBatch(features, batch)).loss
    torch.testing.assert_close(loss, LPL()([view.mean((2, 3)) for view in features]).loss)
    assert not list(objective.parameters())
    assert [published.width for published in objective.further()] == [3]


def test_blocks_of_single_layers_are_isolated_and_learn() -> None:
    network = small_network(
        objective=PLAIN,
        backbone="vgg11",
        backbone_kwargs={"mlp_ratio": 0.01},
        blocks="per_unit",
    )
    rows = measure_reach(network, small_batch())
    assert len(rows) == 8
    assert not any(row.leaks_into or row.unreached for row in rows)


def test_null_for_a_projector_names_the_way_to_have_none() -> None:
    with pytest.raises(UserError, match="NoProjector hands it on as it is"):
        JointEmbedding(StageSpec("layer1", 3, 4), projector=None)  # pyright: ignore


@pytest.mark.parametrize("wrong", [{"prediction": -1}, {"eps": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="LPL needs"):
        LPL(**wrong)
