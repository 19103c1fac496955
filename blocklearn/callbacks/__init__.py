"""What happens around training, one callback a file."""

from blocklearn.callbacks.best_checkpoint import BestCheckpoint
from blocklearn.callbacks.cache_frozen_blocks import CacheFrozenBlocks
from blocklearn.callbacks.collapse_alarm import CollapseAlarm
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.callbacks.online_knn import OnlineKNN
from blocklearn.callbacks.online_probe import OnlineProbe
from blocklearn.callbacks.stop_on_signal import StopOnSignal

__all__ = [
    "BestCheckpoint",
    "CacheFrozenBlocks",
    "CollapseAlarm",
    "LastCheckpoint",
    "OnlineKNN",
    "OnlineProbe",
    "StopOnSignal",
]
