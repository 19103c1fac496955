"""One video file, read a clip at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from blocklearn.data.video.opened import opened, unreadable
from blocklearn.data.video.video_index import VideoIndex, index_video

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True)
class Video:
    """A video file of any format that FFmpeg reads; `open_video` makes one.

    Attributes:
        path: of the file.
        frames: how many it has.
        height: in pixels, as stored.
        width: in pixels, as stored.
        fps: frames a second on average; 0 where it is not known.
        index: where its frames are.
    """

    path: Path
    frames: int
    height: int
    width: int
    fps: float
    index: VideoIndex = field(repr=False)

    def read(self, start: int = 0, frames: int | None = None, stride: int = 1) -> Tensor:
        """`(T, H, W, 3)` uint8 in RGB, turned as the file says. From an MP4, a QuickTime or a
        Matroska file, and from an AVI without B-frames, it is decoded from the keyframe before the
        clip to the clip's end; from any other, from the beginning to the clip's end.

        Args:
            start: first frame.
            frames: T; null for all that follow.
            stride: 1 for every frame, 4 for every fourth.

        Raises:
            UnreadableSample: for a file that cannot be read, damage within the clip, or a clip that
                goes beyond the video's end, by name.
        """
        last = self.frames if frames is None else start + (frames - 1) * stride + 1
        if not 0 <= start < last <= self.frames:
            raise unreadable(
                self.path, f"it has {self.frames} frames, none of {start} to {last - 1}"
            )
        return self._pictures(list(range(start, last, stride)))

    def _pictures(self, wanted: list[int]) -> Tensor:
        from av.video.reformatter import VideoReformatter

        reformatter, pictures, turn = VideoReformatter(), [], 0
        for number, frame in zip(wanted, self._frames(wanted), strict=False):
            if frame.is_corrupt:
                raise unreadable(self.path, f"its frame {number} is damaged")
            pictures.append(reformatter.reformat(frame, format="rgb24").to_ndarray())
            turn = round(frame.rotation / 90)
        if len(pictures) < len(wanted):
            raise unreadable(self.path, f"its frame {wanted[len(pictures)]} cannot be decoded")
        if len({picture.shape for picture in pictures}) > 1:
            raise unreadable(self.path, "its frames are of different size")
        return torch.from_numpy(np.ascontiguousarray(np.rot90(np.stack(pictures), turn, (1, 2))))

    def _frames(self, wanted: list[int]) -> "Iterator[VideoFrame]":
        """Those that are wanted, as far as they are there."""
        if self.index.times is None:
            with opened(self.path) as (container, stream):
                chosen, last = set(wanted), wanted[-1]
                for number, frame in enumerate(container.decode(stream)):
                    if number in chosen:
                        yield frame
                    if number == last:
                        return
        else:
            yield from self._at(self.index.times[wanted])

    def _at(self, times: np.ndarray) -> "Iterator[VideoFrame]":
        left = times.tolist()
        for frame in self._decoded_for(left[0]):
            if frame.pts is not None and frame.pts > left[0]:
                return
            if frame.pts == left[0]:
                yield frame
                del left[0]
                if not left:
                    return

    def _decoded_for(self, time: int) -> "Iterator[VideoFrame]":
        """Decoded from the last keyframe before; from the beginning where the container's own index
        leads elsewhere."""
        keys = self.index.keys
        before = int(np.searchsorted(keys, time, side="right")) - 1
        if before > 0:
            with opened(self.path) as (container, stream):
                container.seek(int(keys[before]), stream=stream)
                packets = container.demux(stream)
                first = next(packets)
                if first.pts in keys[: before + 1]:
                    yield from first.decode()  # pyright: ignore[reportReturnType]
                    for packet in packets:
                        yield from packet.decode()
                    return
        with opened(self.path) as (container, stream):
            yield from container.decode(stream)


def open_video(path: Path) -> Video:
    """The video in a file, of which nothing is decoded, as a rule.

    Args:
        path: of the file.

    Raises:
        UnreadableSample: as `index_video`.
    """
    index = index_video(path)
    return Video(path, index.frames, index.height, index.width, index.fps, index)
