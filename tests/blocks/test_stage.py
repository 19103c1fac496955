import pytest
import timm
import torch

from blocklearn import UserError, cut_backbone
from blocklearn.blocks.stage import create_backbone, group_stages

NAMES = ["layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet26d", "resnext26ts", "seresnet50", "wide_resnet50_2"])
def test_composed_stages_equal_the_backbones_own_features(name: str) -> None:
    if name == "resnext26ts":  # a ByobNet, not of the ResNet class
        with pytest.raises(UserError, match="ByobNet cannot be cut"):
            cut_backbone(create_backbone(name))
        return
    backbone = create_backbone(name).eval()
    image = torch.randn(1, 3, 64, 64)
    expected = backbone.forward_features(image)
    x = image
    for stage in cut_backbone(backbone):
        x = stage(x)
        assert x.shape[1] == stage.spec.channels
        assert x.shape[2] == 64 // stage.spec.stride
    assert torch.equal(x, expected)


def test_no_parameter_is_lost_or_owned_twice() -> None:
    stages = cut_backbone(create_backbone("resnet18"))
    names = [name for stage in stages for name in stage.state_dict()]
    assert len(names) == len(set(names))
    assert set(names) == set(timm.create_model("resnet18", num_classes=0).state_dict())


def test_the_cut_runs_no_image_through_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = create_backbone("resnet18")
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda *_: pytest.fail("a dummy forward"))
    specs = [stage.spec for stage in cut_backbone(backbone)]
    assert [(spec.name, spec.channels, spec.stride) for spec in specs] == [
        ("layer1", 64, 4),
        ("layer2", 128, 8),
        ("layer3", 256, 16),
        ("layer4", 512, 32),
    ]


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(UserError, match="no model 'resnet5O'.*Did you mean .*resnet50"):
        create_backbone("resnet5O")


def test_a_wrong_backbone_argument_is_named() -> None:
    with pytest.raises(UserError, match="depth_factor"):
        create_backbone("resnet18", depth_factor=3)


def test_groupings() -> None:
    assert group_stages(NAMES, "per_stage") == [[0], [1], [2], [3]]
    assert group_stages(NAMES, "end_to_end") == [[0, 1, 2, 3]]
    assert group_stages(NAMES, [["layer1"], ["layer2"], ["layer3", "layer4"]]) == [[0], [1], [2, 3]]


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        ([["layer1"], ["layer5"]], "no stage 'layer5'; the backbone's stages are layer1, layer2, layer3, layer4"),
        ([["layer1"], ["layer2"]], "every stage must be in one block"),
        ([["layer2"], ["layer1"], ["layer3"], ["layer4"]], "in order"),
        ([["layer1", "layer2"], [], ["layer3", "layer4"]], "no block empty"),
        ([["layer1", "layer2"], ["layer2", "layer3", "layer4"]], "every stage must be in one block"),
    ],
)
def test_a_grouping_that_does_not_fit_says_why(blocks: list[list[str]], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        group_stages(NAMES, blocks)
