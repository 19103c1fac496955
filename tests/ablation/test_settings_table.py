"""A line for every setting: how well it does, and what a step of it costs."""

import csv
from pathlib import Path
from typing import Any

import pytest

from blocklearn import UserError
from blocklearn.ablation.outcome import Outcome
from blocklearn.ablation.settings_table import StepCost, best_block, print_settings
from blocklearn.ablation.sweep_file import Metric
from blocklearn.ablation.trials import Trial

WIDE = {"probe/block1": 80.0, "probe/block2": 60.0, "probe/last": 60.0, "block1/knn": 50.0}


def outcome(seconds: float, **figures: float) -> Any:
    logged: Any = {**WIDE, "block2/knn": 40.0, "block10/knn": 30.0}
    return Outcome(None, {**logged, **figures}, 9.0, seconds)  # pyright: ignore


def ended(tmp_path: Path) -> Any:
    def trial(name: str, seed: int) -> Trial:
        return Trial(name, {}, seed, tmp_path / name, ())

    last = "probe/last"
    return [
        (trial("a", 0), outcome(0.2, **{last: 60.0})),
        (trial("a", 1), outcome(0.1, **{last: 64.0, "probe/block1": 70.0})),
        (trial("b", 0), outcome(0.3, **{"probe/block2": 90.0})),
        (trial("b", 1), None),
        (trial("c", 0), None),
    ]


def test_a_line_has_mean_spread_best_block_last_knn_and_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    costs = {"a": StepCost(3 * 2**20, 2**20, 5e9)}
    path = tmp_path / "settings.csv"
    print_settings(ended(tmp_path), Metric(), ["knn"], costs, path)
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["setting"], first["runs"], first["best_block"]) == ("a", "2", "block1")
    assert (float(first["probe/last"]), float(first["probe/best"])) == (62.0, 75.0)
    assert float(first["probe/last_sd"]) == pytest.approx(8**0.5)
    assert float(first["knn"]) == 30.0, "that of the last block by number, not by letter"
    assert float(first["seconds_per_batch"]) == 0.1
    assert (first["held_MB"], first["objective_MB"], first["GFLOP"]) == ("3.0", "1.0", "5.0")
    assert (second["best_block"], second["runs"], second["held_MB"]) == ("block2", "1", "")
    printed = capsys.readouterr().out
    assert "62.0 ± 2.8" in printed
    assert "MB held" in printed
    assert "_sd" not in printed


def test_a_figure_that_nobody_logged_is_refused_with_those_that_are_near(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run has logged block3/knn; there are block1/knn, bl"):
        print_settings(ended(tmp_path), Metric(), ["block3/knn"], {}, tmp_path / "x.csv")


def test_the_best_block_is_one_that_all_runs_have() -> None:
    assert best_block([outcome(1), outcome(1, **{"probe/block3": 99.0})]) == ("block1", [80, 80])
    assert best_block([Outcome(None, {}, None)]) is None  # pyright: ignore


def test_a_setting_is_compared_with_another_seed_by_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = "probe/last"
    runs = {"a": (60.0, 70.0, 80.0), "b": (62.0, 72.0, 79.0), "c": (50.0,), "d": ()}
    every: Any = [
        (Trial(name, {}, seed, tmp_path, ()), outcome(1, **{last: value}))
        for name, values in runs.items()
        for seed, value in enumerate(values)
    ]
    every.append((Trial("d", {}, 0, tmp_path, ()), None))
    print_settings(every, Metric(), [], {}, tmp_path / "x.csv", "a")
    with (tmp_path / "x.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert float(first["probe/difference"]) == float(first["probe/difference_sd"]) == 0.0
    assert float(second["probe/difference"]) == pytest.approx(1.0)
    assert float(second["probe/difference_sd"]) == pytest.approx(3**0.5)
    assert (third["probe/difference"], third["probe/difference_sd"]) == ("-10.0", "")
    assert "1.0 ± 1.7" in capsys.readouterr().out
    with pytest.raises(UserError, match="--against d: no run of that setting has ended; there are"):
        print_settings(every, Metric(), [], {}, tmp_path / "x.csv", "d")
