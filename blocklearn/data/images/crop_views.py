"""Crops in the image's own scale, in colour or grey."""

from PIL import Image
from torch import Tensor
from torchvision.transforms import v2 as T

from blocklearn.data.images.image_spec import ImageSpec, ToNormalisedTensor
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError


class CropViews(ViewRecipe):
    """One view by random crop and horizontal flip, for training and probing alike; for testing the
    crop in the centre. Greedy InfoMax on STL-10 (arXiv 1905.11786) takes 64 of 96 pixels in grey.

    Args:
        spec: size and statistics of the images.
        greyscale: one channel, `(1, size, size)`, normalised with the statistics of
            `ImageSpec.in_grey`.
        flip: probability of a horizontal flip.
        padding: black pixels put around the image before the random crop. Larger than 0, it also
            lets images be smaller than the crop, by up to this many pixels on each side; in testing
            they get as much black around them as the crop needs.

    Raises:
        ValueError: for a padding below 0 or a flip outside [0, 1].
        UserError: with a view of an image that is smaller than the crop.
    """

    num_views = 1

    def __init__(
        self, spec: ImageSpec, greyscale: bool = False, flip: float = 0.5, padding: int = 0
    ) -> None:
        if padding < 0 or not 0 <= flip <= 1:
            raise ValueError(
                f"padding must be at least 0 and flip in [0, 1], got {padding} and {flip}"
            )
        self.size, self.padding = spec.size, padding
        self.channels = 1 if greyscale else 3
        to_tensor = ToNormalisedTensor(spec.in_grey() if greyscale else spec)
        finish = [T.Grayscale(), to_tensor] if greyscale else [to_tensor]
        self._random = T.Compose(
            [
                T.RandomCrop(spec.size, padding=padding or None),
                T.RandomHorizontalFlip(flip),
                *finish,
            ]
        )
        self._centre = T.Compose([T.CenterCrop(spec.size), *finish])

    @property
    def other_channels(self) -> str:
        return f"set --data.recipe.greyscale {str(self.channels == 3).lower()}"

    def training_view(self, sample: Image.Image, view: int) -> Tensor:
        return self.probe_view(sample)

    def probe_view(self, sample: Image.Image) -> Tensor:
        self._require_size(sample)
        return self._random(sample)

    def plain_view(self, sample: Image.Image) -> Tensor:
        self._require_size(sample)
        return self._centre(sample)

    def _require_size(self, image: Image.Image) -> None:
        shorter = min(image.size)
        if shorter + 2 * self.padding < self.size:
            raise UserError(
                f"data: an image of {image.width} x {image.height} pixels is smaller than the crop "
                f"of {self.size}; set --data.image_size to {shorter + 2 * self.padding} or less, "
                f"or --data.recipe.padding to {-(-(self.size - shorter) // 2)} or more"
            )
