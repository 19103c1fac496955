"""Clips of videos: the views of video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blocklearn.data.images.image_spec import IMAGENET_MEAN, IMAGENET_STD
from blocklearn.data.video.opened import unreadable
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """What a data set asks of a recipe.

    Attributes:
        image_size: height and width of a clip in pixels.
        frames: of a clip.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
    """

    image_size: int
    frames: int
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD


class Readable(Protocol):
    """What a clip is cut from: a `Video`, a `FrameFolder` or an `ArrayVideo`."""

    @property
    def path(self) -> Path: ...
    @property
    def frames(self) -> int: ...
    def read(self, start: int = 0, frames: int | None = None, stride: int = 1) -> Tensor: ...


class ClipViews(ViewRecipe):
    """One clip of a video, `(3, T, size, size)`, normalised. For training and probing it begins
    anywhere, is cut out at random and is flipped at random, all its frames alike; for testing it
    lies in the middle of the video and of its frames. Of UCF101 the blockwise video transformers
    (arXiv 2601.09040) take 16 frames, every fourth, in a random crop of 128 pixels.

    To what size frames are brought before they are cut the paper does not say. Our choice is that
    the crop is 7/8 of the shorter side, as 224 of 256 pixels are.

    Args:
        spec: frames and size of the clips, statistics of the pixels.
        stride: frames of the video from one of the clip to the next.
        flip: probability of a horizontal flip.
        shorter_side: of the frames in pixels, once they are resized and before they are cut; null
            for 8/7 of the size of a clip, 0 for the frames' own, so that nothing is resized.
        num_views: clips of one video, drawn one by one.

    Raises:
        ValueError: for a stride or number of views below 1, or a flip outside [0, 1].
        UserError: for another kind of data, and for a crop larger than the shorter side; with a
            view, for a crop larger than a video's own frames.
    """

    def __init__(
        self,
        spec: VideoSpec,
        stride: int = 4,
        flip: float = 0.5,
        shorter_side: int | None = None,
        num_views: int = 1,
    ) -> None:
        if stride < 1 or num_views < 1 or not 0 <= flip <= 1:
            raise ValueError(
                f"stride and num_views must be at least 1 and flip in [0, 1], got {stride}, "
                f"{num_views} and {flip}"
            )
        if not isinstance(spec, VideoSpec):
            raise UserError(
                "data: the recipe ClipViews is one for video, which this data set is not; choose "
                "another with --data.recipe"
            )
        self.spec, self.stride, self.flip, self.num_views = spec, stride, flip, num_views
        self.shorter_side = round(spec.image_size * 8 / 7) if shorter_side is None else shorter_side
        if 0 < self.shorter_side < spec.image_size or self.shorter_side < 0:
            raise UserError(
                f"data: a clip of {spec.image_size} pixels does not fit into a shorter_side of "
                f"{shorter_side}: lower --data.image_size, or raise --data.recipe.shorter_side"
            )
        scale = 1 / (255 * torch.tensor(spec.std))
        shift = -torch.tensor(spec.mean) / torch.tensor(spec.std)
        self._scale, self._shift = scale.reshape(3, 1, 1, 1), shift.reshape(3, 1, 1, 1)

    @property
    def min_frames(self) -> int:
        """Of a video that a clip can be taken from: the frames of a clip times the stride."""
        return self.spec.frames * self.stride

    def training_view(self, sample: Readable, view: int) -> Tensor:
        return self.probe_view(sample)

    def probe_view(self, sample: Readable) -> Tensor:
        frames = self._frames(sample, int(torch.randint(self._starts(sample), ())))
        side = self._side(sample, frames)
        top = int(torch.randint(frames.shape[1] - side + 1, ()))
        left = int(torch.randint(frames.shape[2] - side + 1, ()))
        clip = self._cut(frames, top, left, side)
        return clip.flip(-1) if float(torch.rand(())) < self.flip else clip

    def plain_view(self, sample: Readable) -> Tensor:
        frames = self._frames(sample, (self._starts(sample) - 1) // 2)
        side = self._side(sample, frames)
        return self._cut(frames, (frames.shape[1] - side) // 2, (frames.shape[2] - side) // 2, side)

    def _starts(self, sample: Readable) -> int:
        """How many there are."""
        if sample.frames < self.min_frames:
            raise unreadable(
                sample.path,
                f"it has {sample.frames} frames, fewer than the {self.min_frames} of a clip "
                f"({self.spec.frames}, one of {self.stride})",
            )
        return sample.frames - self.min_frames + 1

    def _frames(self, sample: Readable, start: int) -> Tensor:
        return sample.read(start, self.spec.frames, self.stride)

    def _side(self, sample: Readable, frames: Tensor) -> int:
        """Of the square that is cut out of the frames as they are, in pixels."""
        size, shorter = self.spec.image_size, min(frames.shape[1:3])
        if self.shorter_side:
            return max(1, round(size * shorter / self.shorter_side))
        if size > shorter:
            raise UserError(
                f"data: the video {sample.path} of {frames.shape[2]} x {frames.shape[1]} pixels is "
                f"smaller than a clip of {size}; set --data.image_size to {shorter} or less, or "
                "--data.recipe.shorter_side null"
            )
        return size

    def _cut(self, frames: Tensor, top: int, left: int, side: int) -> Tensor:
        cut = frames[:, top : top + side, left : left + side].permute(0, 3, 1, 2)
        if side != self.spec.image_size:
            size = (self.spec.image_size,) * 2
            cut = interpolate(cut, size, mode="bilinear", antialias=True)
        return torch.addcmul(self._shift, cut.transpose(0, 1).float(), self._scale)
