import csv
import json
from pathlib import Path

import pytest
import torch
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.data import Digits
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.evaluation import Representation
from blocklearn.evaluation.augmented_views import features_of_views
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.metrics.linear_cka import linear_cka
from blocklearn.metrics.participation_ratio import participation_ratio
from blocklearn.metrics.rank_me import rank_me
from blocklearn.metrics.rbf_cka import rbf_cka
from blocklearn.pictures.figure import told

OF_ALL = {"rankme", "lidar", "effective_rank", "alignment", "uniformity", "feature_std"}


def evaluation(folder: Path, **changes: object) -> Representation:
    settings = {"lidar_samples": 12, "views": 3, **changes}
    made = Representation(**settings)  # pyright: ignore[reportArgumentType]
    return made.under(ProbeSettings(), lambda epochs: small_trainer(folder, max_epochs=epochs))


def ready(data: Digits) -> Digits:
    data.prepare_data()
    data.setup("test")
    return data


def test_every_feature_is_measured_and_the_network_stays_as_it_is(tmp_path: Path) -> None:
    network, data = small_network(), ready(Digits())
    before = weights(network)
    looked = evaluation(tmp_path, samples=100)
    rows = looked.run(network, data)
    assert same_weights(before, weights(network))
    assert [(row.stage, row.feature) for row in rows] == [
        (f"layer{k}", feature) for k in range(1, 5) for feature in ("raw", "head")
    ]
    assert all(row.values.keys() >= OF_ALL for row in rows)
    for row in rows:
        assert 1 <= row.values["rankme"] <= row.settings["dimensions"]
        assert 1 <= row.values["lidar"] <= 11 * (1 + 1e-4)
        assert row.settings["samples"] == 100
        assert (row.settings["lidar_samples"], row.settings["views"]) == (12, 3)
        assert row.settings["alpha_last"] <= min(99, row.settings["dimensions"])
    raw = [row for row in rows if row.feature == "raw"]
    assert "cka_before" not in raw[0].values
    assert raw[2].values["knn_gain"] == pytest.approx(raw[2].values["knn"] - raw[1].values["knn"])
    assert evaluation(tmp_path, samples=100).run(network, data) == rows, "nothing is left to chance"


def test_the_values_are_those_of_the_features_that_are_tested(tmp_path: Path) -> None:
    network, data = small_network(), ready(Digits())
    looked = evaluation(tmp_path, knn=False, rbf_fraction=0.5)
    row = next(r for r in looked.run(network, data) if r.stage == "layer3" and r.feature == "raw")
    columns = collect_features(network, data.test_dataloader(), torch.device("cpu")).columns
    third, second = columns["layer3/raw"], columns["layer2/raw"]
    assert row.values["rankme"] == pytest.approx(float(rank_me(third)))
    assert row.values["participation_ratio"] == pytest.approx(participation_ratio(third))
    assert row.values["cka_before"] == pytest.approx(linear_cka(second, third))
    assert row.values["rbf_cka_before"] == pytest.approx(rbf_cka(second, third, 0.5))
    assert "knn" not in row.values


def test_views_belong_to_the_samples_that_are_named_and_differ() -> None:
    network, data = small_network(), ready(Digits())
    device = torch.device("cpu")
    five, index = features_of_views(network, data, 5, 3, device, batch_size=2)
    assert index.tolist() == list(range(5))
    assert five["layer1/raw"].shape == (5, 3, 8)
    assert not torch.equal(five["layer1/raw"][:, 0], five["layer1/raw"][:, 2])
    in_one, _ = features_of_views(network, data, 5, 3, device, batch_size=64)
    torch.testing.assert_close(five, in_one)
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert evenly_spaced(3, 9) == [0, 1, 2]


def test_it_leaves_pictures_with_a_text_and_their_figures(tmp_path: Path) -> None:
    looked = evaluation(tmp_path, knn=False, samples=40)
    looked.run(small_network(), ready(Digits()))
    paths = looked.leave(tmp_path)
    assert {path.name for path in paths} == {"cka.png", "spectra.png", "cka.csv", "spectra.csv"}
    assert "4 stages" in told(tmp_path / "cka.png")[1]
    with (tmp_path / "cka.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["", "layer1", "layer2", "layer3", "layer4"]
    assert all(float(lines[k][k]) == pytest.approx(1) for k in range(1, 5))
    assert lines[1][4] == lines[4][1]
    with (tmp_path / "spectra.csv").open(newline="") as file:
        values = [float(r["eigenvalue"]) for r in csv.DictReader(file) if r["stage"] == "layer4"]
    assert len(values) == 16
    assert values == sorted(values, reverse=True)


def test_features_that_are_not_finite_are_refused_by_the_name_of_their_stage(
    tmp_path: Path,
) -> None:
    network = small_network()
    with torch.no_grad():
        next(network.walked[2].stages.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="layer3/raw are not finite"):
        evaluation(tmp_path).run(network, small_data(num_images=16))


def test_on_the_command_line_it_ends_in_tables_of_four_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "test",
        "--evaluation=Representation",
        "--evaluation.lidar_samples=20",
        "--evaluation.views=3",
        "--evaluation.cka_batch=32",
        "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,16,16]}",
        f"--trainer.default_root_dir={tmp_path}",
        "--data.num_workers=0",
        "--wandb.mode=disabled",
        "--trainer.accelerator=cpu",
    ]
    assert main(arguments) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Representation on digits" in printed
    results = json.loads((tmp_path / "representation" / "results.json").read_text())
    assert {*OF_ALL, "cka_before", "knn"} <= {*results["values"]}
    assert f"{results['rows'][0]['rankme']:.4g}" in printed
    assert results["settings"]["cka_batch"] == 32
    assert "NaN" not in json.dumps(results)
    assert (tmp_path / "representation" / "cka.png").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 3},
        {"lidar_samples": 1},
        {"views": 1},
        {"alpha_first": 0},
        {"alpha_last": 12},
        {"cka_batch": 3},
        {"rbf_fraction": 0},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Representation needs"):
        Representation(**wrong)  # pyright: ignore[reportArgumentType]
