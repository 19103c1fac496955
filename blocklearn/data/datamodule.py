"""What every image data module shares: loaders for pretraining, probing and testing."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from blocklearn.batch import Batch
from blocklearn.data.labelled_part import stratified_part
from blocklearn.data.loader import KeyedSampler, KeyedViews, LabelledImages, ResumableLoader
from blocklearn.data.views import IMAGENET_MEAN, IMAGENET_STD, ImageSpec, ViewRecipe
from blocklearn.errors import UserError
from blocklearn.machine import available_cores

RecipeFactory = Callable[[ImageSpec], ViewRecipe]


class ImageDataModule(LightningDataModule):
    """Subclass it, set the class attributes, and write the three data sets; each yields (RGB PIL image, label).

    Pretraining images and probe images are separate data sets, which may coincide.

    Attributes:
        title: name of the data set, for tables and results.
        num_classes: of the probes' labels.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].

    Args:
        recipe: builds the views from the `ImageSpec`.
        root: folder of the data.
        batch_size: over all processes.
        num_workers: loader processes; null for one a core, at most 8.
        image_size: height and width of a view in pixels.
        seed: of order and augmentation; null for the run's (`--seed_everything`).
        fixed_views: draw the augmentation of a training image once, so that every epoch sees the same views; what cached
            features of frozen blocks need.
    """

    title: str
    num_classes: int
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __init__(
        self,
        recipe: RecipeFactory,
        root: str | Path = "data",
        batch_size: int = 256,
        num_workers: int | None = None,
        image_size: int = 224,
        seed: int | None = None,
        fixed_views: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or image_size < 1 or (num_workers or 0) < 0:
            raise UserError(
                "data: batch_size and image_size must be at least 1 and num_workers at least 0, "
                f"got {batch_size}, {image_size} and {num_workers}"
            )
        self.root = Path(root)
        self.batch_size = batch_size
        self.num_workers = min(available_cores(), 8) if num_workers is None else num_workers
        self.image_size = image_size
        self.recipe = recipe(ImageSpec(image_size, self.mean, self.std))
        self._seed = seed
        self.fixed_views = fixed_views

    @abstractmethod
    def pretraining_images(self) -> LabelledImages:
        """For the local objectives; labels are not used."""

    @abstractmethod
    def probe_images(self) -> LabelledImages:
        """Labelled, for training probes."""

    @abstractmethod
    def test_images(self) -> LabelledImages:
        """Labelled, for testing probes; without their labels also for watching the local losses."""

    def setup(self, stage: str | None = None) -> None:
        if self._seed is None:
            self._seed = torch.initial_seed()

    def train_dataloader(self) -> ResumableLoader:
        images = self.pretraining_images()
        if len(images) < self.batch_size:
            raise UserError(
                f"data: {self.title} has {len(images)} images for training, fewer than one batch of {self.batch_size}; "
                "lower --data.batch_size"
            )
        return self._loader(images, self._training_views(), shuffle=True, fixed_views=self.fixed_views)

    def every_training_view(self) -> DataLoader[Batch]:
        """All training images in order, with the views that `fixed_views` gives them."""
        dataset = self._dataset(self.pretraining_images(), self._training_views())
        return DataLoader(dataset, batch_size=self.batch_size, num_workers=self.num_workers)

    def val_dataloader(self) -> ResumableLoader:
        return self._loader(self.test_images(), self._training_views(), shuffle=False)

    def probe_dataloader(self, batch_size: int, augment: bool = True, labelled_part: float = 1.0) -> ResumableLoader:
        """Labelled images for training a probe, in one view: augmented and shuffled, or as they are and in order. Of a
        `labelled_part` below 1 the images are those that `stratified_part` draws with the run's seed."""
        view = self.recipe.probe_view if augment else self.recipe.plain_view
        images = self.probe_images()
        if labelled_part < 1:
            images = stratified_part(images, labelled_part, torch.initial_seed() if self._seed is None else self._seed)
        return self._loader(images, [view], shuffle=augment, batch_size=min(batch_size, len(images)))

    def test_dataloader(self) -> ResumableLoader:
        return self._loader(self.test_images(), [self.recipe.plain_view], shuffle=False)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The test images. A plain loader, since Lightning builds its own from it to keep count of the samples."""
        dataset = self._dataset(self.test_images(), [self.recipe.plain_view])
        return DataLoader(dataset, batch_size=self.batch_size, num_workers=self.num_workers)

    def _training_views(self) -> list[Callable[[Image.Image], Tensor]]:
        return [partial(self.recipe.training_view, view=view) for view in range(self.recipe.num_views)]

    def _dataset(self, images: LabelledImages, transforms: Sequence[Callable[[Image.Image], Tensor]]) -> KeyedViews:
        return KeyedViews(images, transforms, torch.initial_seed() if self._seed is None else self._seed)

    def _loader(
        self,
        images: LabelledImages,
        transforms: Sequence[Callable[[Image.Image], Tensor]],
        shuffle: bool,
        batch_size: int | None = None,
        fixed_views: bool = False,
    ) -> ResumableLoader:
        world_size = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        batch_size = batch_size or self.batch_size
        if batch_size % world_size:
            raise UserError(f"data: batch_size {batch_size} does not divide among {world_size} processes")
        dataset = self._dataset(images, transforms)
        sampler = KeyedSampler(dataset, batch_size, shuffle, dataset.seed, world_size, rank, fixed_views)
        return ResumableLoader(dataset, sampler, self.num_workers)
