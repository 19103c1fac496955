"""CIFAR-10, CIFAR-100, STL-10 and Fashion-MNIST, read by torchvision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from torchvision import datasets

from blocklearn.data.images.decoding import as_seen
from blocklearn.data.images.glyph_views import GlyphViews
from blocklearn.data.images.image_datamodule import ImageDataModule, RecipeFactory
from blocklearn.data.images.views import SmallImageViews
from blocklearn.data.loader import LabelledSamples
from blocklearn.errors import UserError


class TorchvisionImages(ImageDataModule):
    """Shared by the sets below; each names torchvision's class and where its files lie under
    `root`.

    Args:
        root: folder that holds, or will hold, the set's own folder.
        image_size: height and width of a view in pixels.
        recipe: makes the views.
        download: fetch the data if it is missing (needs the network).
        kwargs: the arguments of `ImageDataModule`.

    Raises:
        UserError: when the data is asked for and is not there; it says where it was looked for.
    """

    folder: str
    source: str
    dataset: Callable[..., Any]

    def __init__(
        self,
        root: str | Path = "data",
        image_size: int = 32,
        recipe: RecipeFactory = SmallImageViews,
        download: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(recipe, root, image_size=image_size, **kwargs)
        self.download = download

    def pretraining_samples(self) -> LabelledSamples:
        return self._part(train=True)

    def test_samples(self) -> LabelledSamples:
        return self._part(train=False)

    def _part(self, **part: object) -> LabelledSamples:
        try:
            return RGB(type(self).dataset(self.root, download=self.download, **part))
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"data: {self.title} is not in {(self.root / self.folder).resolve()} "
                f"({str(error).splitlines()[0]}); name its parent folder with --data.root, or "
                f"fetch it with --data.download true or from {self.source}"
            ) from error


class CIFAR10(TorchvisionImages):
    __doc__ = (
        f"""60,000 colour images of 32 x 32 pixels in 10 classes.\n\n{TorchvisionImages.__doc__}"""
    )
    title, folder, num_classes = "CIFAR-10", "cifar-10-batches-py", 10
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    dataset = datasets.CIFAR10


class CIFAR100(TorchvisionImages):
    __doc__ = (
        f"""60,000 colour images of 32 x 32 pixels in 100 classes.\n\n{TorchvisionImages.__doc__}"""
    )
    title, folder, num_classes = "CIFAR-100", "cifar-100-python", 100
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    dataset = datasets.CIFAR100


class STL10(TorchvisionImages):
    """96 x 96 colour images: 100,000 without labels, 5,000 labelled for the probes, 8,000 for
    testing.

    Mean and standard deviation, in colour and in grey, are those of the 105,000 for training
    (Greedy InfoMax, arXiv 1905.11786).

    Args:
        image_size: height and width of a view in pixels.
        pretraining_split: what is trained on; supervised training takes `train`.
        kwargs: the arguments of `TorchvisionImages`.

    Raises:
        UserError: when the data is asked for and is not there; it says where it was looked for.
    """

    title, folder, num_classes = "STL-10", "stl10_binary", 10
    source = "https://cs.stanford.edu/~acoates/stl10"
    mean, std = (0.4313, 0.4156, 0.3663), (0.2683, 0.2610, 0.2687)
    grey = (0.4120, 0.2570)
    dataset = datasets.STL10

    def __init__(
        self,
        *args: Any,
        image_size: int = 96,
        pretraining_split: Literal["unlabeled", "train", "train+unlabeled"] = "unlabeled",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, image_size=image_size, **kwargs)
        self.pretraining_split = pretraining_split

    def pretraining_samples(self) -> LabelledSamples:
        return self._part(split=self.pretraining_split)

    def probe_samples(self) -> LabelledSamples:
        return self._part(split="train")

    def _splits(self) -> dict[str, LabelledSamples]:
        labelled = {"probe": self.probe_samples()} if self.pretraining_split == "unlabeled" else {}
        return {"train": self.pretraining_samples(), **labelled, "test": self.test_samples()}

    def test_samples(self) -> LabelledSamples:
        return self._part(split="test")


class FashionMNIST(TorchvisionImages):
    __doc__ = f"""70,000 grey images of 28 x 28 pixels, enlarged to `image_size`, in 10 classes.

    `root` may also be a folder with the four .gz files as published.\n\n\
{TorchvisionImages.__doc__}"""
    title, folder, num_classes = "Fashion-MNIST", "FashionMNIST/raw", 10
    source = "https://github.com/zalandoresearch/fashion-mnist"
    mean, std = (0.2860,) * 3, (0.3530,) * 3
    dataset = datasets.FashionMNIST

    def __init__(self, *args: Any, recipe: RecipeFactory = GlyphViews, **kwargs: Any) -> None:
        super().__init__(*args, recipe=recipe, **kwargs)

    def _part(self, **part: object) -> LabelledSamples:
        prefix = "train" if part["train"] else "t10k"
        if (self.root / f"{prefix}-images-idx3-ubyte.gz").is_file():
            return read_idx_pair(self.root, prefix)
        return super()._part(**part)


class RGB:
    """Any torchvision set, its images in RGB."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def labels(self) -> Any:
        return self.dataset.targets if hasattr(self.dataset, "targets") else self.dataset.labels

    def __getitem__(self, index: int) -> Any:
        image, label = self.dataset[index]
        return as_seen(image), int(label)


def read_idx_pair(folder: Path, prefix: str) -> LabelledSamples:
    """Images and labels from gzipped idx files.

    Raises:
        UserError: for a missing or damaged file, by name.
    """
    import gzip

    import numpy as np

    from blocklearn.data.images.digits import ImageArray

    arrays = []
    for name, header in (
        (f"{prefix}-images-idx3-ubyte.gz", 16),
        (f"{prefix}-labels-idx1-ubyte.gz", 8),
    ):
        try:
            with gzip.open(folder / name) as file:
                arrays.append(np.frombuffer(file.read(), np.uint8, offset=header))
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"data: cannot read {folder / name}: {error}") from error
    pixels, labels = arrays
    return ImageArray(pixels.reshape(len(labels), 28, 28), labels)
