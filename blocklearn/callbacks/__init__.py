"""What happens around training, one callback a file."""

from blocklearn.callbacks.cache_frozen_blocks import CacheFrozenBlocks
from blocklearn.callbacks.last_checkpoint import LastCheckpoint

__all__ = ["CacheFrozenBlocks", "LastCheckpoint"]
