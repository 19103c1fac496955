"""What is hidden, and on what it depends."""

import pytest
import torch

from blocklearn import UserError
from blocklearn.masks import BlockMask, Mask, RandomMask, TubeMask

INDEX = torch.arange(4000)
KINDS = [RandomMask(0.75), TubeMask(0.75), BlockMask(0.75)]


def hidden(mask: Mask, grid: tuple[int, int, int], *keys: int) -> torch.Tensor:
    """`(B, T, H, W)`, true where a token is hidden."""
    visible = mask.visible(INDEX, grid, *keys)
    tokens = grid[0] * grid[1] * grid[2]
    return (
        torch.ones(len(INDEX), tokens, dtype=torch.bool)
        .scatter(1, visible, False)
        .unflatten(1, grid)
    )


@pytest.mark.parametrize("mask", KINDS, ids=repr)
def test_every_sample_keeps_as_many_tokens_in_ascending_order(mask: Mask) -> None:
    visible = mask.visible(INDEX, (2, 8, 8), 0)
    assert visible.shape == (len(INDEX), 32)
    assert bool((visible.diff(dim=1) > 0).all())
    assert visible.min() >= 0
    assert visible.max() < 128


@pytest.mark.parametrize("mask", KINDS, ids=repr)
def test_a_mask_depends_on_keys_and_sample_and_on_nothing_beside(mask: Mask) -> None:
    grid = (1, 14, 14)
    drawn = mask.visible(INDEX, grid, 3, 1, 0)
    backwards = mask.visible(INDEX.flip(0), grid, 3, 1, 0).flip(0)
    assert torch.equal(drawn, backwards)
    assert torch.equal(drawn[17:19], mask.visible(torch.tensor([17, 18]), grid, 3, 1, 0))
    for other in [(4, 1, 0), (3, 2, 0), (3, 1, 1)]:
        assert (drawn != mask.visible(INDEX, grid, *other)).any(dim=1).float().mean() > 0.99
    assert (drawn[1:] != drawn[:-1]).any(dim=1).float().mean() > 0.99


@pytest.mark.parametrize("mask", KINDS[:2], ids=repr)
def test_every_token_is_hidden_equally_often(mask: Mask) -> None:
    often = hidden(mask, (2, 8, 8), 1).double().mean(dim=0)
    assert bool(((often - 0.75).abs() < 5 * (0.75 * 0.25 / len(INDEX)) ** 0.5).all())


def test_pairs_of_tokens_are_hidden_independently_but_for_their_number() -> None:
    flat = hidden(RandomMask(0.5), (1, 8, 8), 1).flatten(1).double()
    together = flat.T @ flat / len(INDEX)
    expected = 0.5 * 31 / 63
    off = together - torch.diag(together.diag())
    off += torch.eye(64) * expected
    assert bool(
        ((off - expected).abs() < 6 * (expected * (1 - expected) / len(INDEX)) ** 0.5).all()
    )


@pytest.mark.parametrize("mask", [TubeMask(0.9), BlockMask(0.5)], ids=repr)
def test_what_is_hidden_in_one_frame_is_hidden_in_all(mask: Mask) -> None:
    frames = hidden(mask, (4, 8, 8), 2)
    assert bool((frames == frames[:, :1]).all())


def test_random_masks_differ_from_frame_to_frame() -> None:
    frames = hidden(RandomMask(0.75), (2, 8, 8), 2)
    assert (frames[:, 0] != frames[:, 1]).flatten(1).any(dim=1).float().mean() > 0.99


def test_blocks_hide_neighbours_more_often_than_chance_does() -> None:
    def alike(mask: Mask) -> float:
        image = hidden(mask, (1, 14, 14), 3)[:, 0]
        return float((image[:, :, 1:] == image[:, :, :-1]).double().mean())

    assert alike(RandomMask(0.5)) == pytest.approx(0.497, abs=0.01)
    assert alike(BlockMask(0.5)) > 0.75


def test_published_numbers_of_visible_tokens() -> None:
    assert RandomMask(0.75).visible_count(196) == 49  # MAE
    assert TubeMask(0.9).visible(INDEX[:1], (2, 8, 8), 0).shape[1] == 14  # 7 of a frame's 64
    assert RandomMask(0.29).visible_count(100) == 71


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, float("nan")])
def test_a_ratio_that_is_no_part_is_refused(ratio: float) -> None:
    for kind in (RandomMask, TubeMask, BlockMask):
        with pytest.raises(UserError, match="ratio must lie between 0 and 1"):
            kind(ratio)


@pytest.mark.parametrize(
    ("mask", "grid"), [(RandomMask(0.01), (1, 4, 4)), (TubeMask(0.2), (4, 2, 2))], ids=repr
)
def test_a_ratio_that_hides_nothing_is_refused(mask: Mask, grid: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="leaves 16 of 16 tokens visible"):
        mask.require(grid)


def test_rectangles_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="BlockMask needs"):
        BlockMask(0.5, smallest_part=0.5, largest_part=0.4)
