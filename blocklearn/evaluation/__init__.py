"""What a trained network can do: one evaluation per file."""

from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.fine_tune import FineTune
from blocklearn.evaluation.frame_probe import FrameProbe
from blocklearn.evaluation.knn import KNN
from blocklearn.evaluation.linear_probe import LinearProbe

__all__ = ["KNN", "Evaluation", "FineTune", "FrameProbe", "LinearProbe", "Row"]
