import pytest
import torch

from blocklearn import UserError, create_backbone, cut_backbone
from blocklearn.backbones.cut import Grouping, group_stages

NAMES = ["layer1", "layer2", "layer3", "layer4"]


def cut(blocks: Grouping) -> list[str]:
    with torch.device("meta"):
        return [stage.spec.name for stage in cut_backbone(create_backbone("resnet18"), blocks)]


def test_a_cut_follows_the_names_of_the_grouping() -> None:
    assert cut("per_stage") == cut("end_to_end") == NAMES
    assert cut([["layer1", "layer2"], ["layer3", "layer4"]]) == NAMES
    assert cut([["stem"], ["layer1"], ["layer2"], ["layer3", "layer4"]]) == ["stem", *NAMES]
    assert cut([["layer1.0"], ["layer1", "layer2"], ["layer3", "layer4"]]) == ["layer1.0", *NAMES]
    assert cut("per_unit") == [
        "layer1.0",
        "layer1",
        "layer2.0",
        "layer2",
        "layer3.0",
        "layer3",
        "layer4.0",
        "layer4",
    ]


def test_a_stem_alone_hands_on_its_own_map() -> None:
    stem, *_ = cut_backbone(
        create_backbone("resnet18"), [["stem"], ["layer1", "layer2", "layer3", "layer4"]]
    )
    assert (stem.spec.channels, stem.spec.stride) == (64, 4)
    assert stem(torch.randn(1, 3, 32, 32)).shape == (1, 64, 8, 8)
    assert set(stem.backbone_state_dict()) == {
        "conv1.weight",
        *(
            f"bn1.{name}"
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        ),
    }


def test_groupings() -> None:
    assert group_stages(NAMES, "per_stage") == [[0], [1], [2], [3]]
    assert group_stages(NAMES, "end_to_end") == [[0, 1, 2, 3]]
    assert group_stages(NAMES, [["layer1"], ["layer2"], ["layer3", "layer4"]]) == [[0], [1], [2, 3]]
    overlapping = [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]
    assert group_stages(NAMES, overlapping) == [[0, 1], [1, 2], [2, 3]]


@pytest.mark.parametrize(
    "blocks",
    [
        [["layer2"], ["layer1"], ["layer3"], ["layer4"]],
        [["layer1", "layer2"], ["layer1", "layer2", "layer3", "layer4"]],
        [["layer1", "layer2"], ["layer2"], ["layer3", "layer4"]],
        [["layer1", "layer3"], ["layer2", "layer4"]],
        [["layer1", "layer2", "layer3"], ["layer2", "layer3"], ["layer3", "layer4"]],
        [["layer1", "layer2"], ["layer2", "layer3"], ["layer2", "layer3", "layer4"]],
        [["layer1"], ["layer1", "layer2", "layer3", "layer4"]],
        [["layer1", "layer1"], ["layer2", "layer3", "layer4"]],
    ],
)
def test_a_grouping_out_of_order_or_shared_too_far_is_refused(blocks: list[list[str]]) -> None:
    with pytest.raises(
        UserError, match="every stage must be in one block, or shared by two neighbours"
    ):
        group_stages(NAMES, blocks)


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        (
            [["layer1"], ["layer5"]],
            r"no stage 'layer5'; its stages are layer1, .* cut behind stem, layer1.0, ",
        ),
        ([["layer1"], ["layer2"]], "layer3, layer4 is in none"),
        ([["layer1"], ["layer3"], ["layer4"]], "layer2 is in none"),
        ([[], ["layer1", "layer2"], ["layer3", "layer4"]], "the first block may not be empty"),
        (
            [["layer1", "layer2"], [], ["layer2", "layer3", "layer4"]],
            "every stage must be in one block",
        ),
    ],
)
def test_a_grouping_that_does_not_fit_says_why(blocks: list[list[str]], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        group_stages(cut(blocks), blocks)


@pytest.mark.parametrize(
    ("backbone", "count", "groups"),
    [
        ("resnet18", 2, [["layer1", "layer2"], ["layer3", "layer4"]]),
        ("resnet18", 3, [["layer1"], ["layer2", "layer3.0"], ["layer3", "layer4"]]),
        ("vit_tiny_patch16_224", 4, [["blocks.2"], ["blocks.5"], ["blocks.8"], ["blocks.11"]]),
        (
            "vit_tiny_patch16_224",
            6,
            [
                ["blocks.1"],
                ["blocks.2", "blocks.3"],
                ["blocks.5"],
                ["blocks.7"],
                ["blocks.8", "blocks.9"],
                ["blocks.11"],
            ],
        ),
    ],
)
def test_a_number_makes_blocks_of_equally_many_units(
    backbone: str, count: int, groups: list[list[str]]
) -> None:
    """The family's own stages stay stages, so that the same ones are probed of every grouping, and
    a checkpoint's names are a grouping too."""
    with torch.device("meta"):
        stages = cut_backbone(create_backbone(backbone), count)
        again = cut_backbone(create_backbone(backbone), groups)
    names = [stage.spec.name for stage in stages]
    grouping = group_stages(names, count, [stage.units for stage in stages])
    assert [[names[place] for place in group] for group in grouping] == groups
    assert [stage.spec.name for stage in again] == names


@pytest.mark.parametrize("count", [0, -1, 9])
def test_a_number_of_blocks_that_there_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(UserError, match=rf"{count} blocks cannot be made of the 8 units"):
        cut(count)
