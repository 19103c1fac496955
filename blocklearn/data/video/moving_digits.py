"""scikit-learn's digits, moving: a video data set that is always at hand."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blocklearn.data.images.digits import ImageArray, load_digits
from blocklearn.data.loader import LabelledSamples
from blocklearn.data.video.array_video import ArrayVideo
from blocklearn.data.video.clip_views import ClipViews
from blocklearn.data.video.video_datamodule import VideoDataModule, VideoRecipeFactory
from blocklearn.errors import UserError

MOTIONS = (
    "still",
    "slowly across",
    "slowly up and down",
    "slowly both ways",
    "fast across",
    "fast up and down",
    "fast both ways",
)
AXES = ((0, 0), (1, 0), (0, 1), (1, 1), (1, 0), (0, 1), (1, 1))  # across, up and down
SPEEDS = (0, 1 / 20, 1 / 20, 1 / 20, 1 / 8, 1 / 8, 1 / 8)  # of the room that a digit has, a frame
MARGIN = 8  # a frame is larger than a clip by this part of it, which leaves a crop room
TEXTURE = 9  # patches on a side


class MovingDigits(VideoDataModule):
    """The 1,797 digits of scikit-learn, each half as large as the frame, moving over a ground of
    grey patches and turning back at the walls: nothing is downloaded. It is a fixed data set, one
    video a digit; those for testing show the digits that are held out in `Digits`.

    Each video has one of seven motions (`MOTIONS`): none, or across, up and down or both, slowly or
    fast. The position in any single frame is as likely with one motion as with another, so that it
    takes several frames to tell the motion.

    Args:
        target: what the probes tell apart: the digits (10), or the motions (7).
        frames: of a clip; a video is half as long again.
        image_size: height and width of a clip in pixels, at least 16; those of a video are larger
            by an eighth.
        recipe: builds the views; by default every frame from a random start in a random crop, and
            no flip, which makes other signs of digits.
        batch_size: samples of a batch, over all processes.
        num_workers: loader processes.
        kwargs: the arguments of `KeyedDataModule`; `root` is not used.

    Raises:
        UserError: for values out of range.
    """

    title = "moving digits"
    mean = (0.219,) * 3
    std = (0.149,) * 3

    def __init__(
        self,
        target: Literal["digit", "motion"] = "digit",
        frames: int = 8,
        image_size: int = 32,
        recipe: VideoRecipeFactory = lambda spec: ClipViews(
            spec, stride=1, flip=0.0, shorter_side=0
        ),
        batch_size: int = 64,
        num_workers: int = 0,
        **kwargs: Any,
    ) -> None:
        if target not in ("digit", "motion") or image_size < 16:
            raise UserError(
                "data: target must be digit or motion, and image_size at least 16, got "
                f"{target} and {image_size}"
            )
        super().__init__(
            recipe,
            frames=frames,
            image_size=image_size,
            batch_size=batch_size,
            num_workers=num_workers,
            **kwargs,
        )
        self.target = target

    @property
    def num_classes(self) -> int:
        return 10 if self.target == "digit" else len(MOTIONS)

    def pretraining_samples(self) -> LabelledSamples:
        return self._part(0)

    def test_samples(self) -> LabelledSamples:
        return self._part(1)

    def _part(self, split: int) -> "MovingGlyphs":
        length = getattr(self.recipe, "min_frames", self.frames) * 3 // 2
        size = self.image_size + self.image_size // MARGIN
        return _moving(split, length, size, self.image_size // 2, self.target == "motion")


class MovingGlyphs:
    """Videos of glyphs that move, drawn when they are asked for.

    Args:
        glyphs: what moves, one a video.
        length: of a video, in frames.
        size: height and width of a frame in pixels.
        glyph_size: of the glyphs in pixels.
        by_motion: whether the labels are the motions, or those of the glyphs.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        glyphs: ImageArray,
        length: int,
        size: int,
        glyph_size: int,
        by_motion: bool,
        seed: int,
    ) -> None:
        draw, count, room = np.random.default_rng(seed), len(glyphs), size - glyph_size
        self.motions = draw.permutation(count) % len(MOTIONS)
        begin = draw.uniform(0, 2 * room, (count, 1, 2))
        steps = room * np.array(SPEEDS)[self.motions, None] * np.array(AXES)[self.motions]
        way = begin + steps[:, None] * np.arange(length)[None, :, None]
        way %= 2 * room  # there and back, so that every place is as likely as any other
        self.places = np.minimum(way, 2 * room - way).round().astype(int)
        grounds = draw.integers(0, 96, (count, TEXTURE, TEXTURE), dtype=np.uint8)
        brightness = draw.uniform(0.7, 1, (count, 1, 1))
        self._grounds = _enlarged(grounds, size)
        self._glyphs = (_enlarged(glyphs.pixels, glyph_size) * brightness).astype(np.uint8)
        self.labels = self.motions if by_motion else glyphs.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[ArrayVideo, int]:
        name = Path(f"{MOTIONS[self.motions[index]]} {index}")
        return ArrayVideo(name, self._drawn(index)), int(self.labels[index])

    def _drawn(self, index: int) -> Tensor:
        glyph, places = self._glyphs[index], self.places[index]
        size = len(glyph)
        video = np.repeat(self._grounds[index : index + 1], len(places), 0)
        for frame, (x, y) in zip(video, places.tolist(), strict=True):
            place = frame[y : y + size, x : x + size]
            np.maximum(place, glyph, out=place)
        return torch.from_numpy(video)


@lru_cache(maxsize=8)
def _moving(split: int, length: int, size: int, glyph_size: int, by_motion: bool) -> MovingGlyphs:
    return MovingGlyphs(load_digits()[split], length, size, glyph_size, by_motion, seed=split)


def _enlarged(images: np.ndarray, size: int) -> np.ndarray:
    """`(N, size, size)` of `(N, H, W)`, uint8."""
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(i).resize((size, size), bicubic)) for i in images])
