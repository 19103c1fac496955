"""CLAPP++ against a plain loop over images; CLAPP and CLAPP++ on three kinds of backbones."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient, network, small_data, small_trainer, weights
from torch import Tensor

from blocklearn import CLAPP, Batch, CLAPPPlusPlus, StageSpec, UserError
from blocklearn.objectives.infonce import own_generator
from blocklearn.objectives.objective import LocalBatch
from blocklearn.training.mixed_execution import EveryNthEndToEnd

BATCH = Batch([], torch.zeros(4), torch.arange(4))
MAP = StageSpec("layer1", channels=3, stride=1)


def cells(image: Tensor, grid: int) -> Tensor:
    """Of `(C, 6, 6)`, the mean of each of the cells, channel by channel."""
    side = 6 // grid
    return torch.stack(
        [
            image[channel, side * y : side * (y + 1), side * x : side * (x + 1)].mean()
            for channel in range(len(image))
            for y in range(grid)
            for x in range(grid)
        ]
    )


def plain_loss(objective: CLAPPPlusPlus, views: list[Tensor]) -> Tensor:
    """Image by image, in both orders of the views; the draws are those that the objective makes."""
    weight, terms = objective.bilinear.weight, []
    for view, context in (views, views[::-1]):
        ahead = torch.randint(
            1, len(view), (len(view),), generator=own_generator(torch.device("cpu"))
        )
        for image in range(len(view)):
            asked = weight @ cells(context[image], objective.context_grid)
            other = (image + int(ahead[image])) % len(view)
            positive = cells(view[image], objective.grid) @ asked
            negative = cells(view[other], objective.grid) @ asked
            terms.append(torch.relu(1 - positive) + torch.relu(1 + negative))
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("grid", "context_grid"), [(1, 1), (2, 3), (3, 2)])
def test_value_and_gradients_equal_a_plain_loop_over_images(grid: int, context_grid: int) -> None:
    objective = CLAPPPlusPlus(MAP, grid, context_grid).double()
    views = [torch.randn(4, 3, 6, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    state = torch.random.get_rng_state()
    loss = objective(LocalBatch(views, BATCH)).loss
    torch.random.set_rng_state(state)
    leaves = [*views, *objective.parameters()]
    assert_same_value_and_gradient(loss, plain_loss(objective, views), leaves)


def test_where_all_scores_are_zero_the_loss_is_two() -> None:
    output = CLAPPPlusPlus(MAP)(LocalBatch([torch.zeros(4, 3, 6, 6)] * 2, BATCH))
    assert float(output.loss.detach()) == 2
    assert float(output.metrics["accuracy"]) == 0


def test_what_it_cannot_learn_from_is_refused() -> None:
    objective, one = CLAPPPlusPlus(MAP, 3), torch.zeros(1, 3, 6, 6)
    with pytest.raises(ValueError, match="CLAPPPlusPlus needs grids >= 1"):
        CLAPPPlusPlus(MAP, 0)
    with pytest.raises(UserError, match="compares two views, the data recipe makes 1"):
        objective.require_views(one, 1)
    with pytest.raises(UserError, match="has a map of 2 positions a side, not 3"):
        objective.require_views(torch.zeros(1, 3, 2, 2), 2)
    with pytest.raises(UserError, match="a batch of 1 image has no other"):
        objective(LocalBatch([one, one], BATCH))


BACKBONES: dict[str, dict[str, Any]] = {
    "resnet18": {"layers": [1] * 4, "channels": [8] * 4, "output_stride": 8},
    "convnext_atto": {"depths": [1] * 4, "dims": [8] * 4, "output_stride": 8},
    "vit_tiny_patch16_224": {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 12,
        "depth": 2,
        "num_heads": 2,
    },
}


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(
    "changes",
    [
        {"objective": partial(CLAPP, steps=1, mode="both")},
        {"objective": partial(CLAPPPlusPlus, grid=2, context_grid=2)},
        {"objective": partial(CLAPPPlusPlus, grid=1), "execution": EveryNthEndToEnd(1)},
    ],
    ids=["CLAPP", "CLAPP++", "end to end now and then"],
)
def test_two_steps_move_every_stage(backbone: str, changes: dict[str, Any], tmp_path: Path) -> None:
    made = network(backbone=backbone, backbone_kwargs=BACKBONES[backbone], blocks=2, **changes)
    before = weights(made)
    trainer = small_trainer(tmp_path, max_epochs=-1, max_steps=2)
    trainer.fit(made, datamodule=small_data(batch_size=4, num_images=8, image_size=32))
    after = weights(made)
    assert all(torch.isfinite(value).all() for value in after.values())
    for block in made.walked:
        names = [
            f"blocks.{block.index}.stages.{name}"
            for name, p in block.stages.named_parameters()
            if p.ndim > 1
        ]
        assert any(not torch.equal(before[name], after[name]) for name in names)
