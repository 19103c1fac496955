"""Blocks by memory: what units keep is counted as real tensors have it, and no other division has a
smaller largest block."""

from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from small import (
    same_weights,
    small_batch,
    small_data,
    small_network,
    small_trainer,
    weights,
)
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from blocklearn import BlockwiseModule, UserError, create_backbone, cut_backbone
from blocklearn.backbones.families import pieces_of
from blocklearn.backbones.patches import Patches
from blocklearn.blocks.balanced import (
    Kept,
    _shape_of_sample,
    _stage,
    _units,
    block_bytes,
    even_ends,
    kept_by_unit,
    named_blocks,
)
from blocklearn.blocks.costs import count_costs
from blocklearn.blocks.imagined import imagined_weights, imagining

PIXELS = 32
FAMILIES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": {"img_size": PIXELS, "patch_size": 8, "depth": 6},
    "vgg11_bn": {"mlp_ratio": 0.01},
}


def backbone_of(name: str) -> nn.Module:
    return create_backbone(name, **FAMILIES.get(name, {}))


@cache
def imagined_bytes(name: str) -> list[Kept]:
    with imagining(backbone_of(name)) as imagined:
        units = [_stage(unit) for unit in _units(pieces_of(imagined))]
        return kept_by_unit(units, (3, PIXELS, PIXELS))


def unions(kept: list[Kept], ends: tuple[int, ...]) -> list[int]:
    """Bytes of the blocks that end so."""
    blocks = [kept[begin:end] for begin, end in pairwise((0, *ends, len(kept)))]
    return [
        sum({name: size for unit in block for name, size in unit.items()}.values())
        for block in blocks
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_unit_keeps_is_what_autograd_keeps_of_real_tensors(name: str) -> None:
    """Unit by unit, and over the whole network."""
    stages = cut_backbone(backbone_of(name), "per_unit")
    x = torch.randn(2, 3, PIXELS, PIXELS)
    there = {x.untyped_storage().data_ptr()} | {
        tensor.untyped_storage().data_ptr()
        for stage in stages
        for tensor in stage.state_dict().values()
    }
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    def taken() -> int:
        kept = [t.untyped_storage().nbytes() for place, t in saved.items() if place not in there]
        return sum(kept)

    whole: dict[int, Tensor] = {}
    by_unit = []
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        for stage in stages:
            x = stage(x)
            by_unit.append(taken())
            whole |= saved
            saved.clear()
    saved |= whole
    kept = imagined_bytes(name)
    assert [sum(unit.values()) for unit in kept] == by_unit
    assert block_bytes(kept)[0, len(kept)] == taken()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_division_has_a_smaller_largest_block(name: str, count: int) -> None:
    kept = imagined_bytes(name)
    ends = even_ends(kept, count)
    assert ends[-1] == len(kept)
    ours = unions(kept, tuple(ends[:-1]))
    every = [unions(kept, cuts) for cuts in combinations(range(1, len(kept)), count - 1)]
    assert max(ours) == min(max(blocks) for blocks in every)
    best = [blocks for blocks in every if max(blocks) == max(ours)]
    squares = [sum(size**2 for size in blocks) for blocks in best]
    assert sum(size**2 for size in ours) == min(squares)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", [["layer1.0"], ["layer1", "layer2", "layer3", "layer4"]]),
        (
            "convnext_atto",
            [["stages.0", "stages.1.blocks.0"], ["stages.1", "stages.2", "stages.3"]],
        ),
        ("vgg11_bn", [["features.3"], [f"features.{n}" for n in (7, 14, 21, 28)]]),
    ],
)
def test_the_stages_of_a_family_stay_stages(name: str, blocks: list[list[str]]) -> None:
    """And the backbone is left as it is."""
    backbone = backbone_of(name)
    before, training = weights(backbone), backbone.eval().training
    assert named_blocks("balanced:2", backbone) == blocks
    assert backbone.training == training
    assert same_weights(before, weights(backbone))


