"""Maps and nearest neighbours: pictures of what each stage takes for alike."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.labels_check import check_features, require_sample_labels
from blocklearn.evaluation.tracked import tracked
from blocklearn.pictures.image_sheet import draw_sheet
from blocklearn.pictures.scatter import draw_maps


class Gallery(Evaluation):
    """Two pictures of test samples by stage, with a figure that says how far each can be trusted.

    `map.png` has a two-dimensional map of every stage's features (t-SNE, or UMAP where umap-learn
    is installed), with its `trustworthiness` in % (scikit-learn's, of 5 neighbours): the share of
    closeness on the map that is closeness in the features. `neighbours.png` has a few samples and
    those that each stage finds most alike, by cosine; `precision` is the share in % of the nearest
    `neighbours` that are of the sample's class, over all samples that were looked at.

    Args:
        method: of the map.
        samples: of the test set at most, evenly taken, >= 10.
        queries: samples whose neighbours are shown, >= 1.
        neighbours: of each, >= 1.
        feature: which feature of each stage: `raw`, `head` or `context`.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "gallery"
    title: ClassVar[str] = "Neighbours and maps"
    learns: ClassVar[bool] = False
    unit: ClassVar[str] = "%"

    def __init__(
        self,
        method: Literal["tsne", "umap"] = "tsne",
        samples: int = 1000,
        queries: int = 3,
        neighbours: int = 5,
        feature: str = "raw",
    ) -> None:
        if samples < 10 or queries < 1 or neighbours < 1:
            raise ValueError(
                "Gallery needs at least 10 samples, 1 query and 1 neighbour, got "
                f"{samples}, {queries} and {neighbours}"
            )
        if method == "umap" and find_spec("umap") is None:
            raise ValueError(
                "Gallery: method umap needs the package umap-learn; install it, or tsne"
            )
        self.method, self.samples, self.queries = method, samples, queries
        self.neighbours, self.feature = neighbours, feature

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for data with a label per frame, too few samples, features that the network
                does not have, or that are not finite.
        """
        require_sample_labels(data, "Gallery")
        specs = [spec for spec in network.feature_specs() if spec.kind == self.feature]
        if not specs:
            kinds = ", ".join(dict.fromkeys(spec.kind for spec in network.feature_specs()))
            raise UserError(f"evaluation: Gallery: no feature {self.feature}; there are {kinds}")
        device = self.trainer().strategy.root_device
        columns = collect_features(network, data.test_dataloader(), device).columns
        taken = _evenly(len(columns["label"]), self.samples)
        if len(taken) <= max(self.neighbours, 9):
            raise UserError(
                f"evaluation: Gallery: {len(taken)} test samples are too few for a map and "
                f"{self.neighbours} neighbours of each; more than {max(self.neighbours, 9)} are "
                "needed"
            )
        check_features(data.title, "test", columns, [spec.key for spec in specs])
        self._label, self._index = columns["label"][taken], columns["index"][taken]
        self._data, self._stages = data, [f"{spec.index} {spec.stage}" for spec in specs]
        self._maps: list[np.ndarray] = []
        self._nearest: list[Tensor] = []
        rows = []
        for spec in tracked("Drawing maps", specs):
            features = columns[spec.key][taken].float()
            values = self._look(features)
            rows.append(Row(spec.stage, spec.index, spec.kind, values))
        return rows

    def leave(self, folder: Path) -> Sequence[Path]:
        names = [str(number) for number in range(self._data.num_classes)]
        told = {"tsne": "t-SNE", "umap": "UMAP"}[self.method]
        maps = draw_maps(
            dict(zip(self._stages, self._maps, strict=True)),
            self._label.numpy(),
            folder / "map.png",
            f"{told} of {len(self._label)} test samples of {self._data.title}, by stage",
            names,
        )
        return [maps, self._draw_neighbours(folder / "neighbours.png")]

    def _look(self, features: Tensor) -> dict[str, float]:
        from sklearn.manifold import trustworthiness

        unit = normalize(features.double(), dim=1)
        likeness = (unit @ unit.T).fill_diagonal_(-torch.inf)
        nearest = likeness.topk(self.neighbours, dim=1).indices
        same = self._label[nearest] == self._label[:, None]
        places = self._place(features.numpy())
        self._nearest.append(nearest)
        self._maps.append(places)
        trusted = trustworthiness(features.numpy(), places, n_neighbors=min(5, len(features) // 3))
        return {
            "precision": 100 * float(same.double().mean()),
            "trustworthiness": 100 * float(trusted),
        }

    def _place(self, features: np.ndarray) -> np.ndarray:
        if self.method == "umap":
            import umap  # pyright: ignore[reportMissingImports]

            return umap.UMAP(random_state=0).fit_transform(features)
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(features) - 1) / 3)
        return TSNE(perplexity=perplexity, random_state=0, init="pca").fit_transform(features)

    def _draw_neighbours(self, path: Path) -> Path:
        shown = _evenly(len(self._label), self.queries).tolist()
        wanted = set(shown) | {int(n) for near in self._nearest for n in near[shown].flatten()}
        seen = _samples(self._data, {place: int(self._index[place]) for place in wanted})
        rows, marked, names = [], [], []
        for query in shown:
            for stage, near in zip(self._stages, self._nearest, strict=True):
                places = near[query].tolist()
                rows.append([seen[query], *(seen[place] for place in places)])
                right = [bool(self._label[place] == self._label[query]) for place in places]
                marked.append([False, *(not same for same in right)])
                names.append(stage)
        title = f"Nearest test samples by stage on {self._data.title}\n(framed: of another class)"
        columns = ["sample", *(str(number + 1) for number in range(self.neighbours))]
        wrong = sum(map(sum, marked)) / (len(rows) * self.neighbours)
        text = (
            f"{len(shown)} samples and the {self.neighbours} that each of {len(self._stages)} "
            f"stages finds most alike; {100 * wrong:.0f} % are of another class and framed."
        )
        return draw_sheet(rows, path, title, text, names, columns, marked)


def _evenly(length: int, count: int) -> Tensor:
    """Positions, at most `count`, over the whole length: a test set may be sorted by class."""
    return torch.linspace(0, length - 1, min(length, count)).round().long()


def _samples(data: KeyedDataModule, indices: Mapping[int, int]) -> dict[int, Any]:
    """The samples as they are tested, to look at, by the keys of `indices`."""
    loader = data.test_dataloader()
    items = [loader.dataset[index] for index in indices.values()]  # pyright: ignore
    views = [data.as_seen(item.views[0].unsqueeze(0))[0] for item in items]
    return dict(zip(indices, views, strict=True))
