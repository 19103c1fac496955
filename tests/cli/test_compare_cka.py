import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.cli.compare_cka import compare_cka
from blocklearn.metrics.linear_cka import linear_cka


def run_with_features(folder: Path, seed: int, samples: int = 30, data: str = "digits") -> Path:
    """As `predict` leaves it: two stages, and a head that is not compared."""
    torch.manual_seed(seed)
    tensors = {key: torch.randn(samples, 5) for key in ("layer1/raw", "layer2/raw", "layer2/head")}
    tensors["index"] = torch.arange(samples)
    places = {key: key.split("/") for key in tensors if "/" in key}
    names = [{"key": key, "stage": stage, "kind": kind} for key, (stage, kind) in places.items()]
    about = {"features": names, "data": data, "splits": {"test": samples}}
    folder.mkdir()
    plain = {key: json.dumps(value) for key, value in about.items()}
    save_file(tensors, folder / "features.safetensors", {"format": "pt", **plain})
    return folder


def test_every_stage_of_one_run_is_compared_with_every_stage_of_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (run_with_features(tmp_path / name, seed) for seed, name in enumerate("ab"))
    out = tmp_path / "cka.png"
    assert main(["compare", f"a={one}", f"b={two}", "--cka", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"Written: {out}, {out.with_suffix('.csv')}" in printed
    with out.with_suffix(".csv").open() as file:
        (header, *lines) = list(csv.reader(file))
    assert header == ["", "layer1", "layer2"]
    torch.manual_seed(0)
    mine = [torch.randn(30, 5) for _ in range(2)]
    torch.manual_seed(1)
    others = [torch.randn(30, 5) for _ in range(2)]
    expected = [[linear_cka(x, y) for y in others] for x in mine]
    for line, values in zip(lines, expected, strict=True):
        assert [float(cell) for cell in line[1:]] == pytest.approx(values, abs=1e-5)


def test_a_run_is_like_itself_and_a_sample_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    one = run_with_features(tmp_path / "a", 0)
    tensors = load_file(one / "features.safetensors")
    two = run_with_features(tmp_path / "b", 0)
    path = two / "features.safetensors"
    with safe_open(path, "pt") as file:
        about = file.metadata()
    tensors["layer1/raw"][3] = float("nan")
    save_file(tensors, path, about)
    compare_cka({"a": one, "b": two}, tmp_path / "cka.png")
    (_, first, second) = list(csv.reader((tmp_path / "cka.csv").read_text().splitlines()))
    assert float(first[1]) == pytest.approx(1)
    assert float(second[2]) == pytest.approx(1)


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    one = run_with_features(tmp_path / "a", 0)
    (tmp_path / "none").mkdir()
    broken = run_with_features(tmp_path / "broken", 0)
    (broken / "features.safetensors").write_bytes(b"nothing")
    cases = {
        "needs two runs": {"a": one},
        "not of the same samples": {"a": one, "b": run_with_features(tmp_path / "c", 1, data="x")},
        "blocklearn predict --model.checkpoint": {"a": one, "b": tmp_path / "none"},
        "cannot read .*run predict again": {"a": one, "b": broken},
    }
    for told, runs in cases.items():
        with pytest.raises(UserError, match=told):
            compare_cka(runs, tmp_path / "cka.png")
