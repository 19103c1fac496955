"""Tokens hidden at random."""

import math

from torch import Tensor

from blocklearn.masks.mask import Grid, Mask, smallest
from blocklearn.seeding import keyed_uniform


class RandomMask(Mask):
    """Every token is hidden with the same probability (MAE, arXiv 2111.06377: 75 % of the patches
    of an image)."""

    def visible(self, index: Tensor, grid: Grid, *keys: int) -> Tensor:
        tokens = math.prod(grid)
        return smallest(keyed_uniform(index, tokens, *keys), self.visible_count(tokens))
