"""Clips a second from video files, one after the other on one thread.

A clip is 16 frames, every fourth, of files of 320 x 240 pixels: MPEG-4 in an AVI, as UCF101 is, and
H.264 with B-frames in an MP4. Ours finds the keyframe before the clip and stops at its end, and
looks for both in the file's packets, as in a first epoch; the baseline decodes the whole file, and
makes pictures of the frames of the clip alone. A view is read, cut and normalised, as a loader does
it from the second epoch on. Where torchcodec is installed and finds FFmpeg, it reads the same
clips, on one thread, as a baseline of its own. The row on headers is what is done once before
training.
"""

import argparse
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from benchmarks.rows import Row, in_turns, one_thread, run_rows
from blocklearn.data.video.clip_views import ClipViews, VideoSpec
from blocklearn.data.video.video import open_video
from blocklearn.data.video.video_files import short_ones
from blocklearn.data.video.video_index import _index

CODECS = {
    "mpeg4 avi": ("avi", "mpeg4", {"bf": "0", "g": "12", "b": "800000"}),
    "h264 mp4": ("mp4", "libx264", {"bf": "2", "g": "48", "preset": "fast"}),
}
CLIP, STRIDE = 16, 4


def write_video(path: Path, codec: str, options: dict[str, str], seed: int, frames: int) -> None:
    """A smooth picture that drifts, with a little noise."""
    draw = np.random.default_rng(seed)
    coarse = torch.from_numpy(draw.uniform(0, 255, (1, 3, 24, 32))).float()
    size = {"size": (480, 640), "mode": "bicubic"}
    ground = torch.nn.functional.interpolate(coarse, **size)[0].permute(1, 2, 0).numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(frames):
            top, left = number % 240, number * 5 // 4 % 320
            part = ground[top : top + 240, left : left + 320] + draw.normal(0, 4, (240, 320, 1))
            pixels = np.ascontiguousarray(part.clip(0, 255).astype(np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def whole_file(path: Path, start: int) -> np.ndarray:
    """The clip, of all frames of the file."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        chosen = list(container.decode(video=0))[start : start + CLIP * STRIDE : STRIDE]
    return np.stack([frame.to_ndarray(format="rgb24") for frame in chosen])


def by_torchcodec() -> Callable[[Path, int], Any] | None:
    """Reads a clip with torchcodec; null where it is not installed, or finds no FFmpeg."""
    try:
        from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError, RuntimeError):
        return None
    indices = [place * STRIDE for place in range(CLIP)]

    def read(path: Path, start: int) -> Any:
        decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="exact")
        return decoder.get_frames_at(indices=[start + index for index in indices]).data

    return read


def codec_rows(name: str, files: list[Path], settings: argparse.Namespace) -> list[Row]:
    draw = np.random.default_rng(0)
    starts = draw.integers(0, settings.frames - CLIP * STRIDE + 1, len(files)).tolist()
    recipe = ClipViews(VideoSpec(128, CLIP))

    def ours(path: Path, start: int) -> Any:
        _index.cache_clear()  # as in a first epoch
        return open_video(path).read(start, CLIP, STRIDE)

    readers: dict[str, Callable[[Path, int], Any]] = {"ours": ours, "whole": whole_file}
    if (peer := by_torchcodec()) is not None:
        try:
            assert np.array_equal(peer(files[0], 0).shape, (CLIP, 3, 240, 320))
            readers["torchcodec"] = peer
        except RuntimeError:  # it is installed, and finds no FFmpeg
            pass
    ways = {
        reader: lambda read=read: [read(*pair) for pair in zip(files, starts, strict=True)]
        for reader, read in readers.items()
    }
    ways["view"] = lambda: [recipe.probe_view(open_video(path)) for path in files]
    seconds = in_turns(ways, settings.turns)
    rates = {reader: [len(files) / s for s in times] for reader, times in seconds.items()}
    notes = {"files": len(files), "frames": settings.frames, "clip": CLIP, "stride": STRIDE}
    what = f"{name}, {CLIP} frames, every {STRIDE}th, read"
    found, whole = rates["ours"], rates["whole"]
    frames = [CLIP * rate for rate in found]
    rows = [
        Row("video clip", what, "decoding the whole file", "clips/s", found, whole, notes=notes),
        Row("video frames", what, "", "frames/s", frames, notes=notes),
        Row("video view", f"{name}, read, cut, normalised", "", "clips/s", rates["view"]),
    ]
    if "torchcodec" in rates:
        peer_rates = rates["torchcodec"]
        rows.append(
            Row("video peer", what, "torchcodec", "clips/s", found, peer_rates, notes=notes)
        )
    return rows


def header_row(name: str, files: list[Path], settings: argparse.Namespace) -> Row:
    seconds = in_turns({"ours": lambda: short_ones(files, CLIP * STRIDE)}, settings.turns)["ours"]
    each = [1000 * s / len(files) for s in seconds]
    return Row("video headers", f"{name}, one header before training", "", "ms", each)


def measure(settings: argparse.Namespace) -> list[Row]:
    """On one thread; headers on all cores."""
    rows = []
    with one_thread(), tempfile.TemporaryDirectory() as made:
        for name, (suffix, codec, options) in CODECS.items():
            files = [Path(made) / f"{number}.{suffix}" for number in range(settings.files)]
            for number, path in enumerate(files):
                write_video(path, codec, options, number, settings.frames)
            rows += [*codec_rows(name, files, settings), header_row(name, files, settings)]
    return rows


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(turns=5)
    parser.add_argument("--files", type=int, default=20, help="of each codec, one clip of each")
    parser.add_argument("--frames", type=int, default=250, help="of a file")


if __name__ == "__main__":
    run_rows(measure, __doc__, {"files": 2, "frames": 80}, more_arguments)
