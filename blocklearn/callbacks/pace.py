"""How fast batches pass, and how long the rest will take."""

import time
from collections import deque
from collections.abc import Callable
from statistics import mean

WINDOW = 50  # batches that seconds a step are the mean of


class Pace:
    """Of one run. What it says is measured on this process alone, and since it started.

    Args:
        clock: seconds, from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = self.epoch_began = clock()
        self._before: float | None = None  # seconds a step, before the pause
        self._ends: deque[float] = deque([self.began], maxlen=WINDOW + 1)
        self._epochs: list[float] = []
        self._whole = False  # whether this epoch was seen from its beginning

    @property
    def seconds_per_step(self) -> float | None:
        """None before the first batch."""
        if len(self._ends) < 2:
            return self._before
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)

    def begin_epoch(self) -> None:
        self.epoch_began, self._whole = self.clock(), True
        self.pause()

    def pause(self) -> None:
        """What was done since the last batch is none of the next batch's time, as a validation."""
        self._before = self.seconds_per_step
        self._ends = deque([self.clock()], maxlen=WINDOW + 1)

    def end_batch(self) -> None:
        self._ends.append(self.clock())

    def end_epoch(self) -> float:
        """Returns the seconds that it took since it, or the run, began, with what was validated in
        it."""
        seconds = self.clock() - self.epoch_began
        if self._whole:
            self._epochs.append(seconds)
        return seconds

    def left_in_epoch(self, batches: float) -> float | None:
        """Seconds that so many batches will take without anything between them."""
        own = self.seconds_per_step
        return None if own is None or batches == float("inf") else own * batches

    def left(self, batches: float, batches_per_epoch: float) -> float | None:
        """Seconds that so many batches will take, with what is done between them where an epoch
        has been measured; None where that is not known yet, or there is no end."""
        if not self._epochs or not 0 < batches_per_epoch < float("inf") or batches == float("inf"):
            return self.left_in_epoch(batches)
        return batches * mean(self._epochs[-3:]) / batches_per_epoch


def duration(seconds: float | None) -> str:
    """`0:18`, `3:04:12`, `2 d 04 h`; `?` where it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole >= 24 * 3600:
        return f"{whole // (24 * 3600)} d {whole // 3600 % 24:02d} h"
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
