"""Optimizers and learning-rate curves; plain PyTorch."""

from blocklearn.optim.lars import LARS
from blocklearn.optim.warmup_cosine import ConstantLR, LRSchedule, WarmupCosine

__all__ = ["LARS", "ConstantLR", "LRSchedule", "WarmupCosine"]
