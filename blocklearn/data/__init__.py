"""Data modules and view recipes; they know no model."""

from blocklearn.data.datamodule import ImageDataModule
from blocklearn.data.digits import Digits
from blocklearn.data.image_folder import ImageFolder
from blocklearn.data.synthetic import Synthetic
from blocklearn.data.torchvision_sets import CIFAR10, CIFAR100, STL10, FashionMNIST
from blocklearn.data.views import BarlowTwinsViews, ImageSpec, SingleView, SmallImageViews, ViewRecipe

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "STL10",
    "BarlowTwinsViews",
    "Digits",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
    "ImageSpec",
    "SingleView",
    "SmallImageViews",
    "Synthetic",
    "ViewRecipe",
]
