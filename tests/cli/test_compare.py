"""`blocklearn compare` as a user runs it."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from blocklearn.__main__ import main
from blocklearn.evaluation import Row
from blocklearn.reporting.results import Results, write_results


def write(path: Path, top1: float, **changes: Any) -> Path:
    """Results of four stages, better from stage to stage."""
    rows = [
        Row(
            f"layer{k}",
            k,
            "raw",
            {"top1": top1 + k, "top5": 90.0 + k},
            {"lr": 0.1, "epochs": 10},
        )
        for k in range(1, 5)
    ]
    plain = {
        "checkpoint": "c",
        "dataset": "digits",
        "target": None,
        "num_classes": 10,
        "settings": {},
        "rows": rows,
    }
    write_results(Results(**{**plain, **changes}), path)
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, top1 in (("one", 50.0), ("two", 60.0)):
        write(tmp_path / name / "probe" / "results.json", top1)
        noise = "all" if name == "one" else "none"
        (tmp_path / name / "config.yaml").write_text(f"model: {{noise: {noise}}}\n")
    return tmp_path


def test_a_table_a_picture_and_the_figures(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "blockwise=one", "end-to-end=two/probe/results.json"]) == 0
    printed = capsys.readouterr().out
    assert "Linear probes on digits, top-1 accuracy in %" in " ".join(printed.split())
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in printed.splitlines()
        if "│" in line
    ]
    assert lines == [
        ["blockwise", "51.0", "52.0", "53.0", "54.0"],
        ["end-to-end", "*61.0", "*62.0", "*63.0", "*64.0"],
    ]
    assert (runs / "comparison.png").read_bytes().startswith(b"\x89PNG")
    with (runs / "comparison.csv").open(newline="") as file:
        found = [
            (row["run"], row["stage"], float(row["top1"]), float(row["top5"]))
            for row in csv.DictReader(file)
        ]
    assert found[3:5] == [("blockwise", "layer4", 54, 94), ("end-to-end", "layer1", 61, 91)]
    assert len(found) == 8


def test_the_picture_goes_where_it_is_asked_for(runs: Path) -> None:
    assert main(["compare", "a=one", "--out", "deep/down.png"]) == 0
    assert {path.name for path in (runs / "deep").iterdir()} == {"down.png", "down.csv"}


def test_of_several_evaluations_one_is_named(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, top1 in (("one", 20.0), ("two", 30.0)):
        write(runs / name / "probe_0.1" / "results.json", top1)
    write(runs / "one" / "probe_untrained" / "results.json", 10.0, checkpoint=None)
    assert main(["compare", "a=one", "b=two"]) == 1
    told = capsys.readouterr().err
    assert "one: it has probe, probe_0.1, probe_untrained; name one with --evaluation" in told
    assert main(["compare", "a=one", "b=two", "--evaluation=probe_0.1"]) == 0
    assert "*34.0" in capsys.readouterr().out
    assert main(["compare", "a=one/probe", "untrained=one/probe_untrained"]) == 0
    assert "*54.0" in capsys.readouterr().out


def test_an_untrained_networks_results_are_not_taken_for_the_runs(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(runs / "one" / "probe_untrained" / "results.json", 10.0, checkpoint=None)
    assert main(["compare", "a=one", "b=two"]) == 0
    assert "*64.0" in capsys.readouterr().out


def test_other_settings_of_the_evaluation_are_told(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(runs / "x.json", 1.0, settings={"epochs": 3, "lr": 0.1})
    write(runs / "y.json", 1.0, settings={"epochs": 5, "lr": 0.1})
    assert main(["compare", "x=x.json", "y=y.json"]) == 0
    assert "x and y were evaluated differently: epochs 3 and 5." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["a=one", "b=other.json"], "dataset is digits for a and sounds for b"),
        (["a=one", "b=speaker.json"], "target is None for a and speaker for b"),
        (["a=one", "b=classes.json"], "num_classes is 10 for a and 5 for b"),
        (["a=one", "a=one"], "one is given twice for a"),
        (["a=one,two"], "a differ in more than the seed: model.noise is all and none"),
        (["a=one,two", "b=one", "--cka"], "--cka takes one run for a, not 2"),
        (["one", "b=two"], "one does not say what to call the run: write LABEL=one"),
        (["a=nowhere"], "there is no file or folder nowhere"),
        (["a=empty"], "empty: it has no results of an evaluation; run blocklearn test first"),
        (
            ["a=one", "--evaluation=probe_digit"],
            "there is no one/probe_digit/results.json; it has probe",
        ),
        (["a=cut.json"], "cut.json is damaged"),
        (["a=none.json"], "the results of a have no row"),
        (["a=one", "--out=picture.pdf"], "name a file that ends in .png"),
    ],
)
def test_bad_input_is_one_clear_line(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    write(runs / "other.json", 1.0, dataset="sounds")
    write(runs / "speaker.json", 1.0, target="speaker")
    write(runs / "classes.json", 1.0, num_classes=5)
    write(runs / "none.json", 1.0, rows=[])
    text = (runs / "one" / "probe" / "results.json").read_text()
    (runs / "cut.json").write_text(text[: len(text) // 2])
    (runs / "empty").mkdir()
    assert main(["compare", *arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("blocklearn: error: ")
    assert complaint in line
    assert not (runs / "comparison.png").exists()


def test_results_of_version_0_1_are_compared_too(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = runs / "one" / "probe" / "results.json"
    content = json.loads(path.read_text())
    del content["target"], content["settings"]
    path.write_text(json.dumps(content))
    assert main(["compare", "old=one", "new=two"]) == 0
    assert "*64.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["a=seeds/1,seeds/2", "b=one"], ["a=seeds/1", "b=one", "a=seeds/2"], ["a=seeds", "b=one"]],
)
def test_a_label_with_several_runs_is_their_mean_and_deviation(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    for seed in (1, 2):
        write(runs / "seeds" / str(seed) / "probe" / "results.json", 50.0 + seed)
        text = f"seed_everything: {seed}\nmodel: {{noise: all}}\n"
        (runs / "seeds" / str(seed) / "config.yaml").write_text(text)
    assert main(["compare", *arguments]) == 0
    assert "│ *52.5 ± 0.7 │" in capsys.readouterr().out
    with (runs / "comparison.csv").open(newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["a"] * 8 + ["b"] * 4


def test_its_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(
        word in printed
        for word in ("LABEL=PATH", "--evaluation NAME", "--out FILE.png", "Example:")
    )


def test_a_folder_that_is_that_evaluation_already_is_taken(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, top1 in (("one", 20.0), ("two", 30.0)):
        write(runs / name / "probe_digit" / "results.json", top1)
    assert main(["compare", "a=one/probe_digit", "b=two", "--evaluation=probe_digit"]) == 0
    printed = capsys.readouterr().out
    assert "24.0" in printed
    assert "*34.0" in printed
    assert main(["compare", "a=one/probe", "--evaluation=probe_digit"]) == 1
    assert "there is no one/probe/probe_digit/results.json" in capsys.readouterr().err
