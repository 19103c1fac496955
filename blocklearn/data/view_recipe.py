"""How a sample becomes views for training, and one view for probing."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from blocklearn.errors import UserError


class ViewRecipe(ABC):
    """Subclass it, take the `ImageSpec`, the `SoundSpec` or the `VideoSpec` as first argument, and
    write the three methods. Each takes a sample, an RGB PIL image, a `Recording` or a `Video`, and
    returns a tensor: `(C, size, size)`, `(1, L)` or `(C, T, size, size)`. Draw from torch's global
    stream, as torchvision's transforms do: the data module keys it to (seed, epoch, sample, view).

    Attributes:
        num_views: for pretraining.
        channels: of a view, its first dimension; grey images have three equal ones, unless a recipe
            says otherwise.
        other_channels: what to set for another number of them, in words; null where the recipe
            knows no other.
    """

    num_views: int = 2
    channels: int = 3
    other_channels: str | None = None

    def sizes(self, size: int | None) -> list[int | None]:
        """Height and width of each training view; `size` is the data's own."""
        return [size] * self.num_views

    @abstractmethod
    def training_view(self, sample: Any, view: int) -> Tensor:
        """View number `view`, from 0, for pretraining; or a named tuple of tensors that `finish`
        makes a view of."""

    @abstractmethod
    def probe_view(self, sample: Any) -> Tensor:
        """An augmented view for training a probe."""

    @abstractmethod
    def plain_view(self, sample: Any) -> Tensor:
        """The sample as it is tested: no randomness."""

    def finish(self, view: Any, device: torch.device) -> Tensor:
        """The rest of the work on a batch of one training view, on the device: `(B, C, size,
        size)`. Written only by recipes that leave work to the device; `view` is the named tuple
        that `training_view` returned, each tensor with an axis for the batch in front, on the CPU.

        Raises:
            UserError: where the recipe has no such work.
        """
        raise UserError(
            f"data: {type(self).__name__} returns views of type {type(view).__name__} and has no "
            "`finish` for them"
        )

    def draw_views(
        self, count: int, view: int, height: int, width: int, generator: torch.Generator
    ) -> Tensor:
        """`(count, D)`, the draws of view number `view` of `count` images of `height` x `width`
        pixels. Written, with `views_of`, only by recipes for data that live on the device
        (`resident`).

        Raises:
            UserError: where the recipe has none.
        """
        raise UserError(
            f"data: {type(self).__name__} works on one image at a time, so the data cannot live on "
            "the device; choose another recipe (SmallImageViews, BarlowTwinsViews, GlyphViews), "
            "or set --data.resident false"
        )

    def views_of(self, images: Tensor, draws: Tensor) -> Tensor:
        """Training views `(B, C, size, size)` of images `(B, 3, H, W)`, uint8, on their device; the
        draws `(B, D)` are on the CPU."""
        raise NotImplementedError

    def view_label(self, sample: Any, label: Any) -> Tensor:
        """The labels of the frames of training view 0, `(W,)`, -1 where there is none; called under
        the same draws as that view. Written only by recipes for data with `frame_labels`.

        Raises:
            UserError: where the recipe has none.
        """
        raise UserError(
            f"data: {type(self).__name__} does not say which labels a view keeps, which a label "
            "every frame needs; choose a recipe that does (WindowViews) with --data.recipe, or "
            "another --data.target"
        )

    def whole_view(self, sample: Any) -> Tensor:
        """The sample in its whole length, for a label every frame: no randomness. Written only by
        recipes for data with `frame_labels`.

        Raises:
            UserError: where the recipe has no such view.
        """
        raise UserError(
            f"data: {type(self).__name__} has no view of a whole sample, which a label every frame "
            "needs; choose a recipe that has one (WindowViews) with --data.recipe, or another "
            "--data.target"
        )
