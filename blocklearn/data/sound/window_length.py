"""Whether a window fits into any recording: told before training."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from blocklearn.data.sound.recording import Recording, open_recording
from blocklearn.data.sound.sound_views import WindowViews
from blocklearn.errors import UnreadableSample, UserError

FEW = 32  # headers that are looked at first


def require_whole_window(files: list[Path], views: WindowViews) -> None:
    """Refuse a window that is longer than every recording, unless short ones are repeated to fill
    it: all views would be part silence, or refused one by one.

    A few headers, spread over the set, are read first, and mostly the first will do. If none is
    long enough the others follow, the largest files first, so that nothing is refused that has not
    been looked at.

    Args:
        files: the recordings. Those that cannot be read are passed over.
        views: the recipe.

    Raises:
        UserError: naming the longest recording.
    """
    if views.short == "repeat":
        return
    longest: Recording | None = None
    for file in chain(files[:: max(1, len(files) // FEW)], _largest_first(files)):
        try:
            recording = open_recording(file, views.spec.sample_rate)
        except UnreadableSample:
            continue
        if recording.frames >= views.window:
            return
        if longest is None or recording.frames > longest.frames:
            longest = recording
    if longest is not None:
        raise UserError(
            f"data: the window of {views.window} samples is longer than every recording; the "
            f"longest, {longest.path}, has {longest.frames} at {longest.sample_rate} Hz; lower "
            "--data.recipe.window, or set --data.recipe.short repeat"
        )


def _largest_first(files: list[Path]) -> Iterator[Path]:
    """A generator, so that the sizes are asked for only where they are needed."""
    yield from sorted(files, key=_size, reverse=True)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
