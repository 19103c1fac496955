"""What blocks optimise; plain PyTorch."""

from blocklearn.objectives.barlow_twins import BarlowTwins
from blocklearn.objectives.criterion import Criterion
from blocklearn.objectives.joint_embedding import JointEmbedding
from blocklearn.objectives.pooling import ExpandPooling, GlobalPooling, Pooling
from blocklearn.objectives.projector import Projector

__all__ = [
    "BarlowTwins",
    "Criterion",
    "ExpandPooling",
    "GlobalPooling",
    "JointEmbedding",
    "Pooling",
    "Projector",
]
