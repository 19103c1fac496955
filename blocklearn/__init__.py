"""blocklearn: local, gradient-isolated learning on PyTorch Lightning.

The public names are loaded on first use, so that `import blocklearn` costs nothing and has no side
effect.
"""

from importlib import import_module
from typing import Any

from blocklearn.old_paths import follow_old_paths

__version__ = "0.2.0"

follow_old_paths()

_HOME = {
    "AugLocal": "blocklearn.objectives.auglocal",
    "BarlowTwins": "blocklearn.criteria.barlow_twins",
    "Batch": "blocklearn.batch",
    "Block": "blocklearn.blocks.block",
    "BlockMask": "blocklearn.masks.block_mask",
    "BlockParallelStrategy": "blocklearn.distributed.block_parallel",
    "BlockSettings": "blocklearn.blocks.settings",
    "BlockwiseModule": "blocklearn.blocks.blockwise",
    "BYOL": "blocklearn.objectives.byol",
    "CLAPP": "blocklearn.objectives.clapp",
    "CLAPPPlusPlus": "blocklearn.objectives.clapp_pp",
    "BoundedPooling": "blocklearn.heads.bounded_pooling",
    "ClassTokenPooling": "blocklearn.heads.pooling",
    "Combined": "blocklearn.objectives.combined",
    "ConstantLR": "blocklearn.optim.warmup_cosine",
    "Context": "blocklearn.heads.context",
    "ConvHead": "blocklearn.heads.conv_head",
    "DINO": "blocklearn.objectives.dino",
    "DINOHead": "blocklearn.heads.dino_head",
    "create_backbone": "blocklearn.backbones.create",
    "cut_backbone": "blocklearn.backbones.cut",
    "EveryNthEndToEnd": "blocklearn.training.mixed_execution",
    "evaluate": "blocklearn.runs.evaluate",
    "ExpandPooling": "blocklearn.heads.pooling",
    "FineTune": "blocklearn.evaluation.fine_tune",
    "FrameProbe": "blocklearn.evaluation.frame_probe",
    "FrameSupervised": "blocklearn.objectives.frame_supervised",
    "GaussianNoise": "blocklearn.blocks.noise",
    "GlobalPooling": "blocklearn.heads.pooling",
    "InfoPro": "blocklearn.objectives.infopro",
    "BlockwiseDDPStrategy": "blocklearn.distributed.strategy",
    "IsolatedStrategy": "blocklearn.distributed.strategy",
    "JointEmbedding": "blocklearn.objectives.joint_embedding",
    "KNN": "blocklearn.evaluation.knn",
    "LARS": "blocklearn.optim.lars",
    "LookAheadEmbedding": "blocklearn.objectives.look_ahead",
    "LinearProbe": "blocklearn.evaluation.linear_probe",
    "LogisticRegression": "blocklearn.evaluation.logistic_regression",
    "LocalBatch": "blocklearn.objectives.objective",
    "LocalPooling": "blocklearn.heads.pooling",
    "LPL": "blocklearn.criteria.lpl",
    "Mask": "blocklearn.masks.mask",
    "MaskedReconstruction": "blocklearn.objectives.masked_reconstruction",
    "MLPSRPooling": "blocklearn.heads.mlp_sr",
    "MomentumAuxiliary": "blocklearn.objectives.momentum_auxiliary",
    "MoCo": "blocklearn.objectives.moco",
    "NetworkOptions": "blocklearn.blocks.settings",
    "NoProjector": "blocklearn.heads.no_projector",
    "Overview": "blocklearn.evaluation.overview",
    "Objective": "blocklearn.objectives.objective",
    "ObjectiveOutput": "blocklearn.objectives.objective",
    "Patches": "blocklearn.backbones.patches",
    "PatchInfoNCE": "blocklearn.objectives.patch_infonce",
    "PixelCNN": "blocklearn.heads.pixel_cnn",
    "PlainProjector": "blocklearn.heads.plain_projector",
    "PredSim": "blocklearn.objectives.predsim",
    "ProbeSettings": "blocklearn.evaluation.probe_settings",
    "Projector": "blocklearn.heads.projector",
    "Robustness": "blocklearn.evaluation.robustness",
    "RandomMask": "blocklearn.masks.random_mask",
    "RankMe": "blocklearn.metrics.rank_me",
    "RecurrentContext": "blocklearn.heads.recurrent_context",
    "Representation": "blocklearn.evaluation.representation",
    "Sequential": "blocklearn.training.schedule",
    "SequentialSchedule": "blocklearn.training.schedule",
    "SimCLR": "blocklearn.criteria.simclr",
    "SimSiam": "blocklearn.objectives.simsiam",
    "Simultaneous": "blocklearn.training.schedule",  # the two schedules' names before 0.2
    "SimultaneousSchedule": "blocklearn.training.schedule",
    "SwAV": "blocklearn.criteria.swav",
    "StageSpec": "blocklearn.backbones.stage",
    "SupCon": "blocklearn.criteria.supcon",
    "Supervised": "blocklearn.objectives.supervised",
    "TemporalInfoNCE": "blocklearn.objectives.temporal_infonce",
    "TokenMeanPooling": "blocklearn.heads.pooling",
    "TubeMask": "blocklearn.masks.tube_mask",
    "TwoLayerPooling": "blocklearn.heads.pooling",
    "UpdateOptions": "blocklearn.blocks.settings",
    "UserError": "blocklearn.errors",
    "VICReg": "blocklearn.criteria.vicreg",
    "WarmupCosine": "blocklearn.optim.warmup_cosine",
}

__all__ = [*_HOME, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'blocklearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
