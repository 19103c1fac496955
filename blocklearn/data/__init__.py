"""Data modules and view recipes; they know no model."""

from blocklearn.data.crop_views import CropViews
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.digits import Digits
from blocklearn.data.image_datamodule import ImageDataModule
from blocklearn.data.image_folder import ImageFolder
from blocklearn.data.librispeech import LibriSpeech
from blocklearn.data.recording import Recording
from blocklearn.data.sound_views import SoundSpec, WindowViews
from blocklearn.data.speech import SpeechDataModule
from blocklearn.data.spoken_digits import SpokenDigits
from blocklearn.data.synthetic import Synthetic
from blocklearn.data.torchvision_sets import CIFAR10, CIFAR100, STL10, FashionMNIST
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.data.views import BarlowTwinsViews, ImageSpec, SingleView, SmallImageViews

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "STL10",
    "BarlowTwinsViews",
    "CropViews",
    "Digits",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
    "ImageSpec",
    "KeyedDataModule",
    "LibriSpeech",
    "Recording",
    "SingleView",
    "SmallImageViews",
    "SoundSpec",
    "SpeechDataModule",
    "SpokenDigits",
    "Synthetic",
    "ViewRecipe",
    "WindowViews",
]
