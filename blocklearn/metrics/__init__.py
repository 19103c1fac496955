"""What can be watched of every block while it trains."""

from blocklearn.metrics.rank_me import RankMe
from blocklearn.training.block_metric import BlockMetric

__all__ = ["BlockMetric", "RankMe"]
