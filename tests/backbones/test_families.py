"""The contract of every family: stages compose to the backbone, whichever cut, and say rightly what
they hand on."""

from typing import Any

import pytest
import torch
from timm.models import is_model_in_modules
from torch import nn

from blocklearn import UserError, create_backbone, cut_backbone
from blocklearn.backbones.cut import Grouping
from blocklearn.backbones.families import FAMILIES, pieces_of
from blocklearn.blocks.recompute import run

ONE_UNIT: dict[str, Any] = {"layers": [1, 2, 1, 1]}
SMALL: dict[str, Any] = {"img_size": 64}
BACKBONES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "resnet50": ONE_UNIT,
    "resnet50d": ONE_UNIT,
    "resnetrs50": ONE_UNIT,
    "resnetblur50": ONE_UNIT,
    "resnext50_32x4d": ONE_UNIT,
    "wide_resnet50_2": ONE_UNIT,
    "seresnet50": ONE_UNIT,
    "resnetv2_50": ONE_UNIT,
    "vgg11": {"mlp_ratio": 0.01},
    "vgg13_bn": {"mlp_ratio": 0.01},
    "densenet121": {},
    "efficientnet_b0": {},
    "tf_efficientnetv2_b0": {},
    "regnetx_002": {},
    "regnety_002": {},
    "mobilenetv3_small_050": {},
    "mobilenetv3_large_100": {},
    "convnext_atto": {},
    "convnextv2_atto": {},
    "vit_tiny_patch16_224": SMALL,
    "deit_tiny_patch16_224": SMALL,
    "deit_tiny_distilled_patch16_224": SMALL,
    "vit_tiny_r_s16_p8_224": SMALL,
    "swin_tiny_patch4_window7_224": SMALL,
    "swinv2_cr_tiny_224": {},
    "gim_resnet50": {},
    "gim_resnet34": {},
    "cifar_resnet20": {},
}
UNLISTED = {
    "swinv2_cr_tiny_224": "SwinTransformerV2Cr",
    "mixer_s32_224": "MlpMixer",
    "resnext26ts": "ByobNet",
}
TAILS = {
    "vgg": "pre_logits.",
    "mobilenetv3": "conv_head.",
    "convnext": "head.norm.",
}  # behind `forward_features`


def small_backbone(name: str) -> nn.Module:
    return create_backbone(name, **BACKBONES.get(name, {})).eval()


@pytest.mark.parametrize("blocks", ["per_stage", "per_unit"])
@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in UNLISTED])
def test_composed_stages_equal_the_backbones_own_features(name: str, blocks: Grouping) -> None:
    backbone = small_backbone(name)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = backbone.forward_features(image)  # pyright: ignore
        published = set(backbone.state_dict())
        stages = cut_backbone(backbone, blocks)
        x = image
        for stage in stages:
            x = stage.eval()(x)
            assert stage.spec.as_map(x).shape == (
                1,
                stage.spec.channels,
                64 // stage.spec.stride,
                64 // stage.spec.stride,
            )
            assert stage.spec.average(x).shape == (1, stage.spec.channels)
    assert torch.equal(x, expected)
    names = [weight for stage in stages for weight in stage.backbone_state_dict()]
    assert len(names) == len(set(names)), "a weight has two owners"
    tail = tuple(prefix for family, prefix in TAILS.items() if name.startswith(family))
    assert set(names) == {weight for weight in published if not weight.startswith(tail or ("-",))}
    parameters = [p.data_ptr() for stage in stages for p in stage.parameters()]
    assert len(parameters) == len(set(parameters))


@pytest.mark.parametrize(("name", "kind"), UNLISTED.items())
def test_what_cannot_be_cut_is_told_with_what_can(name: str, kind: str) -> None:
    with pytest.raises(
        UserError,
        match=f"a {kind} cannot be cut into stages; what can is ResNet, .*such as resnet50, ",
    ):
        cut_backbone(small_backbone(name))


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "convnext_atto", "vit_tiny_patch16_224"]
)
def test_the_cut_runs_no_image_through_the_backbone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = small_backbone(name)
    monkeypatch.setattr(nn.Conv2d, "forward", lambda *_: pytest.fail("a dummy forward"))
    assert len(cut_backbone(backbone)) == 4


def test_stages_say_what_timm_says() -> None:
    for name in ("resnet50d", "regnety_002", "convnext_atto", "efficientnet_b0"):
        with torch.device("meta"):
            backbone = small_backbone(name)
        info = [dict(entry) for entry in backbone.feature_info]  # pyright: ignore
        specs = {stage.spec.name: stage.spec for stage in cut_backbone(backbone)}
        for entry in info:
            if entry["module"] in specs and entry["module"] != list(specs)[-1]:
                assert (specs[entry["module"]].channels, specs[entry["module"]].stride) == (
                    entry["num_chs"],
                    entry["reduction"],
                )


def test_the_stem_is_a_piece_of_its_own_in_every_family_that_has_one() -> None:
    for name in (
        "resnet18",
        "densenet121",
        "efficientnet_b0",
        "regnety_002",
        "convnext_atto",
        "vit_tiny_patch16_224",
    ):
        with torch.device("meta"):
            assert pieces_of(small_backbone(name))[0].spec.name == "stem"


def test_every_family_is_under_contract() -> None:
    modules = {kind.__module__.rsplit(".", 1)[-1] for kind in FAMILIES}
    tested = {
        module
        for module in modules
        if any(is_model_in_modules(name, [module]) for name in BACKBONES)
    }
    # One takes images of 256 pixels, and is under the slow contract; one takes sound, and has tests
    # of its own.
    assert modules - tested == {"swin_transformer_v2", "speech_encoder"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["swinv2_tiny_window8_256", "swin_tiny_patch4_window7_224", "vit_base_patch16_clip_224"]
)
def test_composed_stages_equal_the_backbones_own_features_at_full_size(name: str) -> None:
    backbone = create_backbone(name).eval()
    image = torch.randn(1, 3, *backbone.default_cfg["input_size"][1:])  # pyright: ignore
    with torch.no_grad():
        expected = backbone.forward_features(image)  # pyright: ignore
        x = image
        for stage in cut_backbone(backbone):
            x = stage.eval()(x)
    assert torch.equal(x, expected)


def test_a_stage_behind_an_in_place_relu_trains_whatever_is_recomputed() -> None:
    """VGG's ReLU writes into what the convolution before it made, so that it cannot be run again
    from there."""
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    gradients = []
    for recompute in ("nothing", "cheap"):
        backbone = create_backbone("vgg11", mlp_ratio=0.01)
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.copy_(
                    torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 9
                )
        stages = cut_backbone(backbone)
        run(stages, images, recompute=recompute, last_view=True).square().mean().backward()
        gradients.append([parameter.grad for stage in stages for parameter in stage.parameters()])
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))
