"""CLAPP against a plain loop over places; each claim of its class."""

from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor

from blocklearn import CLAPP, Batch, StageSpec, UserError
from blocklearn.objectives.infonce import own_generator
from blocklearn.objectives.objective import LocalBatch

BATCH = Batch([], torch.zeros(3), torch.arange(3))
CUT = StageSpec("layer1", channels=4, stride=1, patch_grid=5)
MAP = StageSpec("layer1", channels=4, stride=1)
UNTURNED: dict[str, Any] = {
    "down": lambda row, column: (row, column),
    "right": lambda row, column: (column, row),
    "up": lambda row, column: (4 - row, column),
}


def draws(size: int) -> tuple[Tensor, Tensor]:
    """The other image and the coin of each, as the objective draws them."""
    generator = own_generator(torch.device("cpu"))
    ahead = torch.randint(1, size, (size,), generator=generator)
    return (torch.arange(size) + ahead) % size, torch.randint(2, (size,), generator=generator)


def plain_loss(objective: CLAPP, z: Tensor) -> Tensor:
    """Place by place; `z` is `(B, C, 5, 5)`."""
    others, coins = draws(len(z))
    losses = []
    for direction, predictor in objective.predictors.items():
        place = UNTURNED[direction]
        for k in range(1, objective.steps + 1):
            distance = k + objective.skip
            weight = predictor.weight[4 * (k - 1) : 4 * k]  # pyright: ignore
            terms = []
            for b, other, coin in zip(range(len(z)), others, coins, strict=True):
                for row in range(5 - distance):
                    for column in range(5):
                        y, x = place(row, column)
                        r, c = place(row + distance, column)
                        context = z[b, :, y, x]
                        positive = torch.relu(1 - context @ (weight @ z[b, :, r, c]))
                        negative = torch.relu(1 + context @ (weight @ z[int(other), :, r, c]))
                        both = positive + negative
                        terms.append(
                            both if objective.mode == "both" else positive if coin else negative
                        )
            losses.append(torch.stack(terms).mean())
    return torch.stack(losses).mean()


def features(size: int = 4) -> Tensor:
    return torch.randn(size, 4, 5, 5, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("mode", ["one", "both"])
@pytest.mark.parametrize("directions", [["down"], ["down", "right", "up"]])
def test_value_and_gradients_equal_a_plain_loop_over_places(
    mode: Any, directions: list[Any]
) -> None:
    objective = CLAPP(MAP, steps=2, skip=1, mode=mode, directions=directions).double()
    z = features()
    state = torch.random.get_rng_state()
    loss = objective(LocalBatch([z], BATCH)).loss
    torch.random.set_rng_state(state)
    assert_same_value_and_gradient(loss, plain_loss(objective, z), [z, *objective.parameters()])


def test_patches_are_judged_as_the_map_of_their_means() -> None:
    objective = CLAPP(CUT, steps=2).double()
    patches = torch.randn(3 * 25, 4, 2, 2, dtype=torch.float64)
    means = patches.mean(dim=(2, 3)).unflatten(0, (3, 5, 5)).permute(0, 3, 1, 2)
    state = torch.random.get_rng_state()
    cut = objective(LocalBatch([patches], BATCH)).loss
    torch.random.set_rng_state(state)
    torch.testing.assert_close(cut, plain_loss(objective, means))


@pytest.mark.parametrize(("mode", "expected"), [("one", 1.0), ("both", 2.0)])
def test_where_all_scores_are_zero_the_loss_is_the_margin(mode: Any, expected: float) -> None:
    objective = CLAPP(MAP, steps=2, mode=mode)
    output = objective(LocalBatch([torch.zeros(4, 4, 5, 5)], BATCH))
    assert float(output.loss.detach()) == expected
    assert float(output.metrics["accuracy"]) == 0


def test_no_image_is_its_own_negative_and_all_others_are_drawn() -> None:
    pairs = {(b, int(other)) for _ in range(60) for b, other in enumerate(draws(3)[0])}
    assert pairs == {(b, other) for b in range(3) for other in range(3) if b != other}


def test_the_draws_are_new_every_time_and_the_same_under_one_seed() -> None:
    objective, z = CLAPP(MAP, steps=2).double(), features(8)
    torch.manual_seed(0)
    first, second = (objective(LocalBatch([z], BATCH)).loss for _ in range(2))
    torch.manual_seed(0)
    assert first != second
    assert first == objective(LocalBatch([z], BATCH)).loss


def test_the_hinge_is_computed_in_float32_under_autocast() -> None:
    objective, z = CLAPP(MAP, steps=2), torch.randn(4, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert objective(LocalBatch([z], BATCH)).loss.dtype == torch.float32


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"skip": -1}, {"mode": "all"}, {"grid": 1}, {"directions": []}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="CLAPP needs"):
        CLAPP(MAP, **wrong)


def test_a_grid_that_is_too_small_says_how_many_steps_fit() -> None:
    with pytest.raises(UserError, match="CLAPP: layer1 has a grid of 5 rows, so at most 3 steps"):
        CLAPP(CUT, steps=5)


def test_a_batch_of_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="CLAPP: a batch of 1 image has no other"):
        CLAPP(MAP, steps=2)(LocalBatch([torch.zeros(1, 4, 5, 5)], BATCH))
