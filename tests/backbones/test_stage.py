import itertools
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn

from blocklearn import StageSpec, UserError
from blocklearn.backbones.create import create_backbone
from blocklearn.backbones.cut import cut_backbone
from blocklearn.backbones.layout import Layout
from blocklearn.backbones.stage import Stage, backbone_name
from blocklearn.backbones.visible_tokens import VisibleTokens

MAP = torch.randn(2, 6, 3, 3)
LAYOUTS = {
    "NCHW": (StageSpec("x", 6, 8), MAP),
    "NHWC": (StageSpec("x", 6, 8, "NHWC"), MAP.permute(0, 2, 3, 1)),
    "NLC": (
        StageSpec("x", 6, 8, "NLC", prefix_tokens=2),
        torch.cat([torch.randn(2, 2, 6), MAP.flatten(2).transpose(1, 2)], dim=1),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_map_and_the_same_average(layout: str) -> None:
    spec, features = LAYOUTS[layout]
    assert torch.equal(spec.as_map(features), MAP)
    torch.testing.assert_close(spec.average(features), MAP.mean(dim=(2, 3)))


def test_sound_is_a_map_of_one_row() -> None:
    sound = torch.randn(2, 6, 5)
    spec = StageSpec("conv5", 6, 160, "NCL")
    assert torch.equal(spec.as_map(sound), sound.reshape(2, 6, 1, 5))
    torch.testing.assert_close(spec.average(sound), sound.mean(dim=2))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_patches_are_a_map_of_their_means_and_an_average_over_all(layout: str) -> None:
    spec, features = LAYOUTS[layout]
    spec = replace(spec, patch_grid=2)
    patches = torch.cat([features + number for number in range(4)])  # of 2 images, 4 patches each
    means = spec_of_one_image(layout).average(patches)
    grid = spec.as_map(patches)
    assert grid.shape == (2, 6, 2, 2)
    for image, row, column in itertools.product(range(2), repeat=3):
        assert torch.equal(grid[image, :, row, column], means[4 * image + 2 * row + column])
    torch.testing.assert_close(spec.average(patches), means.reshape(2, 4, 6).mean(dim=1))


def spec_of_one_image(layout: str) -> StageSpec:
    return LAYOUTS[layout][0]


def test_tokens_of_no_square_map_are_told() -> None:
    with pytest.raises(UserError, match="7 tokens are no square map"):
        StageSpec("blocks.2", 6, 16, "NLC", 1).as_map(torch.randn(1, 8, 6))


def test_a_stages_weights_have_the_backbones_names() -> None:
    assert backbone_name("layer1/0.conv1.weight") == "layer1.0.conv1.weight"
    assert backbone_name("shell.pos_embed") == "pos_embed"


def test_a_compiled_stage_takes_a_mask_or_none() -> None:
    """What is compiled is a copy of a function, which must keep the argument's default."""
    stage = Stage(
        StageSpec("blocks.0", 4, 4, Layout.NLC, prefix_tokens=1),
        OrderedDict(embedding=nn.Identity(), visible=VisibleTokens(1), layer=nn.Linear(4, 4)),
    )
    tokens, visible = torch.randn(2, 5, 4), torch.tensor([[0, 2], [1, 3]])
    expected = stage(tokens), stage(tokens, visible)
    stage.compile(backend="eager")
    assert torch.equal(stage(tokens), expected[0])
    assert torch.equal(stage(tokens, visible), expected[1])
    assert expected[1].shape == (2, 3, 4)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "vit_tiny_patch16_224"])
def test_the_parts_of_a_stage_are_its_units_and_compose_it(name: str) -> None:
    kwargs = {"img_size": 32, "patch_size": 8} if name.startswith("vit") else {}
    x = torch.randn(2, 3, 32, 32)
    for stage in cut_backbone(create_backbone(name, **kwargs)):
        stage.eval()
        expected, parts = stage(x), stage.parts()
        assert parts[-1][0] == stage.spec
        for spec, modules in parts:
            for module in modules:
                x = module(x)
            assert x.shape[spec.layout.value.index("C")] == spec.channels
        torch.testing.assert_close(x, expected, rtol=0, atol=0)
