"""Data modules and view recipes; they know no model."""

from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.images.crop_views import CropViews
from blocklearn.data.images.digits import Digits
from blocklearn.data.images.glyph_views import GlyphViews
from blocklearn.data.images.image_datamodule import ImageDataModule
from blocklearn.data.images.image_folder import ImageFolder
from blocklearn.data.images.image_spec import ImageSpec
from blocklearn.data.images.multi_crop import MultiCrop
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
from blocklearn.data.video.array_video import ArrayVideo
from blocklearn.data.video.clip_views import ClipViews, VideoSpec
from blocklearn.data.video.frame_folder import FrameFolder
from blocklearn.data.video.moving_digits import MovingDigits
from blocklearn.data.video.ucf101 import UCF101
from blocklearn.data.video.video import Video
from blocklearn.data.video.video_datamodule import VideoDataModule
from blocklearn.data.video.video_folder import VideoFolder
from blocklearn.data.video.videos_of_files import VideosOfFiles
from blocklearn.data.view_recipe import ViewRecipe

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "STL10",
    "UCF101",
    "ArrayVideo",
    "BarlowTwinsViews",
    "ClipViews",
    "CropViews",
    "Digits",
    "FashionMNIST",
    "FrameFolder",
    "GlyphViews",
    "ImageDataModule",
    "ImageFolder",
    "ImageSpec",
    "KeyedDataModule",
    "LibriSpeech",
    "MovingDigits",
    "MultiCrop",
    "Recording",
    "SingleView",
    "SmallImageViews",
    "SoundSpec",
    "SpeechDataModule",
    "SpokenDigits",
    "Streaming",
    "Synthetic",
    "UnreadableSample",
    "Video",
    "VideoDataModule",
    "VideoFolder",
    "VideoSpec",
    "VideosOfFiles",
    "ViewRecipe",
    "WindowViews",
]
