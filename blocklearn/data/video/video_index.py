"""Which frames a video file holds, and where each can be found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blocklearn.data.video.opened import opened, unreadable
from blocklearn.data.whole_file import cut_short

if TYPE_CHECKING:
    from av.packet import Packet

OWN_TIMES = ("mov", "matroska")  # containers that state when each frame is shown
IN_ORDER = (
    "avi",
)  # that do not, so that a seek finds a frame only where none is shown out of turn
HIDDEN = ("vp8",)  # codecs with packets that are no frames
REMEMBERED = 4096  # files, in each process; about 3 kB each


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """Of one file.

    Attributes:
        frames: how many there are, whatever the header says.
        height: in pixels, as stored.
        width: in pixels, as stored.
        fps: frames a second on average; 0 where it is not known.
        times: `(frames,)` integers, when each is shown, in the stream's own unit, ascending; null
            where frames can only be found by counting from the first.
        keys: the times of the frames that decoding can begin with, ascending.
    """

    frames: int
    height: int
    width: int
    fps: float
    times: np.ndarray | None
    keys: np.ndarray


def index_video(path: Path) -> VideoIndex:
    """The index of a file, remembered until the file changes.

    Every packet is looked at and none is decoded (2 ms for 200 frames), since the count in a header
    may be missing or wrong. Where the container does not say when each frame is shown, or a codec
    hides frames, the whole file is decoded and counted instead.

    Raises:
        UnreadableSample: for a file that is missing, empty, no video, cut short, damaged, or
            without a frame, by name.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise unreadable(path, error.strerror) from error
    return _index(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=REMEMBERED)
def _index(path: Path, size: int, changed: int) -> VideoIndex:
    with opened(path) as (container, stream):
        if reason := cut_short(path):
            raise unreadable(path, reason)
        packets = list(_packets(path, container.demux(stream)))
        if not packets:
            raise unreadable(path, "it holds no frames")
        context, rate = stream.codec_context, float(stream.average_rate or 0)
        shape = (context.height, context.width, rate)
        if context.name not in HIDDEN and _times_hold(container.format.name, packets):
            times, keys = [p.pts for p in packets], [p.pts for p in packets if p.is_key]
            return VideoIndex(len(times), *shape, _ascending(times), _ascending(keys))
    return VideoIndex(_count(path), *shape, None, _ascending([]))


class _Packet(NamedTuple):
    """A frame, encoded: when it is shown and decoded, and whether decoding can begin with it."""

    pts: int | None
    dts: int | None
    is_key: bool


def _packets(path: Path, packets: "Iterable[Packet]") -> Iterator[_Packet]:
    """Without what they hold, which is the whole file."""
    for packet in packets:
        if packet.is_corrupt:
            raise unreadable(path, "it is cut short or damaged")
        if packet.size and not packet.is_discard:
            yield _Packet(packet.pts, packet.dts, packet.is_keyframe)


def _times_hold(container: str, packets: Sequence[_Packet]) -> bool:
    """Whether a frame is found again by the time of its packet, after a seek too."""
    times = {packet.pts for packet in packets}
    if None in times or len(times) < len(packets):
        return False
    if container.startswith(OWN_TIMES):
        return True
    in_turn = all(packet.pts == packet.dts for packet in packets)
    return in_turn and container.startswith(IN_ORDER)


def _ascending(times: Sequence[int | None]) -> np.ndarray:
    return np.sort(np.array(times, dtype=np.int64))


def _count(path: Path) -> int:
    with opened(path) as (container, stream):
        frames = sum(1 for _ in container.decode(stream))
    if not frames:
        raise unreadable(path, "none of its frames can be decoded")
    return frames
