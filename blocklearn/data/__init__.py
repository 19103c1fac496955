"""Data modules and view recipes; they know no model."""

from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.images.crop_views import CropViews
from blocklearn.data.images.digits import Digits
from blocklearn.data.images.glyph_views import GlyphViews
from blocklearn.data.images.image_datamodule import ImageDataModule
from blocklearn.data.images.image_folder import ImageFolder
from blocklearn.data.images.image_spec import ImageSpec
from blocklearn.data.images.streaming import Streaming
from blocklearn.data.images.synthetic import Synthetic
from blocklearn.data.images.torchvision_sets import CIFAR10, CIFAR100, STL10, FashionMNIST
from blocklearn.data.images.views import BarlowTwinsViews, SingleView, SmallImageViews
from blocklearn.data.sound.librispeech import LibriSpeech
from blocklearn.data.sound.recording import Recording
from blocklearn.data.sound.sound_views import SoundSpec, WindowViews
from blocklearn.data.sound.speech import SpeechDataModule
from blocklearn.data.sound.spoken_digits import SpokenDigits
from blocklearn.data.unreadable import UnreadableSample
from blocklearn.data.view_recipe import ViewRecipe

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "STL10",
    "BarlowTwinsViews",
    "CropViews",
    "Digits",
    "FashionMNIST",
    "GlyphViews",
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
    "Streaming",
    "Synthetic",
    "UnreadableSample",
    "ViewRecipe",
    "WindowViews",
]
