"""Which tokens a network does not get to see."""

from blocklearn.masks.block_mask import BlockMask
from blocklearn.masks.mask import Mask
from blocklearn.masks.random_mask import RandomMask
from blocklearn.masks.tube_mask import TubeMask

__all__ = ["BlockMask", "Mask", "RandomMask", "TubeMask"]
