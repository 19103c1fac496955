"""What a trained network can do: one evaluation per file."""

from blocklearn.evaluation.drifting_gratings import DriftingGratings
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.fine_tune import FineTune
from blocklearn.evaluation.frame_probe import FrameProbe
from blocklearn.evaluation.gallery import Gallery
from blocklearn.evaluation.knn import KNN
from blocklearn.evaluation.linear_probe import LinearProbe
from blocklearn.evaluation.logistic_regression import LogisticRegression
from blocklearn.evaluation.overview import Overview
from blocklearn.evaluation.reconstruction import Reconstruction
from blocklearn.evaluation.representation import Representation
from blocklearn.evaluation.retrieval import Retrieval
from blocklearn.evaluation.robustness import Robustness
from blocklearn.evaluation.similarity import Similarity
from blocklearn.evaluation.transfer import Transfer

__all__ = [
    "KNN",
    "DriftingGratings",
    "Evaluation",
    "FineTune",
    "FrameProbe",
    "Gallery",
    "LinearProbe",
    "LogisticRegression",
    "Overview",
    "Reconstruction",
    "Representation",
    "Retrieval",
    "Robustness",
    "Row",
    "Similarity",
    "Transfer",
]
