"""Features that are probed where they are asked for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_network, small_trainer

from blocklearn import UserError
from blocklearn.data import Digits
from blocklearn.evaluation import KNN, Evaluation, LinearProbe, LogisticRegression
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.probe_settings import ProbeSettings

ALL = ["raw", "head", "projector", "concatenated"]


def test_they_are_what_they_are_called() -> None:
    network = small_network().eval()
    image = torch.randn(5, 3, 32, 32)
    specs = network.feature_specs(kinds=ALL)
    with torch.no_grad():
        values = dict(zip(specs, network.stage_features(image, ALL), strict=True))
        plain = dict(zip(network.feature_specs(), network.stage_features(image), strict=True))
    assert all(value.shape == (5, spec.width) for spec, value in values.items())
    assert all(torch.equal(values[spec], value) for spec, value in plain.items())
    raw = [value for spec, value in plain.items() if spec.kind == "raw"]
    (row,) = [spec for spec in specs if spec.kind == "concatenated"]
    assert (row.stage, row.index, row.key) == ("layer4", 4, "layer4/concatenated")
    assert torch.equal(values[row], torch.cat(raw, dim=1))
    for block in network.walked:
        projector: Any = block.objective.projector
        name = block.spec.name
        (spec,) = [one for one in specs if one.key == f"{name}/projector"]
        head = plain[next(one for one in plain if one.key == f"{name}/head")]
        with torch.no_grad():
            torch.testing.assert_close(values[spec], projector(head))


@pytest.mark.parametrize("kinds", [["head"], ["concatenated"], ["projector", "raw"]])
def test_those_that_are_asked_for_are_computed_and_no_others(kinds: list[str]) -> None:
    data, network = Digits(), small_network()
    data.setup("test")
    columns = collect_features(network, data.test_dataloader(), torch.device("cpu"), kinds).columns
    assert {key.split("/")[1] for key in columns if "/" in key} == set(kinds)
    assert {"label", "index"} < columns.keys()


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize(
    "evaluation",
    [
        KNN(k=[5], features=ALL),
        LinearProbe(features=ALL),
        LinearProbe(lrs=[0.01, 0.1], features=ALL),
        LogisticRegression(features=ALL, max_iter=2000),
    ],
    ids=["knn", "probe", "grid", "logistic"],
)
def test_every_evaluation_takes_them(tmp_path: Path, evaluation: Evaluation, augment: bool) -> None:
    settings = ProbeSettings(epochs=1, batch_size=64, augment=augment, labelled_part=0.1)
    evaluation.under(settings, lambda epochs: small_trainer(tmp_path, max_epochs=epochs))
    data = Digits()
    data.setup("test")
    rows = evaluation.run(small_network(), data)
    assert {row.feature for row in rows} == set(ALL)
    assert len(rows) == 13


def test_one_that_the_network_has_not_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="features asks for context; this network has raw, head"):
        small_network().feature_specs(kinds=["context", "raw"])
    with pytest.raises(UserError, match="features asks for nothing"):
        small_network().feature_specs(kinds=[])


def test_they_are_neither_published_nor_exported() -> None:
    network = small_network()
    assert {spec.kind for spec in network.feature_specs()} == {"raw", "head"}
    assert not any("projector" in place["prefix"] for place in network._published_places())