def test_resnet_110_is_cut_one_unit_behind_the_published_place() -> None:
    """InfoPro's released table has two blocks end after unit 14 of the first stage (counted from
    0), that is, 15 of its 18. By the backbone's activations alone 16 are more even: the published
    cut leaves room for the first block's decoder and head."""
    backbone = create_backbone("cifar_resnet110")
    assert named_blocks("balanced:2", backbone) == [["layer1.15"], ["layer1", "layer2", "layer3"]]
    with imagining(backbone) as imagined:
        kept = kept_by_unit([_stage(unit) for unit in _units(pieces_of(imagined))], (3, 32, 32))
    ours, published, equal = (
        [size / 2**21 for size in unions(kept, (end,))] for end in (16, 15, 27)
    )  # MB a sample
    assert ours == pytest.approx([4.13, 4.00], abs=0.005)
    assert published == pytest.approx([3.88, 4.25], abs=0.005)
    assert equal == pytest.approx([5.79, 2.31], abs=0.005)


@pytest.mark.parametrize(
    ("name", "changes", "shape"),
    [
        ("resnet18", {}, (3, 224, 224)),
        ("resnet18", {"small_stem": True}, (3, 32, 32)),
        ("gim_resnet34", {"patches": Patches(size=16)}, (3, 16, 16)),
        ("cifar_resnet20", {}, (3, 32, 32)),
        ("vit_tiny_patch16_224", {}, (3, PIXELS, PIXELS)),
        ("gim_speech", {}, (1, 20480)),
        ("video_vit_tiny", {}, (3, 16, 128, 128)),
    ],
)
def test_bytes_are_those_of_the_size_that_the_backbone_is_for(
    name: str, changes: dict[str, Any], shape: tuple[int, ...]
) -> None:
    own = {"small_stem": False, "patches": None, **changes}
    with torch.device("meta"):
        assert _shape_of_sample(backbone_of(name), **own) == shape


def test_a_run_goes_on_from_its_checkpoint_and_is_read_from_it_alone(tmp_path: Path) -> None:
    network, path = small_network(blocks="balanced:2"), tmp_path / "a.ckpt"
    assert network.structure.blocks == [["layer1"], ["layer2", "layer3", "layer4"]]
    trainer = small_trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    trainer.fit(network, datamodule=small_data())
    trainer.save_checkpoint(path)
    read = BlockwiseModule.load_from_checkpoint(path)
    assert read.structure.blocks == network.structure.blocks
    assert same_weights(read.backbone_state_dict(), network.backbone_state_dict())
    again = small_trainer(tmp_path, max_epochs=2, limit_train_batches=1)
    again.fit(small_network(blocks="balanced:2"), datamodule=small_data(), ckpt_path=path)
    assert again.global_step == 2


def test_an_imagined_network_is_cut_as_a_real_one() -> None:
    """As the counting of what a step costs builds it."""
    kwargs: dict[str, Any] = {"layers": [2, 1, 1]}
    with imagined_weights():
        network = small_network(
            blocks="balanced:3", backbone="cifar_resnet20", backbone_kwargs=kwargs
        )
    real: Any = named_blocks("balanced:3", create_backbone("cifar_resnet20", **kwargs))
    assert network.structure.blocks == real == [["layer1.0"], ["layer1"], ["layer2", "layer3"]]
    costs = count_costs(network, small_batch(2))
    assert [cost.stages for cost in costs] == ["+".join(block) for block in real]


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        ("balanced", "balanced does not say how many blocks; write balanced:4"),
        ("balanced:x", "balanced:x does not say how many"),
        ("balanced:0", "balanced:0 does not say how many"),
        ("balanced:9", "9 blocks cannot be made of the 8 units .* give balanced:1 to balanced:8"),
        ("per_unti", "should be one of .*, balanced:N .* got per_unti; did you mean per_unit"),
    ],
)
def test_a_word_that_is_no_grouping_is_refused(blocks: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        named_blocks(blocks, create_backbone("resnet18"))
