"""Runs and settings side by side, at any width."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from blocklearn import UserError
from blocklearn.evaluation import Row
from blocklearn.pictures.figure import told
from blocklearn.reporting.comparison import plot_comparison, print_comparison, write_comparison
from blocklearn.reporting.results import Results

Printed = pytest.CaptureFixture[str]


def results(
    *shift: float, stages: int = 2, features: Sequence[str] = ("raw", "head")
) -> list[Results]:
    """One of every shift, each stage one point better than the one before."""
    return [
        Results("c", "digits", None, 10, {}, _rows(by, stages, features))
        for by in (shift or (0.0,))
    ]


def _rows(shift: float, stages: int, features: Sequence[str]) -> list[Row]:
    places = [(feature, k) for feature in features for k in range(1, stages + 1)]
    return [Row(f"layer{k}", k, name, {"top1": 50.0 + k + shift}) for name, k in places]


def cells(printed: str) -> list[list[str]]:
    lines = [line for line in printed.splitlines() if line.startswith(("┃", "│"))]
    return [[c.strip() for c in line.replace("┃", "│").split("│")[1:-1]] for line in lines]


def test_a_run_has_a_line_in_a_table_per_feature_and_the_best_of_a_stage_a_star(
    capsys: Printed,
) -> None:
    (raw,) = results(1.0, features=["raw"])
    better = replace(raw, rows=[raw.rows[0], replace(raw.rows[1], values={"top1": 3.0})])
    print_comparison({"one": results(), "two": [better], "same": [better]})
    printed = capsys.readouterr().out
    assert "Linear probes on digits, top-1 accuracy in % (* best)" in printed
    assert cells(printed) == [
        ["global average", "1 layer1", "2 layer2"],
        ["one", "51.0", "*52.0"],
        ["two", "*52.0", "3.0"],
        ["same", "*52.0", "3.0"],
        ["pooling head", "1 layer1", "2 layer2"],
        ["one", "51.0", "52.0"],
    ]


def test_a_dash_stands_where_a_run_has_no_such_stage_and_where_it_has_no_results_yet(
    capsys: Printed,
) -> None:
    (short,) = results(features=["raw"], stages=1)
    mine = replace(short, rows=[replace(short.rows[0], stage="conv1")])
    print_comparison({"one": [short], "two": [mine], "none": []})
    assert cells(capsys.readouterr().out) == [
        ["global average", "1 conv1", "1 layer1"],
        ["one", "-", "51.0"],
        ["two", "51.0", "-"],
        ["none", "-", "-"],
    ]
    with pytest.raises(UserError, match="no run has results"):
        print_comparison({"none": []})


def test_seeds_are_a_mean_and_a_deviation_with_n_minus_1(capsys: Printed) -> None:
    print_comparison({"a": results(0, 1, 2, stages=1), "b": results(10, 12.2, 11.1, stages=1)})
    printed = capsys.readouterr().out
    assert "mean ± sd of 3 seeds (* best)" in printed
    assert cells(printed)[1:3] == [["a", "52.0 ± 1.0"], ["b", "*62.1 ± 1.1"]]


@pytest.mark.parametrize("stages", [4, 16])
@pytest.mark.parametrize("runs", [3, 8, 30])
def test_no_number_and_no_label_is_cut_at_80_columns(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch, runs: int, stages: int
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    labels = [f"noise=all, kernel_size={k}, model.objective.pooling=Local" for k in range(runs)]
    print_comparison({label: results(0, 40, stages=stages) for label in labels})
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    for k in range(1, stages + 1):
        assert printed.count(f"*{70 + k}.0 ± 28.3") == 2 * runs  # of two features
        assert f"{k} layer{k} " in printed
    squeezed = "".join("".join(row) for row in cells(printed)).replace(" ", "")
    assert all(f"kernel_size={k}" in squeezed for k in range(runs)) or stages == 16


def test_a_label_in_brackets_is_shown_as_it_is(capsys: Printed) -> None:
    print_comparison({"[red]blocks=[1, 2]": results(stages=1)})
    assert "│ [red]blocks=[1, 2]" in capsys.readouterr().out


def test_a_terminal_too_narrow_for_one_number_cuts_none(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_comparison({"blockwise": results(0, 40)})
    assert capsys.readouterr().out.count("± 28.3") == 4


def test_the_picture_has_a_panel_per_feature_bars_over_seeds_and_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: (drawn.append(figure), save(figure, *a, **k))
    )
    runs = {f"run {k}": results(k, k + 2, stages=3) for k in range(8)}
    plot_comparison(runs, tmp_path / "p.png")
    left, right = drawn[0].axes
    assert [left.get_title(), right.get_title()] == ["global average", "pooling head"]
    looks = {(c[0].get_color(), c[0].get_marker()) for c in left.containers}
    assert len(looks) == 8
    (bars,) = left.containers[0][2]
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([52 - 2**0.5, 52 + 2**0.5])
    title, text = told(tmp_path / "p.png")
    assert title == "Linear probes on digits, mean ± sd of 2 seeds"
    assert "run 0: layer1 global average 52.0 ± 1.4" in text


def test_the_csv_has_a_line_per_run_seed_and_row(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.csv"
    write_comparison({"a": results(0, 1, stages=1), "b": results(5, stages=1)}, path)
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    keys = ("run", "seed_number", "feature", "top1", "top1_mean", "top1_sd", "top1_n")
    assert [tuple(line[key] for key in keys) for line in lines[::2]] == [
        ("a", "1", "raw", "51.0", "51.5", str(0.5**0.5), "2"),
        ("a", "2", "raw", "52.0", "51.5", str(0.5**0.5), "2"),
        ("b", "1", "raw", "56.0", "56.0", "", "1"),
    ]
    write_comparison({"a": results(), "b": results()}, path)
    assert path.read_text().splitlines()[0] == "run,stage,index,feature,top1"
