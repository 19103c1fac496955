import pytest
import torch
from small import small_batch
from torch import nn

from blocklearn import (
    BarlowTwins,
    ExpandPooling,
    GlobalPooling,
    JointEmbedding,
    Projector,
    StageSpec,
    UserError,
)

SPEC = StageSpec("layer2", channels=6, stride=8)


def test_global_pooling_is_the_mean_over_positions() -> None:
    x = torch.randn(2, 6, 3, 5)
    pooled = GlobalPooling(SPEC)(x)
    assert pooled.shape == (2, 6)
    assert float(pooled[1, 4]) == pytest.approx(float(x[1, 4].sum() / 15), abs=1e-6)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_expansion_pooling_is_conv_norm_relu_mean(kernel_size: int) -> None:
    pooling = ExpandPooling(SPEC, width=10, kernel_size=kernel_size)
    x = torch.randn(4, 6, 5, 5)
    maps = nn.functional.conv2d(x, pooling.conv.weight, padding=kernel_size // 2)
    standard = (maps - maps.mean((0, 2, 3), keepdim=True)) / (
        maps.var((0, 2, 3), correction=0, keepdim=True) + 1e-5
    ).sqrt()
    torch.testing.assert_close(pooling(x), standard.clamp(min=0).mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert pooling.conv.bias is None
    assert pooling.out_features == 10


def test_expansion_pooling_keeps_pytorchs_initialisation() -> None:
    torch.manual_seed(5)
    expected = nn.Conv2d(6, 10, 1, bias=False).weight
    torch.manual_seed(5)
    assert torch.equal(ExpandPooling(SPEC, width=10).conv.weight, expected)


def test_another_kernel_size_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size is 1 or 3, got 2"):
        ExpandPooling(SPEC, kernel_size=2)


def test_the_published_projector() -> None:
    projector = Projector(2048, widths=[16, 16, 8])
    kinds = [type(layer).__name__ for layer in projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert all(layer.bias is None for layer in projector if isinstance(layer, nn.Linear))
    assert projector(torch.randn(4, 2048)).shape == (4, 8)


def test_a_projector_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one width"):
        Projector(4, widths=[])


def test_each_block_has_a_criterion_of_its_own() -> None:
    criterion = BarlowTwins()
    assert JointEmbedding(SPEC, criterion=criterion).criterion is not criterion


def test_another_number_of_views_is_refused() -> None:
    objective = JointEmbedding(SPEC, GlobalPooling, lambda width: Projector(width, [4]))
    with pytest.raises(UserError, match="compares two views, the data recipe makes 1"):
        objective([torch.randn(4, 6, 2, 2)], small_batch(4))


def test_the_views_are_normalised_one_by_one() -> None:
    objective = JointEmbedding(SPEC, lambda spec: ExpandPooling(spec, width=8), lambda width: Projector(width, [4, 4]))
    first, second = torch.randn(4, 6, 2, 2), 5 + torch.randn(4, 6, 2, 2)
    z1, _ = objective([first, second], small_batch(4)).embeddings
    alone, _ = objective([first, first], small_batch(4)).embeddings
    assert torch.equal(z1, alone)
