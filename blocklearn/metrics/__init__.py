"""What can be watched of every block while it trains, and measured of features afterwards."""

from blocklearn.metrics.alignment import Alignment
from blocklearn.metrics.feature_std import FeatureStd
from blocklearn.metrics.rank_me import RankMe
from blocklearn.metrics.uniformity import Uniformity
from blocklearn.training.block_metric import BlockMetric

__all__ = ["Alignment", "BlockMetric", "FeatureStd", "RankMe", "Uniformity"]
