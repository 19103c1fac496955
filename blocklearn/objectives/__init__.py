"""What blocks optimise; plain PyTorch."""

from blocklearn.objectives.barlow_twins import BarlowTwins
from blocklearn.objectives.combined import Combined
from blocklearn.objectives.criterion import Criterion
from blocklearn.objectives.joint_embedding import JointEmbedding
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
from blocklearn.objectives.simclr import SimCLR
from blocklearn.objectives.supervised import Supervised
from blocklearn.objectives.vicreg import VICReg

__all__ = [
    "BarlowTwins",
    "ClassTokenPooling",
    "Combined",
    "Criterion",
    "ExpandPooling",
    "GlobalPooling",
    "JointEmbedding",
    "LocalPooling",
    "Pooling",
    "Projector",
    "SimCLR",
    "Supervised",
    "TokenMeanPooling",
    "TwoLayerPooling",
    "VICReg",
]
