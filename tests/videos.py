"""Small videos on disk: coarse patches that drift, with the number of the frame as grey in a
corner."""

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np

WITH_B_FRAMES = {"bf": "2", "g": "10"}  # and a keyframe every ten frames
WITHOUT = {"bf": "0", "g": "10"}
ACTIONS = ("ApplyEyeMakeup", "Archery", "Basketball")


def frames_of(count: int, width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """`(count, height, width, 3)` uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    ground = np.tile(coarse.repeat(8, 0).repeat(8, 1), (2, 2, 1))
    frames = [
        ground[n % 128 : n % 128 + height, 2 * n % 128 : 2 * n % 128 + width] for n in range(count)
    ]
    video = np.stack(frames) if count else np.zeros((0, height, width, 3), np.uint8)
    video[:, :16, :16] = (np.arange(count) * 5 % 256).reshape(-1, 1, 1, 1)
    return video


def write_video(
    path: Path,
    count: int = 40,
    codec: str = "libx264",
    options: Mapping[str, str] = WITH_B_FRAMES,
    size: tuple[int, int] = (64, 48),
    seed: int = 0,
    muxing: Mapping[str, str] | None = None,
) -> Path:
    """`count` frames of `size` (width, height) at 25 frames a second; `muxing` are the options of
    the container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=dict(muxing or {})) as container:
        stream = container.add_stream(codec, rate=25, options=dict(options))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for pixels in frames_of(count, *size, seed):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """Half a second of silence in a container that could hold video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = np.zeros((1, 4000), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def every_frame(path: Path) -> np.ndarray:
    """`(N, H, W, 3)`: all of a file, decoded from beginning to end."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def write_ucf101(
    root: Path, groups: int = 3, clips: int = 2, frames: int = 40, codec: str = "mpeg4"
) -> Path:
    """The layout of UCF101 with three of its actions: the first group of each is for testing, in
    every fold. Returns the root."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    train, test = [], []
    for label, action in enumerate(ACTIONS):
        for group in range(1, groups + 1):
            for clip in range(1, clips + 1):
                name = f"{action}/v_{action}_g{group:02}_c{clip:02}.avi"
                seed = 100 * label + 10 * group + clip
                write_video(root / "UCF-101" / name, frames, codec, WITHOUT, seed=seed)
                (test if group == 1 else train).append((name, label + 1))
    indices = [f"{label} {action}\r\n" for label, action in enumerate(ACTIONS, 1)]
    (lists / "classInd.txt").write_text("".join(indices))
    for fold in (1, 2, 3):
        names = [f"{name} {label}\r\n" for name, label in train]
        (lists / f"trainlist{fold:02}.txt").write_text("".join(names))
        (lists / f"testlist{fold:02}.txt").write_text("".join(f"{name}\r\n" for name, _ in test))
    return root
