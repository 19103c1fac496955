"""What becomes of samples that cannot be read: others stand in for them, up to a limit."""

import os
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import TypeVar

from blocklearn.data.unreadable_list import LEFT_OUT, UnreadableList
from blocklearn.errors import UnreadableSample, UserError, in_one_line
from blocklearn.seeding import fold_seed

LIST = "unreadable_samples.csv"  # in the run's folder
ATTEMPTS = 20  # samples that are tried in one place
REPLACEMENT = 1 << 32  # a view's number is smaller, so that choice and augmentation are drawn apart
Read = TypeVar("Read")


class UnreadableSamples:
    """Reads the samples of one data set, notes those that cannot be read, and lets others stand in
    for them.

    Which sample stands in depends on (seed, epoch, index, attempt) alone, so neither processes nor
    resuming matter. Each file counts once, in whatever process, epoch or resumed part of a run it
    was met: the list in the run's folder is what they share. Nothing is looked up for a sample that
    can be read.

    Args:
        samples: the data set. Where it has `paths`, one per sample, it is known which of the listed
            files are its own; otherwise all of them count.
        allowed: how many of its samples may be unreadable; null for a thousandth of them, at least
            1.
        folder: of the run, for the list. Without one each process keeps its own count.
    """

    def __init__(
        self, samples: Sized, allowed: int | None = None, folder: Path | None = None
    ) -> None:
        self.count = len(samples)
        self.paths: Sequence[Path] | None = getattr(samples, "paths", None)
        self.allowed = max(1, self.count // 1000) if allowed is None else allowed
        self.list = UnreadableList(folder / LIST) if folder else None
        self._noted: dict[str, str] = {}

    def counts_like(self, other: "UnreadableSamples") -> bool:
        """Whether both count the same data set in the same folder."""
        same_set = self.paths is other.paths and self.count == other.count
        return same_set and (self.list and self.list.path) == (other.list and other.list.path)

    def read(self, read: Callable[[int], Read], seed: int, epoch: int, index: int) -> Read:
        """What `read` makes of sample `index`, or else of the first of those drawn for its place
        that can be read.

        Raises:
            UserError: where more are unreadable than are allowed, and where none of `ATTEMPTS`
                samples can be read.
        """
        chosen = index
        for attempt in range(ATTEMPTS):
            try:
                return read(chosen)
            except UnreadableSample as error:
                self.note(error)
                if attempt == ATTEMPTS - 1:
                    raise UserError(
                        f"data: {error.told}; nor can the {attempt} samples before it, drawn for "
                        "the same place; mend the data set, or fetch it anew"
                    ) from error
            chosen = fold_seed(seed, epoch, index, REPLACEMENT + attempt) % self.count
        raise AssertionError

    def note(self, error: UnreadableSample) -> None:
        """Count a sample, once.

        Raises:
            UserError: where it is one too many.
        """
        name = _name(error.file)
        if name in self._noted:
            return
        found = self._added(name, in_one_line(error.reason))
        if len(found) > self.allowed and len(found := self._own(found)) > self.allowed:
            seen = f", listed in {in_one_line(self.list.path)}" if self.list else ""
            delete = ", and delete the list" if self.list else ""
            raise UserError(
                f"data: {error.told}; {len(found)} of {self.count} samples cannot be read{seen}, "
                f"and {self.allowed} may be; mend or remove them{delete}, or raise "
                "--data.max_corrupt"
            )
        self._noted[name] = in_one_line(error.reason)

    def found(self) -> dict[str, str]:
        """Reason by file of this data set's samples that could not be read, as far as this process
        or the list knows."""
        try:
            listed = self.list.read() if self.list else {}
        except OSError:
            listed = {}
        return self._own(_without_left_out(listed) | self._noted)

    def _added(self, name: str, reason: str) -> dict[str, str]:
        try:
            listed = self.list.add(name, reason) if self.list else {}
        # a full disk is no reason to stop for one sample: the count is then this process' own
        except OSError:
            listed = {}
        return {name: reason} | _without_left_out(listed) | self._noted

    def _own(self, found: dict[str, str]) -> dict[str, str]:
        if self.paths is None or not found:
            return found
        return {name: found[name] for name in map(_name, self.paths) if name in found}


def _without_left_out(listed: dict[str, str]) -> dict[str, str]:
    """They may be part of the set again, when less is asked of a sample."""
    return {name: reason for name, reason in listed.items() if not reason.startswith(LEFT_OUT)}


def _name(file: Path) -> str:
    return in_one_line(os.path.abspath(file))


def replaced_samples(counts: Sequence[UnreadableSamples]) -> str | None:
    """A line on the samples of all these data sets that were replaced; null where there was
    none."""
    found = {name: reason for count in counts for name, reason in count.found().items()}
    lists = {str(count.list.path) for count in counts if count.list and count.list.path.is_file()}
    if not found:
        return None
    where = ", ".join(sorted(lists) or [*list(found)[:3], *(["..."] if len(found) > 3 else [])])
    if len(found) == 1:
        return f"1 sample could not be read and was replaced by another: {where}"
    return f"{len(found)} samples could not be read and were replaced by others: {where}"
