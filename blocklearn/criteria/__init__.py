"""Losses on the embeddings of a batch's views."""

from blocklearn.criteria.barlow_twins import BarlowTwins
from blocklearn.criteria.criterion import Criterion, CriterionOutput
from blocklearn.criteria.lpl import LPL
from blocklearn.criteria.simclr import SimCLR
from blocklearn.criteria.swav import SwAV
from blocklearn.criteria.vicreg import VICReg

__all__ = ["BarlowTwins", "Criterion", "CriterionOutput", "SimCLR", "SwAV", "VICReg"]
from blocklearn.criteria.supcon import SupCon

__all__ = ["LPL", "BarlowTwins", "Criterion", "CriterionOutput", "SimCLR", "SupCon", "VICReg"]
