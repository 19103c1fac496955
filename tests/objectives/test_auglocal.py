from functools import partial
from typing import Any

import pytest
import torch
from residual_unit import basic_unit, randomise, weights_of
from small import OBJECTIVE, assert_same_value_and_gradient, small_batch, small_network
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, cross_entropy

from blocklearn import AugLocal, BlockwiseModule, Supervised, UserError
from blocklearn.backbones.stage import StageSpec
from blocklearn.heads.fresh_copy import Fit, fresh_copy
from blocklearn.objectives.auglocal import chosen_units, depth_of
from blocklearn.training.contract import Carried, Clock

DEEP = {"layers": [2, 2, 2, 2], "channels": [8, 8, 16, 16]}


def augmented(objective: Any = OBJECTIVE, layers: int = 2, **changes: Any) -> BlockwiseModule:
    return small_network(objective=partial(AugLocal, objective=objective, layers=layers), **changes)


def test_loss_and_all_gradients_are_those_of_layer_2_and_layer_4_written_out() -> None:
    """Block 1 of four single units: copies of units 2 and 4 of 0 to 4. Unit 4 takes half the map
    that unit 2 makes, so that a mean and a 1x1 convolution stand before it."""
    network = augmented(partial(Supervised, num_classes=3)).double()
    block, batch = network.walked[0], small_batch(dtype=torch.float64)
    randomise(block.objective)
    second, fit, fourth = block.objective.network
    linear = block.objective.objective.classifier
    got = block.local_step(Carried(batch.views), batch, Clock()).loss
    logits: list[Tensor] = []
    for view in batch.views:
        x = basic_unit(block(view), weights_of(second[0]), stride=2)
        x = conv2d(avg_pool2d(x, 2), fit.conv.weight)
        x = basic_unit(x, weights_of(fourth[0]), stride=2)
        logits.append(x.mean(dim=(2, 3)) @ linear.weight.T + linear.bias)
    expected = cross_entropy(torch.cat(logits), batch.label.repeat(2))
    assert_same_value_and_gradient(got, expected, list(block.parameters()))


def test_depths_and_layers_are_the_published_ones() -> None:
    """ResNet-110 has 55 layers, the last four of which are one block: 52 blocks."""
    depths = [depth_of(index, 52, layers=3, taper=0.5) for index in range(51)]
    assert depths == [3] * 25 + [2] * 26
    assert chosen_units(55, 0, 3) == [18, 36, 54]
    assert chosen_units(55, 30, 2) == [42, 54]
    assert chosen_units(16, 0, 2) == [8, 15]  # round(7.5) is 8
    assert chosen_units(16, 14, 2) == [15]  # there are no more
    assert depth_of(0, 2, layers=3, taper=0.5) == 3  # K - 2 is 0


def test_the_networks_of_later_blocks_are_shallower() -> None:
    network = augmented(layers=4, blocks="per_unit", backbone_kwargs=DEEP)
    depths = [
        sum(isinstance(layer, nn.Sequential) for layer in block.objective.network)
        for block in network.walked[:-1]
    ]
    assert depths == [4, 4, 4, 3, 3, 2, 1]  # 4 - 1.5 i / 6, and no more than are left
    flat = small_network(
        objective=partial(AugLocal, objective=OBJECTIVE, layers=2, taper=0.0),
        blocks="per_unit",
        backbone_kwargs=DEEP,
    )
    assert [len(block.objective.network) for block in flat.walked[-3:-1]] == [2, 1]


def test_the_unit_that_narrows_the_map_stands_for_one_behind_it() -> None:
    """Units 4, the second of layer2, and 7 are chosen. The second of layer2 takes the map of
    layer2, so the first is copied, which is the layer that the released code builds."""
    first = augmented(backbone_kwargs={**DEEP, "layers": [2, 2, 2, 1]}).walked[0]
    entrance, fit, last = first.objective.network
    assert entrance[0].conv1.stride == last[0].conv1.stride == (2, 2)
    assert (fit.pool.kernel_size, fit.conv.weight.shape) == (2, (16, 8, 1, 1))
    assert first.objective.objective.pooling.out_features == 24


def test_a_copy_keeps_the_spread_of_its_layer_and_none_of_its_numbers() -> None:
    layer = nn.Conv2d(32, 64, 3)
    norm = nn.BatchNorm2d(64)
    norm(layer(torch.randn(4, 32, 8, 8)) + 3)
    torch.manual_seed(7)
    convolution, copied = fresh_copy([layer, norm]).requires_grad_(False)
    layer.requires_grad_(False)
    assert float(convolution.weight.std() / layer.weight.std()) == pytest.approx(1, rel=0.02)
    assert float((convolution.weight - layer.weight).abs().median()) > 0.01
    assert torch.equal(copied.weight, torch.ones(64))
    assert torch.equal(copied.running_mean, torch.zeros(64))
    assert norm.running_mean is not None
    assert not torch.equal(norm.running_mean, torch.zeros(64))
    torch.manual_seed(7)
    assert torch.equal(fresh_copy([layer, norm])[0].weight, convolution.weight)


@pytest.mark.parametrize("side", [8, 7])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCL"])
def test_what_makes_a_map_fit_is_a_mean_over_windows_and_a_product(side: int, layout: str) -> None:
    fit = Fit(StageSpec("layer1", 4, 4, layout), StageSpec("layer2", 6, 8, layout)).double()
    maps = torch.randn(2, 4, side, side, dtype=torch.float64)
    maps = maps[:, :, :1] if layout == "NCL" else maps
    rows = [maps[:, :, row : row + 2] for row in range(0, maps.shape[2], 2)]
    windows = [[row[..., k : k + 2].mean(dim=(2, 3)) for k in range(0, side, 2)] for row in rows]
    means = torch.stack([torch.stack(row, dim=-1) for row in windows], dim=-2)
    expected = torch.einsum("dc,nchw->ndhw", fit.conv.weight[:, :, 0, 0], means)
    if layout == "NHWC":
        maps, expected = maps.permute(0, 2, 3, 1), expected.permute(0, 2, 3, 1)
    if layout == "NCL":
        maps, expected = maps.squeeze(2), expected.squeeze(2)
    torch.testing.assert_close(fit(maps), expected)


def test_tokens_of_another_width_and_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="no auxiliary layer makes what a hands on"):
        Fit(StageSpec("a", 4, 4, "NLC"), StageSpec("b", 6, 4, "NLC"))
    for changes in ({"layers": 0}, {"taper": 1.5}):
        with pytest.raises(ValueError, match="AugLocal needs layers >= 1 and taper in"):
            small_network(objective=partial(AugLocal, objective=OBJECTIVE, **changes))
