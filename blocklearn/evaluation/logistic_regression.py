"""Logistic regression on frozen features, solved rather than trained."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.labelled_part import stratified_halves
from blocklearn.distributed.launch import say
from blocklearn.errors import UserError
from blocklearn.evaluation.cached_features import labelled_features
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.labels_check import require_sample_labels


class LogisticRegression(Evaluation):
    """scikit-learn's multinomial logistic regression with an L2 penalty on every feature, each
    component brought to mean 0 and standard deviation 1 over the training samples. The problem is
    convex, so there is no learning rate, no schedule and no seed in its answer. Images are seen as
    they are, without augmentation.

    Args:
        C: inverse strengths of the penalty, each > 0. Of several, each feature takes the best by
            its accuracy on training samples that were held out, the smallest of equals, and is
            then solved once more on all training samples; the test samples have no part in it.
        held_out: part of the training samples of each class that is chosen by, in (0, 1), where
            there are several `C`.
        max_iter: of L-BFGS, >= 1; that it was not enough is said in one line.
        batch_size: images at a time, >= 1.
        features: kinds of features, of `raw`, `head`, `context`, `projector` and
            `concatenated`; null for `raw` and what objectives publish.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "logistic"
    title: ClassVar[str] = "Logistic regression"
    unit: ClassVar[str] = "accuracy in %"

    def __init__(
        self,
        C: Sequence[float] = (1.0,),
        held_out: float = 0.1,
        max_iter: int = 1000,
        batch_size: int = 256,
        features: Sequence[str] | None = None,
    ) -> None:
        sound = len(C) > 0 and all(0 < value < math.inf for value in C) and 0 < held_out < 1
        if not sound or max_iter < 1 or batch_size < 1:
            raise ValueError(
                "LogisticRegression needs at least one C, each positive and finite, held_out "
                "between 0 and 1, max_iter and batch_size of at least 1, got "
                f"{list(C)}, {held_out}, {max_iter} and {batch_size}"
            )
        self.features = features
        self.C, self.held_out = tuple(sorted(set(C))), held_out
        self.max_iter, self.batch_size = max_iter, batch_size

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for data with a label per frame, and for labels and features that nothing
                can be learned from.
        """
        require_sample_labels(data, "LogisticRegression")
        device = self.trainer().strategy.root_device
        train, test = (
            {key: column.numpy() for key, column in features.columns.items()}
            for features in labelled_features(
                network,
                data,
                self.batch_size,
                self.protocol,
                device,
                self.features,
            )
        )
        halves = stratified_halves(
            torch.as_tensor(train["label"]), self.held_out, data.keying_seed()
        )
        rows, unsolved = [], []
        for spec in network.feature_specs(kinds=self.features):
            known, asked = (part[spec.key].astype(np.float64) for part in (train, test))
            C, how = self._choose(known, train["label"], halves)
            model = self._solve(C, known, train["label"])
            if model[-1].n_iter_.max() >= self.max_iter:
                unsolved.append(spec.key)
            top1 = 100 * float(model.score(asked, test["label"]))
            rows.append(Row(spec.stage, spec.index, spec.kind, {"top1": top1}, {"C": C, **how}))
        if unsolved:
            say(
                f"evaluation: LogisticRegression was not solved within max_iter {self.max_iter} "
                f"for {', '.join(unsolved)}"
            )
        return rows

    def _choose(
        self, values: Any, label: Any, halves: tuple[list[int], list[int]]
    ) -> tuple[float, dict[str, float]]:
        """The best `C`, and its accuracy on the held-out samples in percent."""
        learned, held = halves
        if len(self.C) == 1:
            return self.C[0], {}
        if not held:
            raise UserError(
                "evaluation: LogisticRegression has one training sample a class, and none can be "
                "held out to choose C by: give one C, or a larger --probe.labelled_part"
            )
        scores = [
            float(self._solve(C, values[learned], label[learned]).score(values[held], label[held]))
            for C in self.C
        ]
        best = int(np.argmax(scores))
        return self.C[best], {"held_out_top1": 100 * scores[best]}

    def _solve(self, C: float, values: Any, label: Any) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression as Solver
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(StandardScaler(), Solver(C=C, max_iter=self.max_iter))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said once, by feature
            return model.fit(values, label)
