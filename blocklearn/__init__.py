"""blocklearn: local, gradient-isolated learning on PyTorch Lightning.

The public names are loaded on first use, so that `import blocklearn` costs nothing and has no side effect.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Batch": "blocklearn.batch",
    "BarlowTwins": "blocklearn.objectives.barlow_twins",
    "Block": "blocklearn.blocks.block",
    "BlockwiseModule": "blocklearn.blocks.blockwise",
    "ExpandPooling": "blocklearn.objectives.pooling",
    "GaussianNoise": "blocklearn.blocks.noise",
    "GlobalPooling": "blocklearn.objectives.pooling",
    "JointEmbedding": "blocklearn.objectives.joint_embedding",
    "LARS": "blocklearn.optim.lars",
    "LinearProbe": "blocklearn.evaluation.linear_probe",
    "Projector": "blocklearn.objectives.projector",
    "StageSpec": "blocklearn.blocks.stage",
    "UserError": "blocklearn.errors",
    "WarmupCosine": "blocklearn.optim.warmup_cosine",
    "cut_backbone": "blocklearn.blocks.stage",
}

__all__ = [*_HOME, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'blocklearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
