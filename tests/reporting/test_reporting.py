import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from blocklearn import UserError
from blocklearn.evaluation import Row
from blocklearn.reporting.loggers import MetricsCSV, WandbSettings, build_wandb
from blocklearn.reporting.plots import plot_results
from blocklearn.reporting.results import Results, read_results, write_results
from blocklearn.reporting.tables import print_results, print_validation, shown_spread

HOW = {"lr": 0.1, "epochs": 10}


def row(stage: str, index: int, feature: str, top1: float, top5: float) -> Row:
    return Row(stage, index, feature, {"top1": top1, "top5": top5}, HOW)


def results(rows: Sequence[Row], **changes: Any) -> Results:
    about = dict(zip(NAMES, ("c", "digits", None, 10, {}), strict=True))
    return Results(**{**about, "rows": rows, **changes})


NAMES = ("checkpoint", "dataset", "target", "num_classes", "settings")
ROWS = [row(f"layer{k}", k, feature, 50.0 + k, 90.0) for k in (1, 2) for feature in ("raw", "head")]


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
    assert [(row["step"], row["loss"]) for row in rows] == [
        ("0", "0.0"),
        ("1", "1.0"),
        ("2", "2.0"),
        ("3", "30.0"),
    ]


def test_many_values_have_a_line_each_in_a_table_per_feature(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"corruption_number_{number}" for number in range(13)]
    rows = [
        Row(f"layer{index}", index, feature, {name: index + n for n, name in enumerate(names)})
        for index in (1, 2)
        for feature in ("raw", "head")
    ]
    print_results(results(rows))
    shown = capsys.readouterr().out
    titles = " ".join(shown.split())
    assert "accuracy in %: global average" in titles
    assert "accuracy in %: pooling head" in titles
    for n, name in enumerate(names):
        line = f"{name} {n + 1:.2f} {n + 2:.2f}".split()
        found = [" ".join(row.replace("│", " ").split()) for row in shown.splitlines()]
        assert found.count(" ".join(line)) == 2


def test_the_probe_table_shows_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_results(results(ROWS))
    printed = capsys.readouterr().out
    assert all(
        text in printed
        for text in ("1 layer1", "2 layer2", "global average", "pooling head", "51.00", "52.00")
    )


def table_cells(printed: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in printed.splitlines()
        if "│" in line
    ]


def test_the_picture_shows_every_feature_at_its_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, path, **_: (drawn.append(figure), path.touch())
    )
    context = row("layer2", 2, "context", 70.0, 90.0)
    plot_results(
        {
            "a": results([*reversed(ROWS), context]),
            "b": results([replace(ROWS[0], stage="conv1", feature="mine")]),
        },
        tmp_path / "p",
    )
    (axes,) = drawn[0].axes
    lines = {line.get_label(): [list(data) for data in line.get_data()] for line in axes.lines}
    assert lines == {
        "a, global average": [[1, 2], [51, 52]],
        "a, pooling head": [[1, 2], [51, 52]],
        "a, context": [[2], [70]],
        "b, mine": [[1], [51]],
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == ["layer1 / conv1", "layer2"]
    assert axes.get_ylabel() == "top-1 accuracy in %"


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    settings = {"epochs": 3, "labelled_part": 0.1}
    title = "Linear probes (speaker) with 10% of the labels"
    found = Results("run/last.ckpt", "digits", "speaker", 6, settings, ROWS, title=title)
    write_results(found, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == found
    assert found.full_title == "Linear probes (speaker) with 10% of the labels on digits"
    content = json.loads((tmp_path / "results.json").read_text())
    assert content.keys() >= {"checkpoint", "dataset", "target", "num_classes", "rows"}
    for name in content.keys() & {"title", "values", "unit", "main", "higher_is_better"}:
        del content[name]  # as blocklearn 0.1 wrote them
    (tmp_path / "results.json").write_text(json.dumps(content))
    before = read_results(tmp_path / "results.json")
    assert (before.full_title, before.rows) == (found.full_title, ROWS)
    del content["target"], content["settings"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert read_results(tmp_path / "results.json").full_title == "Linear probes on digits"


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"rows": [{"stage": "layer1"}]}', '{"rows": 3}']
)
def test_damaged_results_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match=r"r.json is damaged, or not written by blocklearn test"):
        read_results(tmp_path / "r.json")
    with pytest.raises(UserError, match=r"cannot read .*none.json: No such file"):
        read_results(tmp_path / "none.json")


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    plot_results({"blockwise": results(ROWS)}, tmp_path / "deep" / "picture.png")
    assert (tmp_path / "deep" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_wandb_can_be_switched_off_and_may_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.setattr(
        "blocklearn.reporting.loggers.start_wandb", lambda *args: tried.append(args[1])
    )
    build_wandb(WandbSettings(), tmp_path, {}, "fit")
    assert tried == [mode]


def test_validation_is_a_line_a_block_in_the_blocks_order_without_single_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = {
        f"block{k}/val_{name}": k / 8
        for k in (1, 2, 10)
        for name in ("step1", "step12", "loss", "accuracy")
    }
    print_validation({**metrics, "block10/val_top1": 12345.6, "own": 3.0})
    printed = capsys.readouterr().out
    assert [name.strip() for name in printed.splitlines()[2].split("┃")[1:-1]] == [
        "block",
        "loss",
        "accuracy",
        "top1",
    ]
    assert table_cells(printed) == [
        ["block1", "0.125", "0.125", "-"],
        ["block2", "0.25", "0.25", "-"],
        ["block10", "1.25", "1.25", "1.235e+04"],
    ]


@pytest.mark.parametrize(
    ("mean", "sd", "told"),
    [
        (0.92314, 0.0412, "0.923 ± 0.041"),
        (40.544, 1.52, "40.5 ± 1.5"),
        (27.751, 0.0312, "27.75 ± 0.03"),
        (-0.06333, 0.381, "-0.06 ± 0.38"),
        (-0.001, 0.381, "0.00 ± 0.38"),
        (12345.6, 561.0, "12346 ± 561"),
        (1.0, 1.9e-15, "1 ± 0"),
        (2.5, 0.0, "2.5 ± 0"),
        (0.0, 0.0, "0 ± 0"),
        (1.234e-5, 3.1e-6, "1.234e-05 ± 3.1e-06"),
        (1e-5, 0.31, "0.00 ± 0.31"),
        (math.nan, 1.0, "nan ± 1"),
    ],
)
def test_a_mean_has_as_many_decimals_as_its_standard_deviation(
    mean: float, sd: float, told: str
) -> None:
    assert " ± ".join(shown_spread(mean, sd, "")) == told


def test_accuracies_have_the_decimals_that_there_is_room_for() -> None:
    assert shown_spread(97.24, 0.55, "%") == ("97.2", "0.6")
    assert shown_spread(97.24, 0.551, "%", of_percent=2) == ("97.24", "0.55")
