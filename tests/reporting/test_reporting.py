import csv
from pathlib import Path

import pytest

from blocklearn.evaluation.linear_probe import ProbeRow
from blocklearn.reporting.loggers import MetricsCSV, WandbSettings, build_wandb
from blocklearn.reporting.plots import plot_accuracy
from blocklearn.reporting.tables import print_comparison, print_probe

ROWS = [ProbeRow(f"layer{k}", k, feature, 0.1, 10, 50.0 + k, 90.0) for k in (1, 2) for feature in ("raw", "head")]


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_are_on_disk_at_once(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"block1/loss": 2.0}, step=0)
    assert read(tmp_path) == [{"block1/loss": "2.0", "step": "0"}]


def test_a_resumed_run_keeps_the_rows_before_the_batch_it_goes_on_from(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for step in range(5):
        first.log_metrics({"loss": float(step)}, step)
    second = MetricsCSV(tmp_path)
    second.log_metrics({"loss": 30.0, "new": 1.0}, 3)
    rows = read(tmp_path)
    assert [(row["step"], row["loss"]) for row in rows] == [("0", "0.0"), ("1", "1.0"), ("2", "2.0"), ("3", "30.0")]


def test_the_probe_table_shows_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_probe(ROWS, "digits")
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("1 layer1", "2 layer2", "global average", "pooling head", "51.00", "52.00"))


def test_the_comparison_has_a_dash_where_a_run_has_no_such_feature(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison({"blockwise": ROWS, "end-to-end": [row for row in ROWS if row.feature == "raw"]}, "digits")
    lines = [line for line in capsys.readouterr().out.splitlines() if "layer2" in line]
    assert len(lines) == 2
    assert "52.0 │" in lines[0]
    assert lines[1].rstrip("│ ").endswith("-")


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    plot_accuracy({"blockwise": ROWS}, "title", tmp_path / "deep" / "picture.png")
    assert (tmp_path / "deep" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_wandb_can_be_switched_off_and_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    assert build_wandb(WandbSettings(mode="disabled"), tmp_path, {}, "fit") is None
    monkeypatch.setattr("blocklearn.reporting.loggers.find_spec", lambda name: None)
    assert build_wandb(WandbSettings(), tmp_path, {}, "fit") is None


@pytest.mark.parametrize(("key", "mode"), [("", "offline"), ("0" * 40, "online")])
def test_wandb_is_online_only_where_a_key_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, mode: str
) -> None:
    tried: list[str] = []
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setattr("blocklearn.reporting.loggers._start_wandb", lambda *args: tried.append(args[-1]))
    build_wandb(WandbSettings(), tmp_path, {}, "fit")
    assert tried == [mode]


def test_a_failing_wandb_is_a_warning_and_goes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*args: object) -> str:
        if args[-1] == "online":
            raise RuntimeError("no network")
        return "offline logger"

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("blocklearn.reporting.loggers._start_wandb", start)
    with pytest.warns(UserWarning, match="did not start in mode online: no network"):
        assert build_wandb(WandbSettings(), tmp_path, {}, "fit") == "offline logger"
