"""What blocks optimise; plain PyTorch."""

from blocklearn.objectives.barlow_twins import BarlowTwins
from blocklearn.objectives.combined import Combined
from blocklearn.objectives.context import Context
from blocklearn.objectives.criterion import Criterion
from blocklearn.objectives.frame_supervised import FrameSupervised
from blocklearn.objectives.joint_embedding import JointEmbedding
from blocklearn.objectives.patch_infonce import PatchInfoNCE
from blocklearn.objectives.pixel_cnn import PixelCNN
from blocklearn.objectives.pooling import (
    ClassTokenPooling,
    ExpandPooling,
    GlobalPooling,
    LocalPooling,
    Pooling,
    TokenMeanPooling,
    TwoLayerPooling,
)
from blocklearn.objectives.projector import Projector
from blocklearn.objectives.recurrent_context import RecurrentContext
from blocklearn.objectives.simclr import SimCLR
from blocklearn.objectives.supervised import Supervised
from blocklearn.objectives.temporal_infonce import TemporalInfoNCE
from blocklearn.objectives.vicreg import VICReg

__all__ = [
    "BarlowTwins",
    "ClassTokenPooling",
    "Combined",
    "Context",
    "Criterion",
    "ExpandPooling",
    "FrameSupervised",
    "GlobalPooling",
    "JointEmbedding",
    "LocalPooling",
    "PatchInfoNCE",
    "PixelCNN",
    "Pooling",
    "Projector",
    "RecurrentContext",
    "SimCLR",
    "Supervised",
    "TemporalInfoNCE",
    "TokenMeanPooling",
    "TwoLayerPooling",
    "VICReg",
]
