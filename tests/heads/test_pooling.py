import pytest
import torch
from torch import nn

from blocklearn import (
    ClassTokenPooling,
    ExpandPooling,
    GlobalPooling,
    LocalPooling,
    StageSpec,
    TokenMeanPooling,
    TwoLayerPooling,
    UserError,
)

SPEC = StageSpec("layer2", channels=6, stride=8)
TOKENS = StageSpec("blocks.2", channels=6, stride=8, layout="NLC", prefix_tokens=1)


def test_global_pooling_is_the_mean_over_positions() -> None:
    x = torch.randn(2, 6, 3, 5)
    pooled = GlobalPooling(SPEC)(x)
    assert pooled.shape == (2, 6)
    assert float(pooled[1, 4]) == pytest.approx(float(x[1, 4].sum() / 15), abs=1e-6)


def test_local_pooling_keeps_the_positions_of_its_windows() -> None:
    x = torch.randn(2, 6, 4, 4)
    pooling = LocalPooling(SPEC, grid=2)
    pooled = pooling(x)
    assert pooled.shape == (2, pooling.out_features) == (2, 24)
    for channel, row, column in [(0, 0, 0), (3, 0, 1), (5, 1, 0)]:
        window = x[1, channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert float(pooled[1, 4 * channel + 2 * row + column]) == pytest.approx(
            float(window.mean()), abs=1e-6
        )
    moved = pooling(x.flip(3))
    assert not torch.allclose(moved, pooled)
    torch.testing.assert_close(LocalPooling(SPEC, grid=1)(x), GlobalPooling(SPEC)(x))


def test_two_layer_pooling_is_local_means_a_layer_and_a_mean() -> None:
    pooling = TwoLayerPooling(SPEC, width=10, grid=2)
    x = torch.randn(4, 6, 4, 4)
    windows = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    maps = torch.einsum("oc,bchw->bohw", pooling.conv.weight[:, :, 0, 0], windows)
    mean, variance = (
        maps.mean((0, 2, 3), keepdim=True),
        maps.var((0, 2, 3), correction=0, keepdim=True),
    )
    expected = ((maps - mean) / (variance + 1e-5).sqrt()).clamp(min=0).mean((2, 3))
    torch.testing.assert_close(pooling(x), expected, rtol=1e-4, atol=1e-5)
    assert pooling.out_features == 10


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_expansion_pooling_is_conv_norm_relu_mean(kernel_size: int) -> None:
    pooling = ExpandPooling(SPEC, width=10, kernel_size=kernel_size)
    x = torch.randn(4, 6, 5, 5)
    maps = nn.functional.conv2d(x, pooling.conv.weight, padding=kernel_size // 2)
    mean, variance = (
        maps.mean((0, 2, 3), keepdim=True),
        maps.var((0, 2, 3), correction=0, keepdim=True),
    )
    expected = ((maps - mean) / (variance + 1e-5).sqrt()).clamp(min=0).mean((2, 3))
    torch.testing.assert_close(pooling(x), expected, rtol=1e-4, atol=1e-5)
    assert pooling.conv.bias is None
    assert pooling.out_features == 10


def test_expansion_pooling_keeps_pytorchs_initialisation() -> None:
    torch.manual_seed(5)
    expected = nn.Conv2d(6, 10, 1, bias=False).weight
    torch.manual_seed(5)
    assert torch.equal(ExpandPooling(SPEC, width=10).conv.weight, expected)


@pytest.mark.parametrize("kind", [GlobalPooling, LocalPooling, TwoLayerPooling, ExpandPooling])
def test_a_pooling_of_positions_sees_the_same_map_in_every_layout(kind: type[nn.Module]) -> None:
    x = torch.randn(4, 6, 3, 3)
    nhwc, tokens = StageSpec("layers.1", 6, 8, "NHWC"), TOKENS
    torch.manual_seed(1)
    expected = kind(SPEC)(x)
    torch.manual_seed(1)
    torch.testing.assert_close(kind(nhwc)(x.permute(0, 2, 3, 1)), expected)
    torch.manual_seed(1)
    with_class = torch.cat([torch.randn(4, 1, 6), x.flatten(2).transpose(1, 2)], dim=1)
    torch.manual_seed(1)
    torch.testing.assert_close(kind(tokens)(with_class), expected)


def test_token_poolings() -> None:
    x = torch.randn(2, 10, 6)
    torch.testing.assert_close(TokenMeanPooling(TOKENS)(x), x.sum(1) / 10)
    torch.testing.assert_close(GlobalPooling(TOKENS)(x), x[:, 1:].sum(1) / 9)
    assert torch.equal(ClassTokenPooling(TOKENS)(x), x[:, 0])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda: TokenMeanPooling(SPEC),
            r"layer2 hands on a map \(NCHW\), not tokens; take GlobalPooling",
        ),
        (
            lambda: ClassTokenPooling(StageSpec("blocks.2", 6, 8, "NLC")),
            "blocks.2 has no class token",
        ),
    ],
)
def test_a_token_pooling_where_there_are_none_is_refused(make, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        make()


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size is 1 or 3, got 2"):
        ExpandPooling(SPEC, kernel_size=2)
    with pytest.raises(ValueError, match="grid is at least 1, got 0"):
        LocalPooling(SPEC, grid=0)
    with pytest.raises(ValueError, match="grid is at least 1, got 0"):
        TwoLayerPooling(SPEC, grid=0)
