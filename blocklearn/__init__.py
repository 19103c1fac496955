"""blocklearn: local, gradient-isolated learning on PyTorch Lightning.

The public names are loaded on first use, so that `import blocklearn` costs nothing and has no side effect.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "BarlowTwins": "blocklearn.objectives.barlow_twins",
    "Batch": "blocklearn.batch",
    "Block": "blocklearn.blocks.block",
    "BlockwiseModule": "blocklearn.blocks.blockwise",
    "ClassTokenPooling": "blocklearn.objectives.pooling",
    "Combined": "blocklearn.objectives.combined",
    "ConstantLR": "blocklearn.optim.warmup_cosine",
    "Context": "blocklearn.objectives.context",
    "ExpandPooling": "blocklearn.objectives.pooling",
    "FrameSupervised": "blocklearn.objectives.frame_supervised",
    "GaussianNoise": "blocklearn.blocks.noise",
    "GlobalPooling": "blocklearn.objectives.pooling",
    "IsolatedStrategy": "blocklearn.distributed.strategy",
    "JointEmbedding": "blocklearn.objectives.joint_embedding",
    "LARS": "blocklearn.optim.lars",
    "LinearProbe": "blocklearn.evaluation.linear_probe",
    "LocalPooling": "blocklearn.objectives.pooling",
    "PatchInfoNCE": "blocklearn.objectives.patch_infonce",
    "Patches": "blocklearn.blocks.patches",
    "PixelCNN": "blocklearn.objectives.pixel_cnn",
    "Projector": "blocklearn.objectives.projector",
    "RecurrentContext": "blocklearn.objectives.recurrent_context",
    "Sequential": "blocklearn.blocks.schedule",
    "SimCLR": "blocklearn.objectives.simclr",
    "Simultaneous": "blocklearn.blocks.schedule",
    "StageSpec": "blocklearn.blocks.stage",
    "Supervised": "blocklearn.objectives.supervised",
    "TemporalInfoNCE": "blocklearn.objectives.temporal_infonce",
    "TokenMeanPooling": "blocklearn.objectives.pooling",
    "TwoLayerPooling": "blocklearn.objectives.pooling",
    "UserError": "blocklearn.errors",
    "VICReg": "blocklearn.objectives.vicreg",
    "WarmupCosine": "blocklearn.optim.warmup_cosine",
    "create_backbone": "blocklearn.blocks.backbone",
    "cut_backbone": "blocklearn.blocks.grouping",
}

__all__ = [*_HOME, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'blocklearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
