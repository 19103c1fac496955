"""Videos on disk, and those of them that are too short for a clip."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from blocklearn.data.video.frame_folder import FrameFolder, open_frames
from blocklearn.data.video.opened import opened
from blocklearn.data.video.video import Video, open_video
from blocklearn.data.video.video_index import index_video
from blocklearn.errors import UnreadableSample
from blocklearn.machine import available_cores

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"),
    *(".ogv", ".m2ts", ".mts", ".vob", ".divx"),
)


class VideoFiles:
    """Video files and folders of frames.

    Args:
        files: path and label of each.

    Raises:
        UnreadableSample: with an item, whatever is wrong with it.
    """

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def paths(self) -> list[Path]:
        return [path for path, _ in self.files]

    @property
    def labels(self) -> list[int]:
        return [label for _, label in self.files]

    def __getitem__(self, index: int) -> tuple[Video | FrameFolder, int]:
        path, label = self.files[index]
        return (open_frames if path.is_dir() else open_video)(path), label


def short_ones(
    paths: Sequence[Path], frames: int
) -> tuple[dict[Path, int], list[UnreadableSample]]:
    """Which videos have fewer frames than are asked for, with their number, and which cannot be
    opened. Headers are believed where they say that a video is long enough; all others are counted.
    As many headers are read at once as there are cores.

    Args:
        paths: of videos.
        frames: that a video should have.
    """

    def looked_at(path: Path) -> int | UnreadableSample:
        try:
            return _count(path, frames)
        except UnreadableSample as error:
            return error

    with ThreadPoolExecutor(available_cores()) as threads:
        found = dict(zip(paths, threads.map(looked_at, paths), strict=True))
    errors = [count for count in found.values() if isinstance(count, UnreadableSample)]
    counts = {p: count for p, count in found.items() if not isinstance(count, UnreadableSample)}
    return {path: count for path, count in counts.items() if count < frames}, errors


def _count(path: Path, enough: int) -> int:
    if path.is_dir():
        return open_frames(path).frames
    with opened(path) as (_, stream):
        told = stream.frames
    return told if told >= enough else index_video(path).frames
