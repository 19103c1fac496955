"""Nearest neighbours: no classifier, nothing to tune."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize, one_hot

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.launch import say
from blocklearn.evaluation.cached_features import labelled_features
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.labels_check import require_sample_labels


class KNN(Evaluation):
    """Each test sample is given the class that its `k` nearest training samples vote for (DINO's
    evaluation, arXiv 2104.14294): features of unit length, cosine similarity `s`, votes weighted by
    `exp(s / temperature)`. Images are seen as they are, without augmentation. k = 20 is what is
    usually reported; where there are fewer training samples than `k`, all of them vote.

    Args:
        k: numbers of neighbours, each >= 1; one value is reported for each, and pictures show that
            of 20 where it is among them.
        temperature: of the votes, > 0; 0.07 published.
        batch_size: samples at a time, >= 1.
        features: kinds of features, of `raw`, `head`, `context`, `projector` and
            `concatenated`; null for `raw` and what objectives publish.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "knn"
    title: ClassVar[str] = "Nearest neighbours"
    unit: ClassVar[str] = "accuracy in %"

    def __init__(
        self,
        k: Sequence[int] = (10, 20, 100, 200),
        temperature: float = 0.07,
        batch_size: int = 256,
        features: Sequence[str] | None = None,
    ) -> None:
        if not k or min(k) < 1 or not temperature > 0 or batch_size < 1:
            raise ValueError(
                "KNN needs at least one k, each at least 1, a temperature above 0 and a batch_size "
                f"of at least 1, got {list(k)}, {temperature} and {batch_size}"
            )
        self.features = features
        self.k, self.temperature, self.batch_size = tuple(k), temperature, batch_size

    @property
    def main(self) -> str:
        return f"k{20 if 20 in self.k else self.k[0]}"

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for data with a label per frame, and for labels and features that nothing
                can be learned from.
        """
        require_sample_labels(data, "KNN")
        device = self.trainer().strategy.root_device
        train, test = labelled_features(
            network,
            data,
            self.batch_size,
            self.protocol,
            device,
            self.features,
        )
        self._tell_of_few(len(train))
        return [
            Row(
                spec.stage,
                spec.index,
                spec.kind,
                self._accuracies(spec.key, train.columns, test.columns, data),
            )
            for spec in network.feature_specs(kinds=self.features)
        ]

    def _tell_of_few(self, count: int) -> None:
        """Which `k` there are not enough training samples for."""
        if large := [str(k) for k in self.k if k > count]:
            say(
                f"evaluation: KNN has {count} training samples, fewer than k = {', '.join(large)}; "
                "all of them vote there"
            )

    def _accuracies(
        self,
        key: str,
        train: dict[str, Tensor],
        test: dict[str, Tensor],
        data: KeyedDataModule,
    ) -> dict[str, float]:
        known = normalize(train[key].float(), dim=1)
        right = dict.fromkeys(self.k, 0)
        parts = zip(
            test[key].float().split(self.batch_size),
            test["label"].split(self.batch_size),
            strict=True,
        )
        for features, label in parts:
            similarity = normalize(features, dim=1) @ known.T
            for k, predicted in self.votes(similarity, train["label"], data.num_classes).items():
                right[k] += int((predicted == label).sum())
        return {f"k{k}": 100 * count / len(test["label"]) for k, count in right.items()}

    def votes(self, similarity: Tensor, label: Tensor, num_classes: int) -> dict[int, Tensor]:
        """The class that wins, `(B,)`, for each `k`.

        Args:
            similarity: `(B, N)` cosines with the training samples.
            label: `(N,)` of these.
            num_classes: of the labels.
        """
        nearest = similarity.topk(min(max(self.k), similarity.shape[1]), dim=1)
        classes = one_hot(label[nearest.indices], num_classes)
        weighted = classes * (nearest.values / self.temperature).exp().unsqueeze(2)
        return {k: weighted[:, :k].sum(dim=1).argmax(dim=1) for k in self.k}
