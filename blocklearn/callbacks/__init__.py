"""What happens around training, one callback a file."""

from blocklearn.callbacks.cache_frozen_blocks import CacheFrozenBlocks
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.callbacks.stop_on_signal import StopOnSignal

__all__ = ["CacheFrozenBlocks", "LastCheckpoint", "StopOnSignal"]
