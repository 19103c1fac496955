import pytest
import torch

from blocklearn import UserError, create_backbone, cut_backbone


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(UserError, match="no model 'resnet5O'.*Did you mean .*resnet50"):
        create_backbone("resnet5O")


def test_a_wrong_backbone_argument_is_named() -> None:
    with pytest.raises(UserError, match="depth_factor"):
        create_backbone("resnet18", depth_factor=3)


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("resnet18", 1),
        ("resnet26d", 1),
        ("densenet121", 1),
        ("efficientnet_b0", 1),
        ("mobilenetv3_small_050", 2),  # its first stage has a stride of its own
        ("regnety_002", 2),
    ],
)
def test_a_small_stem_keeps_the_size_of_the_image(name: str, stride: int) -> None:
    stages = cut_backbone(create_backbone(name, small_stem=True).eval())
    x = torch.randn(1, 3, 32, 32)
    for stage in stages:
        x = stage.eval()(x)
        assert x.shape[1:] == (
            stage.spec.channels,
            32 // stage.spec.stride,
            32 // stage.spec.stride,
        )
    assert stages[0].spec.stride == stride


def test_a_small_stem_is_a_convolution_3x3_without_max_pool() -> None:
    backbone = create_backbone("resnet18", small_stem=True)
    conv = backbone.get_submodule("conv1")
    assert (conv.kernel_size, conv.stride, conv.padding, conv.bias) == (
        (3, 3),
        (1, 1),
        (1, 1),
        None,
    )
    assert isinstance(backbone.get_submodule("maxpool"), torch.nn.Identity)


@pytest.mark.parametrize(
    ("name", "hint"), [("convnext_atto", "patch_size"), ("vgg11", "VGG cannot be changed")]
)
def test_a_stem_that_cannot_shrink_says_what_to_do(name: str, hint: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=hint):
        create_backbone(name, small_stem=True)
