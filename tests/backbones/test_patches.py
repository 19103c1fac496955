from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small import small_network

from blocklearn import (
    Batch,
    BlockwiseModule,
    GlobalPooling,
    Patches,
    PatchInfoNCE,
    Supervised,
    TemporalInfoNCE,
    UserError,
)
from blocklearn.backbones.input_spec import InputSpec
from blocklearn.backbones.patches import CutPatches
from blocklearn.training.contract import Carried

CUT: dict[str, Any] = {
    "patches": Patches(size=16, stride=8, grid=3),
    "objective": lambda spec: PatchInfoNCE(spec, 1, 0),
}


def test_patches_come_image_by_image_and_row_by_row() -> None:
    images = torch.randn(2, 3, 64, 64)
    cut = CutPatches(Patches())(images)
    assert cut.shape == (2 * 49, 3, 16, 16)
    for image, row, column in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 6, 6), (1, 3, 5)):
        top, left = 8 * row, 8 * column
        expected = images[image, :, top : top + 16, left : left + 16]
        assert torch.equal(cut[49 * image + 7 * row + column], expected)


def test_published_patches_cover_crops_of_64_pixels() -> None:
    assert Patches().image_size == 64
    assert Patches(8, 4, 7).image_size == 32


def test_every_patch_passes_the_backbone_by_itself() -> None:
    network = small_network(**CUT).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        whole = network(images)
        alone = small_network()
        alone.load_state_dict(
            {k: v for k, v in network.state_dict().items() if "objective" not in k}, strict=False
        )
        patch = alone.eval()(images[1:, :, 8:24, 16:32])
    torch.testing.assert_close(whole[9 + 3 + 2], patch[0])


def test_raw_features_are_the_mean_over_an_images_patches() -> None:
    network = small_network(**CUT).eval()
    images = torch.randn(2, 3, 32, 32)
    features = list(network.stage_features(images))
    assert [tuple(x.shape) for x in features] == [(2, 8), (2, 8), (2, 16), (2, 16)]
    last = network(images).mean(dim=(2, 3)).reshape(2, 9, 16).mean(dim=1)
    torch.testing.assert_close(features[-1], last)


def test_a_supervised_block_learns_one_label_an_image() -> None:
    network = small_network(**CUT | {"objective": lambda spec: Supervised(spec, 3, GlobalPooling)})
    batch = Batch([torch.randn(4, 3, 32, 32)], torch.tensor([0, 1, 2, 0]), torch.arange(4))
    output = network.walked[0].local_step(Carried(batch.views), batch)
    assert output.carried.views[0].shape[0] == 4 * 9


@pytest.mark.parametrize(
    "backbone",
    ["resnet18", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"],
)
def test_patches_pass_any_family_of_backbones(backbone: str) -> None:
    kwargs: dict[str, Any] = (
        {} if backbone == "resnet18" else {"patch_size": 4} if "vit" in backbone else {}
    )
    kwargs |= {"img_size": 32} if backbone.startswith(("vit", "swin")) else {}
    kwargs |= {"window_size": 4} if backbone.startswith("swin") else {}
    patches = Patches(size=32, stride=16, grid=3)
    network = BlockwiseModule(
        lambda spec: PatchInfoNCE(spec, steps=1),
        backbone=backbone,
        backbone_kwargs=kwargs,
        patches=patches,
    )
    network.require_fit(SimpleNamespace(input_spec=InputSpec("images", 3, 64)))
    batch = Batch([torch.randn(2, 3, 64, 64)], torch.zeros(2), torch.arange(2))
    carried = Carried(batch.views)
    for block in network.walked:
        output = block.local_step(carried, batch)
        assert torch.isfinite(output.loss)
        carried = output.carried


def test_the_patch_objective_takes_the_positions_of_an_uncut_backbones_map() -> None:
    network = small_network(
        objective=lambda spec: PatchInfoNCE(spec, steps=2, grid=4),
        backbone_kwargs={"output_stride": 8},
    )
    batch = Batch([torch.randn(2, 3, 64, 64)], torch.zeros(2), torch.arange(2))
    carried = Carried(batch.views)
    for block in network.walked:
        output = block.local_step(carried, batch)
        output.loss.backward()
        carried = output.carried
    assert all(p.grad is not None for p in network.parameters())


def test_images_of_another_size_are_refused_before_training() -> None:
    with pytest.raises(
        UserError,
        match=r"3 x 3 patches of 16 pixels.* cover images of 32 pixels, the data makes 64",
    ):
        small_network(**CUT).require_fit(SimpleNamespace(input_spec=InputSpec("images", 3, 64)))


def test_images_of_another_size_are_refused_in_the_walk() -> None:
    with pytest.raises(UserError, match="takes images of 32 pixels a side, these have 40 x 32"):
        small_network(**CUT)(torch.randn(1, 3, 40, 32))


@pytest.mark.parametrize("wrong", [{"size": 0}, {"stride": 0}, {"grid": 1}])
def test_values_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="patches: size and stride"):
        Patches(**wrong)


def test_patches_too_small_for_a_backbone_are_refused_before_training() -> None:
    network = BlockwiseModule(
        lambda spec: PatchInfoNCE(spec, steps=1),
        backbone="convnext_atto",
        patches=Patches(size=8, stride=4, grid=3),
    )
    with pytest.raises(
        UserError, match=r"patches: convnext_atto makes nothing of 8 pixels .*: take larger patches"
    ):
        network.require_fit(SimpleNamespace(input_spec=InputSpec("images", 3, 16)))
    assert network.training


def test_a_vision_transformer_of_another_size_than_a_patch_says_so() -> None:
    network = BlockwiseModule(
        lambda spec: PatchInfoNCE(spec, steps=1),
        backbone="vit_tiny_patch16_224",
        backbone_kwargs={"depth": 4},
        patches=Patches(size=8, stride=4, grid=3),
    )
    with pytest.raises(UserError, match="makes nothing of 8 pixels .*img_size smaller"):
        network.require_fit(SimpleNamespace(input_spec=InputSpec("images", 3, 16)))


def test_sound_is_not_cut_into_patches() -> None:
    network = BlockwiseModule(TemporalInfoNCE, backbone="gim_speech", patches=Patches())
    with pytest.raises(
        UserError, match="sound is not cut into patches; set --model.network.patches null"
    ):
        network.require_fit(SimpleNamespace())
