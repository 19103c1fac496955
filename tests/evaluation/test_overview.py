import json
from pathlib import Path

import pytest
from small import NARROW, small_data, small_network, small_trainer

from blocklearn.__main__ import main
from blocklearn.evaluation import KNN, LinearProbe, Overview, Row
from blocklearn.evaluation.evaluation import Evaluation
from blocklearn.evaluation.probe_settings import ProbeSettings


class Counts(Evaluation):
    kind = "counts"

    def run(self, network: object, data: object) -> list[Row]:
        return [Row("layer2", 2, "raw", {"k1": 7.0}), Row("layer1", 1, "mine", {"other": 1.0})]

    def leave(self, folder: Path) -> list[Path]:
        return [folder / "counts.csv"]


def test_the_values_of_all_stand_in_one_row_for_each_feature(tmp_path: Path) -> None:
    settings = ProbeSettings(epochs=1, batch_size=8, augment=False)
    chosen = Overview([LinearProbe(), KNN(k=[1, 3]), Counts()])
    chosen.under(settings, lambda epochs: small_trainer(tmp_path, max_epochs=epochs))
    data = small_data()
    data.setup("test")
    rows = {(row.stage, row.feature): row for row in chosen.run(small_network(), data)}
    assert len(rows) == 9, "two features of four stages, and one that only the last one knows"
    assert list(rows[("layer1", "raw")].values) == ["top1", "k1", "k3"]
    assert rows[("layer2", "raw")].values["counts_k1"] == 7
    assert rows[("layer1", "raw")].settings["lr"] == 0.1
    assert [row.index for row in rows.values()] == sorted(row.index for row in rows.values())
    assert chosen.leave(tmp_path) == [tmp_path / "counts.csv"]


def test_the_command_writes_one_table_with_the_settings_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*NARROW, "--probe.epochs=1", "--data.image_size=8", "--wandb.mode=disabled"]
    run = ["test", "--config", "bt_digits.yaml", "--evaluation", "Overview", *arguments]
    assert main([*run, f"--trainer.default_root_dir={tmp_path}"]) == 0
    found = json.loads((tmp_path / "overview" / "results.json").read_text())
    assert [entry["class"] for entry in found["settings"]["evaluations"]] == [
        "LinearProbe",
        "Representation",
    ]
    assert {"top1", "rankme", "lidar", "alpha", "knn_gain"} <= set(found["values"])
    assert (tmp_path / "overview" / "cka.png").is_file()
    printed = capsys.readouterr().out
    assert "Overview on digits: global average" in printed
    assert "1 layer1" in printed


def test_nothing_to_look_at_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one evaluation"):
        Overview([])
