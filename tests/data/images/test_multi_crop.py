"""Views of two sizes, from the recipe to the last block."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small import small_data, small_network, small_trainer, weights

from blocklearn import (
    BYOL,
    DINO,
    DINOHead,
    GaussianNoise,
    GlobalPooling,
    JointEmbedding,
    Projector,
    SimSiam,
    Supervised,
    SwAV,
    UserError,
)
from blocklearn.blocks.costs import count_costs
from blocklearn.cli.plan import _few_samples
from blocklearn.data import BarlowTwinsViews, ImageSpec, MultiCrop

MLP = partial(Projector, widths=[16, 8])
HEAD = partial(DINOHead, hidden=8, bottleneck=4, prototypes=6)
OBJECTIVES: dict[str, Any] = {
    "dino": partial(DINO, head=HEAD),
    "byol": partial(BYOL, projector=MLP, predictor=MLP, feed_teacher=True),
    "simsiam": partial(SimSiam, projector=MLP),
    "swav": partial(
        JointEmbedding, pooling=GlobalPooling, projector=MLP, criterion=partial(SwAV, prototypes=6)
    ),
    "supervised": partial(Supervised, num_classes=4),
}
RECIPE = partial(MultiCrop, num_small=3, small_size=24)


def photograph() -> Image.Image:
    draw = np.random.default_rng(0)
    return Image.fromarray(draw.integers(0, 255, (40, 60, 3), dtype=np.uint8))


def data(**changes: Any) -> Any:
    return small_data(**{"recipe": RECIPE, "batch_size": 4, "num_images": 8, **changes})


@pytest.mark.parametrize("colour", ["host", "device"])
def test_the_large_views_come_first_and_the_others_are_small(colour: Any) -> None:
    recipe = MultiCrop(ImageSpec(32), num_small=2, small_size=24, colour=colour)
    assert recipe.num_views == 4
    made = []
    for view in range(4):
        one = recipe.training_view(photograph(), view)
        if colour == "device":
            one = recipe.finish(type(one)(*(part[None] for part in one)), torch.device("cpu"))[0]
        made.append(one.shape[1:])
    assert [tuple(shape) for shape in made] == [(32, 32), (32, 32), (24, 24), (24, 24)]
    assert recipe.sizes(32) == [32, 32, 24, 24]
    assert recipe.plain_view(photograph()).shape == (3, 32, 32)


def test_the_defaults_are_published_and_the_large_views_are_those_of_two_views() -> None:
    recipe = MultiCrop(ImageSpec(224), scale=(0.08, 1.0))
    assert (recipe.num_views, recipe.small_size) == (10, 96)
    assert recipe._small._crop.scale == (0.05, 0.4)
    for view in range(2):
        torch.manual_seed(view)
        found = recipe.training_view(photograph(), view)
        torch.manual_seed(view)
        expected = BarlowTwinsViews(ImageSpec(224)).training_view(photograph(), view)
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("name", "recompute"), [*((name, "cheap") for name in OBJECTIVES), ("dino", "views")]
)
def test_views_of_two_sizes_train_every_block(name: str, recompute: Any, tmp_path: Path) -> None:
    network = small_network(
        objective=OBJECTIVES[name],
        backbone_kwargs={"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]},
        recompute=recompute,
        noise=GaussianNoise(),
        blocks=2,
    )
    before = weights(network)
    small_trainer(tmp_path, max_epochs=1).fit(network, datamodule=data())
    after = weights(network)
    for block in network.walked:
        names = [f"blocks.{block.index}.stages.{n}" for n, _ in block.stages.named_parameters()]
        assert all(torch.isfinite(after[n]).all() for n in names)
        assert any(not torch.equal(before[n], after[n]) for n in names)


def test_data_that_live_on_the_device_make_the_same_sizes() -> None:
    made = data(resident=True)
    made.setup("fit")
    batch = next(iter(made.train_dataloader()))
    assert [view.shape[-1] for view in batch.views] == [32, 32, 24, 24, 24]


def test_costs_are_of_all_views_whether_the_data_is_at_hand_or_not() -> None:
    made = data()
    made.setup("fit")
    batch = made.few_samples(4)
    assert [tuple(v.shape) for v in batch.views] == [(4, 3, s, s) for s in (32, 32, 24, 24, 24)]
    network = small_network(objective=OBJECTIVES["supervised"], blocks=2)
    large, both = (batch._replace(views=batch.views[1:end]) for end in (2, 3))
    one, two = (sum(cost.flops for cost in count_costs(network, b)) for b in (large, both))
    assert 1.3 * one < two < 1.9 * one  # 24 of 32 pixels

    def missing(count: int) -> Any:
        raise OSError("no such folder")

    made.few_samples = missing
    assert [view.shape[-1] for view in _few_samples(made).views] == [32, 32, 24, 24, 24]


VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}


def test_a_backbone_of_one_image_size_is_refused_and_one_of_any_trains(tmp_path: Path) -> None:
    fixed, free = (
        small_network(
            objective=OBJECTIVES["dino"],
            backbone="vit_tiny_patch16_224",
            backbone_kwargs={**VIT, **more},
        )
        for more in ({}, {"dynamic_img_size": True})
    )
    with pytest.raises(UserError, match=r"takes images of 32 pixels alone, MultiCrop makes .* 24 "):
        small_trainer(tmp_path).fit(fixed, datamodule=data())
    fixed.require_fit(data(), learns=False)
    small_trainer(tmp_path).fit(free, datamodule=data())
    free.require_fit(data())


def test_small_views_that_a_pooling_makes_nothing_of_are_refused_before_training() -> None:
    from blocklearn import LocalPooling

    objective = partial(
        JointEmbedding,
        pooling=partial(LocalPooling, grid=2),
        projector=MLP,
        criterion=partial(SwAV, prototypes=6),
    )
    network = small_network(objective=objective)
    network.require_fit(data(image_size=64, recipe=partial(RECIPE, small_size=64)))
    with pytest.raises(UserError, match="layer4 has a map of 1 x 1 positions"):
        network.require_fit(data(image_size=64))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="MultiCrop needs num_small >= 0"):
        MultiCrop(ImageSpec(32), small_scale=(0.5, 0.4))
