from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient, small_batch
from torch import Tensor

from blocklearn import BoundedPooling, MLPSRPooling, StageSpec, Supervised
from blocklearn.objectives import LocalBatch


def normalised(x: Tensor, norm: Any) -> Tensor:
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    unit = (x - mean) / (variance + norm.eps).sqrt()
    return torch.clamp(unit * norm.weight.view(shape) + norm.bias.view(shape), min=0)


def plain_mlp_sr(pooling: Any, x: Tensor) -> Tensor:
    """arXiv 1901.08164 on a map of 8 x 8: means of 4 x 4 windows, 1x1 convolutions, 2 x 2, MLP."""
    x = x.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5))
    for layer in pooling.convolutions:
        x = torch.einsum("oc,bchw->bohw", layer.conv.weight[:, :, 0, 0], x)
        x = normalised(x, layer.norm)
    x = x.reshape(len(x), -1)  # 2 x 2 already
    for layer in pooling.layers:
        x = normalised(x @ layer.linear.weight.T + layer.linear.bias, layer.norm)
    return x


def test_value_and_gradients_equal_the_plain_formula() -> None:
    objective = Supervised(StageSpec("layer1", 3, 4), num_classes=3, pooling=MLPSRPooling).double()
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    batch = small_batch(6)
    loss = objective(LocalBatch([x], batch)).loss
    logits = objective.classifier(plain_mlp_sr(objective.pooling, x))
    expected = (logits.logsumexp(1) - logits[torch.arange(6), batch.label]).mean()
    assert_same_value_and_gradient(
        loss, expected, [x, *objective.parameters()], gradient=(1e-7, 1e-10)
    )


def test_it_has_three_convolutions_and_three_hidden_layers_and_takes_any_side() -> None:
    pooling = MLPSRPooling(StageSpec("layer1", 5, 4))
    assert (len(pooling.convolutions), len(pooling.layers)) == (3, 3)
    for side in (1, 2, 3, 7):
        assert pooling(torch.randn(4, 5, side, side)).shape == (4, 20)
    assert MLPSRPooling(StageSpec("layer1", 5, 4), 0, 0)(torch.randn(1, 5, 3, 3)).shape == (1, 20)


@pytest.mark.parametrize(
    ("channels", "grid"),
    [(64, (4, 8)), (256, (2, 4)), (600, (1, 2)), (3000, (1, 1))],
)
def test_a_bounded_pooling_is_as_fine_as_its_numbers_allow(
    channels: int, grid: tuple[int, int]
) -> None:
    pooling = BoundedPooling(StageSpec("layer1", channels, 4))
    assert (pooling.grid, pooling.out_features) == (grid, channels * grid[0] * grid[1])
    x = torch.randn(1, channels, 8, 8)
    high, wide = 8 // grid[0], 8 // grid[1]
    expected = x.unfold(2, high, high).unfold(3, wide, wide).mean((4, 5)).flatten(1)
    torch.testing.assert_close(pooling(x), expected)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="MLPSRPooling needs"):
        MLPSRPooling(StageSpec("layer1", 3, 4), layers=-1)
    with pytest.raises(ValueError, match="most is at least 1"):
        BoundedPooling(StageSpec("layer1", 3, 4), most=0)
