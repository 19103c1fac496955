"""Images in folders, one folder a class: ImageNet and its like."""

from functools import cached_property
from pathlib import Path
from typing import Any, Self

from blocklearn.data.images.folder_parts import FolderParts
from blocklearn.data.images.image_datamodule import ImageDataModule, RecipeFactory
from blocklearn.data.images.views import BarlowTwinsViews
from blocklearn.data.loader import LabelledSamples
from blocklearn.errors import UserError


class ImageFolder(ImageDataModule):
    """`root/train/CLASS/IMAGE` and `root/val/CLASS/IMAGE` (or `root/test/...`).

    Where there is neither `val` nor `test`, `held_out` of the training images, drawn once and for
    all, are kept for testing and out of training. Images that lie in `root/train` itself have no
    label.

    Args:
        root: folder of the pretraining images.
        recipe: makes the views.
        probe_root: folder of the labelled images for probing and testing; null for `root`.
        held_out: part of the training images kept for testing where the folder has no test images,
            in (0, 1).
        kwargs: the arguments of `ImageDataModule`.

    Raises:
        UserError: when the data is asked for and is not there; it names the folder.
    """

    def __init__(
        self,
        root: str | Path = "data/imagenet",
        recipe: RecipeFactory = BarlowTwinsViews,
        probe_root: str | Path | None = None,
        held_out: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(recipe, root, **kwargs)
        if not 0 < held_out < 1:
            raise UserError(f"data: held_out must lie between 0 and 1, got {held_out}")
        self.probe_root = Path(probe_root) if probe_root is not None else self.root
        self.held_out = held_out

    @classmethod
    def seen_as(cls, data: ImageDataModule, root: str | Path, held_out: float = 0.2) -> Self:
        """Another folder of labelled images, seen as `data` sees its own: the same recipe, size,
        mean and standard deviation, as a frozen network needs them.

        Args:
            data: what the network was trained on; ready.
            root: of the other images.
            held_out: as above.
        """
        other = cls(
            root,
            lambda spec: data.recipe,
            held_out=held_out,
            image_size=data.image_size,
            batch_size=data.batch_size,
            num_workers=data.num_workers,
            seed=data.keying_seed(),
            max_corrupt=data.max_corrupt,
        )
        other.trainer = data.trainer
        if folder := data.folder_of_list():
            other.list_unreadable_in(folder)
        return other

    @cached_property
    def _pretraining(self) -> "FolderParts":
        return FolderParts(self.root, self.held_out)

    @cached_property
    def _probing(self) -> "FolderParts":
        return (
            self._pretraining
            if self.probe_root == self.root
            else FolderParts(self.probe_root, self.held_out)
        )

    @property
    def title(self) -> str:
        """Name of the probes' folder, and whether its test images are held out of its training
        images."""
        name = self.probe_root.resolve().name
        return f"{name}, {self.held_out:.0%} held out" if self._probing.split_here else name

    @property
    def classes(self) -> list[str]:
        """Names of the probes' classes, by label."""
        return self._probing.classes

    @property
    def num_classes(self) -> int:
        return len(self._probing.classes)

    @property
    def roots(self) -> list[Path]:
        return [self.root, self.probe_root]

    def _splits(self) -> dict[str, LabelledSamples]:
        if self._probing is self._pretraining:
            return super()._splits()
        unlabelled = {"train": self._pretraining.train, "held_out": self._pretraining.test}
        return {**unlabelled, "probe": self._probing.train, "test": self._probing.test}

    def pretraining_samples(self) -> LabelledSamples:
        return self._pretraining.train

    def probe_samples(self) -> LabelledSamples:
        if not self._probing.classes:
            raise UserError(
                f"data: {self.probe_root} has no class folders to probe; name some with "
                "--data.probe_root"
            )
        return self._probing.train

    def test_samples(self) -> LabelledSamples:
        return self._probing.test
