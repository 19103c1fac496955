"""Retrieval: whether what lies nearest is of the same class."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.launch import say
from blocklearn.errors import UserError
from blocklearn.evaluation.cached_features import features_of_test
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.labels_check import require_sample_labels
from blocklearn.evaluation.tracked import tracked
from blocklearn.seeding import keyed_generator


class Retrieval(Evaluation):
    """Each test sample is a query, and all other test samples are ranked by their cosine similarity
    to it; the query itself is not among them. Nothing is trained, and no training sample is looked
    at. `map` is the mean over the queries of the average precision, and `hit5` the share of queries
    with a sample of their class among the first 5, both in % (arXiv 2601.09040).

    Queries whose class has no other test sample cannot be answered: they are left out, their
    number is told in a line, and how many remain stands in the results as `queries`. Samples that
    are equally near are ranked in an order that is drawn once, so that features that have collapsed
    have the score of chance, in whatever order the files are.

    Args:
        top: numbers of ranks, each >= 1; one hit rate is reported for each.
        chunk_size: queries at a time, >= 1. Memory holds a few tables of `chunk_size` times the
            number of test samples, never all queries at once.
        features: kinds of features, of `raw`, `head`, `context`, `projector` and
            `concatenated`; null for `raw` and what objectives publish.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "retrieval"
    title: ClassVar[str] = "Retrieval"
    learns: ClassVar[bool] = False
    unit: ClassVar[str] = "%"

    def __init__(
        self,
        top: Sequence[int] = (1, 5, 10),
        chunk_size: int = 256,
        features: Sequence[str] | None = None,
    ) -> None:
        if not top or min(top) < 1 or chunk_size < 1:
            raise ValueError(
                "Retrieval needs at least one top, each at least 1, and a chunk_size of at least "
                f"1, got {list(top)} and {chunk_size}"
            )
        self.top, self.chunk_size = tuple(sorted(set(top))), chunk_size
        self.features = features

    @property
    def main(self) -> str:
        return "map"

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for data with a label per frame, test samples without labels, classes of one
                sample each, and features that are not finite.
        """
        require_sample_labels(data, "Retrieval")
        device = self.trainer().strategy.root_device
        found = features_of_test(network, data, self.protocol, device, self.features).columns
        queries = answerable(found["label"])
        self._tell_of_lonely(len(found["label"]) - len(queries), data)
        order = torch.randperm(
            len(found["label"]), generator=keyed_generator("cpu", data.keying_seed())
        )
        label = found["label"][order]
        rows = []
        for spec in tracked("Retrieving", network.feature_specs(kinds=self.features)):
            values = self.scores(found[spec.key][order].to(device), label.to(device))
            how = {"queries": len(queries)}
            rows.append(Row(spec.stage, spec.index, spec.kind, values, how))
        return rows

    def scores(self, features: Tensor, label: Tensor) -> dict[str, float]:
        """Mean average precision and hit rates in %.

        Args:
            features: `(N, D)`.
            label: `(N,)`, with at least two samples of one class.
        """
        unit = normalize(features.double(), dim=1)  # early stages' cosines differ in late digits
        parts = [
            self._of_queries(unit, label, queries)
            for queries in answerable(label).split(self.chunk_size)
        ]
        found = 100 * torch.cat(parts).mean(dim=0)
        names = ["map", *(f"hit{k}" for k in self.top)]
        return dict(zip(names, found.tolist(), strict=True))

    def _of_queries(self, unit: Tensor, label: Tensor, queries: Tensor) -> Tensor:
        """`(Q, 1 + tops)`: average precision, and whether there is a hit, of each query."""
        similarity = unit[queries] @ unit.T
        similarity[torch.arange(len(queries), device=unit.device), queries] = -torch.inf
        ranked = similarity.argsort(dim=1, descending=True, stable=True)[:, :-1]
        right = label[ranked] == label[queries, None]
        rank = torch.arange(1, ranked.shape[1] + 1, device=unit.device)
        precision = right.cumsum(dim=1) / rank.double()
        average = (precision * right).sum(dim=1) / right.sum(dim=1)
        hits = [right[:, :k].any(dim=1).to(average.dtype) for k in self.top]
        return torch.stack([average, *hits], dim=1)

    def _tell_of_lonely(self, count: int, data: KeyedDataModule) -> None:
        tested = len(data.test_samples())
        if count == tested:
            raise UserError(
                f"evaluation: Retrieval: no two test samples of {data.title} are of one class: "
                "there is nothing to find"
            )
        if count:
            say(
                f"evaluation: Retrieval leaves out {count} of {tested} queries, the only test "
                "sample of their class each"
            )


def answerable(label: Tensor) -> Tensor:
    """The positions whose class has another member, in order.

    Args:
        label: `(N,)`.
    """
    _, place, members = label.unique(return_inverse=True, return_counts=True)
    return (members[place] > 1).nonzero().flatten()
