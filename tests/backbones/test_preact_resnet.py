import pytest
import timm
import torch
from torch import nn

from blocklearn import create_backbone, cut_backbone
from blocklearn.backbones.preact_resnet import BasicUnit, BottleneckUnit

PUBLISHED = {  # parameters (grey) and output of one patch, module by module: the released code's
    "gim_resnet50": [(216_064, (256, 16, 16)), (1_216_000, (512, 8, 8)), (7_088_128, (1024, 4, 4))],
    "gim_resnet34": [(223_232, (64, 16, 16)), (1_115_264, (128, 8, 8)), (6_819_072, (256, 4, 4))],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_shapes_are_the_published_ones(name: str) -> None:
    x = torch.randn(1, 1, 16, 16)
    for stage, (parameters, shape) in zip(
        cut_backbone(create_backbone(name, in_chans=1)), PUBLISHED[name], strict=True
    ):
        with torch.no_grad():
            x = stage(x)
        assert sum(p.numel() for p in stage.parameters()) == parameters
        assert x.shape[1:] == shape


def test_colour_costs_3200_parameters_more() -> None:
    grey, colour = (timm.create_model("gim_resnet50", in_chans=channels) for channels in (1, 3))
    assert count(colour) - count(grey) == 3200


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_a_plain_shortcut_takes_the_raw_input_and_a_projection_the_activated_one() -> None:
    x = -torch.rand(1, 8, 4, 4)  # nothing is left of it behind a ReLU
    for unit, plain in (
        (BasicUnit(8, 8), True),
        (BasicUnit(8, 8, stride=2), False),
        (BottleneckUnit(8, 8), False),
    ):
        constant = unit.residual(torch.zeros_like(x))
        if plain:
            torch.testing.assert_close(unit(x), constant + x)
        else:
            assert unit.shortcut is not None
            torch.testing.assert_close(unit(x), constant + unit.shortcut(torch.zeros_like(x)))


def test_nothing_is_normalised_and_every_convolution_has_a_bias() -> None:
    kinds = {
        type(module)
        for module in create_backbone("gim_resnet50").modules()
        if not list(module.children())
    }
    assert kinds == {nn.Conv2d, nn.ReLU}
    assert all(
        m.bias is not None
        for m in create_backbone("gim_resnet50").modules()
        if isinstance(m, nn.Conv2d)
    )


def test_the_output_may_be_negative() -> None:
    assert (create_backbone("gim_resnet34", layers=[1, 1, 1])(torch.randn(2, 3, 16, 16)) < 0).any()


def test_pretrained_weights_are_refused() -> None:
    with pytest.raises(Exception, match="no published weights"):
        create_backbone("gim_resnet50", pretrained=True)


def test_a_wrong_number_of_stages_is_refused_with_the_flag_to_set() -> None:
    with pytest.raises(
        Exception, match=r"three positive numbers each.*--model.network.backbone_kwargs"
    ):
        create_backbone("gim_resnet34", layers=[1, 1])
