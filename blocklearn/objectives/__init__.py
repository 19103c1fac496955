"""What blocks optimise; plain PyTorch."""

from blocklearn.criteria.barlow_twins import BarlowTwins
from blocklearn.criteria.criterion import Criterion
from blocklearn.criteria.lpl import LPL
from blocklearn.criteria.simclr import SimCLR
from blocklearn.criteria.supcon import SupCon
from blocklearn.criteria.swav import SwAV
from blocklearn.criteria.vicreg import VICReg
from blocklearn.heads.bounded_pooling import BoundedPooling
from blocklearn.heads.context import Context
from blocklearn.heads.conv_head import ConvHead
from blocklearn.heads.dino_head import DINOHead
from blocklearn.heads.mlp_sr import MLPSRPooling
from blocklearn.heads.no_projector import NoProjector
from blocklearn.heads.pixel_cnn import PixelCNN
from blocklearn.heads.plain_projector import PlainProjector
from blocklearn.heads.pooling import (
    ClassTokenPooling,
    ExpandPooling,
    GlobalPooling,
    LocalPooling,
    Pooling,
    TokenMeanPooling,
    TwoLayerPooling,
)
from blocklearn.heads.projector import Projector
from blocklearn.heads.recurrent_context import RecurrentContext
from blocklearn.heads.token_decoder import TokenDecoder
from blocklearn.objectives.auglocal import AugLocal
from blocklearn.objectives.auxiliary import AuxiliaryObjective
from blocklearn.objectives.byol import BYOL
from blocklearn.objectives.clapp import CLAPP
from blocklearn.objectives.clapp_pp import CLAPPPlusPlus
from blocklearn.objectives.combined import Combined
from blocklearn.objectives.dino import DINO
from blocklearn.objectives.frame_supervised import FrameSupervised
from blocklearn.objectives.infopro import InfoPro
from blocklearn.objectives.joint_embedding import JointEmbedding
from blocklearn.objectives.look_ahead import LookAheadEmbedding
from blocklearn.objectives.masked_reconstruction import MaskedReconstruction
from blocklearn.objectives.moco import MoCo
from blocklearn.objectives.momentum_auxiliary import MomentumAuxiliary
from blocklearn.objectives.objective import (
    LocalBatch,
    Objective,
    ObjectiveOutput,
    Published,
)
from blocklearn.objectives.patch_infonce import PatchInfoNCE
from blocklearn.objectives.predsim import PredSim
from blocklearn.objectives.simsiam import SimSiam
from blocklearn.objectives.supervised import Supervised
from blocklearn.objectives.temporal_infonce import TemporalInfoNCE

__all__ = [
    "BYOL",
    "CLAPP",
    "DINO",
    "LPL",
    "AugLocal",
    "AuxiliaryObjective",
    "BarlowTwins",
    "BoundedPooling",
    "CLAPPPlusPlus",
    "ClassTokenPooling",
    "Combined",
    "Context",
    "ConvHead",
    "Criterion",
    "DINOHead",
    "ExpandPooling",
    "FrameSupervised",
    "GlobalPooling",
    "InfoPro",
    "JointEmbedding",
    "LocalBatch",
    "LocalPooling",
    "LookAheadEmbedding",
    "MLPSRPooling",
    "MaskedReconstruction",
    "MoCo",
    "MomentumAuxiliary",
    "NoProjector",
    "Objective",
    "ObjectiveOutput",
    "PatchInfoNCE",
    "PixelCNN",
    "PlainProjector",
    "Pooling",
    "PredSim",
    "Projector",
    "Published",
    "RecurrentContext",
    "SimCLR",
    "SimSiam",
    "SupCon",
    "Supervised",
    "SwAV",
    "TemporalInfoNCE",
    "TokenDecoder",
    "TokenMeanPooling",
    "TwoLayerPooling",
    "VICReg",
]
