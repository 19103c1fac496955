"""How a sample becomes views for training, and one view for probing."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from blocklearn.errors import UserError


class ViewRecipe(ABC):
    """Subclass it, take the `ImageSpec` or the `SoundSpec` as first argument, and write the three methods. Each takes a
    sample, an RGB PIL image or a `Recording`, and returns a tensor: `(C, size, size)` or `(1, L)`. Draw from torch's
    global stream, as torchvision's transforms do: the data module keys it to (seed, epoch, sample, view).

    Attributes:
        num_views: for pretraining.
        channels: of a view, its first dimension.
    """

    num_views: int = 2
    channels: int = 3

    @abstractmethod
    def training_view(self, sample: Any, view: int) -> Tensor:
        """View number `view`, from 0, for pretraining."""

    @abstractmethod
    def probe_view(self, sample: Any) -> Tensor:
        """An augmented view for training a probe."""

    @abstractmethod
    def plain_view(self, sample: Any) -> Tensor:
        """The sample as it is tested: no randomness."""

    def view_label(self, sample: Any, label: Any) -> Tensor:
        """The labels of the frames of training view 0, `(W,)`, -1 where there is none; called under the same draws as that
        view. Written only by recipes for data with `frame_labels`.

        Raises:
            UserError: where the recipe has none.
        """
        raise UserError(
            f"data: {type(self).__name__} does not say which labels a view keeps, which a label every frame needs; choose "
            "a recipe that does (WindowViews) with --data.recipe, or another --data.target"
        )

    def whole_view(self, sample: Any) -> Tensor:
        """The sample in its whole length, for a label every frame: no randomness. Written only by recipes for data with
        `frame_labels`.

        Raises:
            UserError: where the recipe has no such view.
        """
        raise UserError(
            f"data: {type(self).__name__} has no view of a whole sample, which a label every frame needs; choose a recipe "
            "that has one (WindowViews) with --data.recipe, or another --data.target"
        )
