"""Optimizers and learning-rate curves; plain PyTorch."""

from blocklearn.optim.lars import LARS
from blocklearn.optim.warmup_cosine import LRSchedule, WarmupCosine

__all__ = ["LARS", "LRSchedule", "WarmupCosine"]
