import math
from functools import partial
from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor

from blocklearn import Batch, BlockwiseModule, Patches, PatchInfoNCE, PixelCNN, StageSpec, UserError
from blocklearn.objectives.infonce import own_generator
from blocklearn.objectives.objective import LocalBatch
from blocklearn.training.contract import Carried

BATCH = Batch([], torch.zeros(3), torch.arange(3))
CUT = StageSpec("layer1", channels=4, stride=1, patch_grid=5)
MAP = StageSpec("layer1", channels=4, stride=1)
# Where a vector of the grid lies that was turned so that the direction becomes down, in a grid of 5
# rows and columns.
UNTURNED = {
    "down": lambda row, column: (row, column),
    "up": lambda row, column: (4 - row, column),
    "right": lambda row, column: (column, row),
    "left": lambda row, column: (column, 4 - row),
}


def plain_loss(objective: PatchInfoNCE, z: Tensor) -> Tensor:
    """Anchor by anchor, as the paper says it. `z` is `(B, C, 5, 5)`; the draws are those that the
    objective makes."""
    losses = []
    for direction, predictor in objective.predictors.items():
        place = UNTURNED[direction]
        generator = own_generator(z.device)
        for k in range(1, objective.steps + 1):
            distance = k + objective.skip
            weight = predictor.weight.chunk(objective.steps)[k - 1]  # pyright: ignore
            anchors = [
                (b, row, column)
                for b in range(len(z))
                for row in range(5 - distance)
                for column in range(5)
            ]
            targets = []
            for b, row, column in anchors:
                r, c = place(row + distance, column)
                targets.append(weight @ z[b, :, r, c])
            negatives = torch.randint(
                len(anchors), (len(anchors), objective.negatives), generator=generator
            )
            of_anchors = []
            for i, (b, row, column) in enumerate(anchors):
                r, c = place(row, column)
                context = z[b, :, r, c]
                logits = torch.stack(
                    [context @ targets[i], *(context @ targets[j] for j in negatives[i])]
                )
                of_anchors.append(-(logits[0] - logits.logsumexp(0)))
            losses.append(torch.stack(of_anchors).mean())
    return torch.stack(losses).mean()


def made(spec: StageSpec = MAP, **changes: Any) -> PatchInfoNCE:
    return PatchInfoNCE(spec, **{"steps": 2, "negatives": 6, **changes})


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize(
    "directions", [["down"], ["up"], ["right"], ["left"], ["down", "up", "right", "left"]]
)
def test_value_and_gradient_equal_a_plain_loop_over_anchors(
    skip: int, directions: list[Any]
) -> None:
    objective = made(skip=skip, directions=directions).double()
    z = torch.randn(3, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    seed = torch.random.get_rng_state()
    loss = objective(LocalBatch([z], BATCH)).loss
    torch.random.set_rng_state(seed)
    expected = plain_loss(objective, z)
    leaves = [z, *objective.parameters()]
    assert_same_value_and_gradient(
        loss, expected, leaves, value=(1e-12, 1e-14), gradient=(1e-10, 1e-13)
    )


def test_patches_are_judged_as_the_map_of_their_means() -> None:
    maps = torch.randn(3 * 25, 4, 2, 2)
    grid = (
        torch.stack([patch.mean(dim=(1, 2)) for patch in maps])
        .reshape(3, 5, 5, 4)
        .permute(0, 3, 1, 2)
    )
    cut, whole = made(CUT), made(MAP)
    whole.load_state_dict(cut.state_dict())
    seed = torch.random.get_rng_state()
    of_patches = cut(LocalBatch([maps], BATCH)).loss
    torch.random.set_rng_state(seed)
    torch.testing.assert_close(of_patches, whole(LocalBatch([grid], BATCH)).loss)


def test_an_untrained_encoder_sits_at_the_logarithm_of_seventeen() -> None:
    network = BlockwiseModule(
        PatchInfoNCE,
        backbone="gim_resnet34",
        backbone_kwargs={"in_chans": 1, "layers": [1, 1, 1]},
        patches=Patches(),
    )
    batch = Batch([torch.randn(4, 1, 64, 64)], torch.zeros(4), torch.arange(4))
    carried = Carried(batch.views)
    for block in network.walked:
        output = block.local_step(carried, batch)
        assert float(output.loss.detach()) == pytest.approx(math.log(17), abs=0.01)
        carried = output.carried


def test_training_on_patterns_that_go_on_downwards_beats_chance() -> None:
    pattern = torch.nn.functional.one_hot(
        torch.arange(12) % 4, 4
    ).float()  # what a column shows, from top to bottom
    z = pattern.reshape(12, 4, 1, 1).expand(12, 4, 5, 5)
    objective = made(negatives=4)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
    for _ in range(60):
        loss = objective(LocalBatch([z], BATCH)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.75 * math.log(5)  # three in four draws differ


def test_the_draws_are_new_every_time_and_the_same_under_one_seed() -> None:
    objective, z = made(), torch.randn(3, 4, 5, 5)
    torch.manual_seed(1)
    first, second = objective(LocalBatch([z], BATCH)).loss, objective(LocalBatch([z], BATCH)).loss
    torch.manual_seed(1)
    assert first == objective(LocalBatch([z], BATCH)).loss
    assert first != second


def test_gradients_flow_to_context_and_target() -> None:
    z = torch.randn(3, 4, 5, 5, requires_grad=True)
    made(steps=1)(LocalBatch([z], BATCH)).loss.backward()
    assert z.grad is not None
    moved = z.grad.abs().sum(dim=(0, 1, 3)) > 0
    assert moved.tolist() == [True] * 5  # rows 0 to 2 are contexts, rows 2 to 4 targets
    top, bottom = z.grad[:, :, 0], z.grad[:, :, 4]
    assert bool(top.any())
    assert bool(bottom.any())


def test_a_finer_map_is_pooled_to_the_grid_first() -> None:
    objective = made(grid=4)
    z = torch.randn(3, 4, 8, 8)
    seed = torch.random.get_rng_state()
    pooled = objective(LocalBatch([z], BATCH)).loss
    torch.random.set_rng_state(seed)
    expected = z.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean(dim=(3, 5))
    assert pooled == objective(LocalBatch([expected], BATCH)).loss


def test_with_a_context_network_the_mean_context_is_published() -> None:
    objective = made(context=partial(PixelCNN, layers=1))
    (published,) = objective.published()
    assert published.width == 4
    z = torch.randn(3, 4, 5, 5)
    assert objective.context is not None
    torch.testing.assert_close(published.feature(z), objective.context(z).mean(dim=(2, 3)))
    assert not made().published()


def test_a_grid_that_is_too_small_says_how_many_steps_fit() -> None:
    with pytest.raises(
        UserError, match="layer1 has a grid of 5 rows, so at most 3 steps with skip 1"
    ):
        made(steps=4)(LocalBatch([torch.randn(3, 4, 5, 5)], BATCH))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"skip": -1},
        {"negatives": 0},
        {"directions": []},
        {"directions": ["sideways"]},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="PatchInfoNCE needs steps >= 1"):
        made(**wrong)
