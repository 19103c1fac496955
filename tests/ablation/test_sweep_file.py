"""Sweep files as W&B has them, read without W&B."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from blocklearn import UserError
from blocklearn.ablation.parameters import Parameter, read_parameter
from blocklearn.ablation.sweep_file import Metric, Sweep, find_sweep, read_sweep
from blocklearn.runs.run_folder import shipped_configs

WHOLE: dict[str, Any] = {
    "program": "blocklearn",
    "command": ["${program}", "fit", "--config", "bt_digits.yaml", "${args}"],
    "method": "grid",
    "parameters": {"model.noise": {"values": ["none", "all"]}},
}


def sweep(tmp_path: Path, **changes: Any) -> Sweep:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, **changes}))
    return read_sweep(path)


def parameter(**content: Any) -> Parameter:
    return read_parameter("lr", content, "own.yaml")


@pytest.mark.parametrize("name", ["digits_ablations", "digits_ablations.yaml"])
def test_a_shipped_sweep_is_found_by_its_bare_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_sweep(name) == shipped_configs() / "sweeps" / "digits_ablations.yaml"
    (tmp_path / name).touch()
    assert find_sweep(name) == Path(name)


def test_an_unknown_sweep_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean digits_ablations.yaml\?"):
        find_sweep("digit_ablations")


@pytest.mark.parametrize(
    "command",
    [
        ["${program}", "fit", "--x", "${args}"],
        ["${env}", "${interpreter}", "-m", "blocklearn", "fit", "--x", "${args}"],
        ["/usr/bin/env", "python", "-m", "${program}", "fit", "--x", "${args}"],
        ["/somewhere/bin/blocklearn", "fit", "--x", "${args}"],
    ],
)
def test_the_command_is_written_as_an_agent_writes_it(tmp_path: Path, command: list[str]) -> None:
    read = sweep(tmp_path, command=command)
    settings = {"model.noise": "all", "a": True, "b": [1, 2]}
    assert read.arguments(settings) == ["fit", "--x", "--model.noise=all", "--a=True", "--b=[1, 2]"]


def test_settings_may_follow_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", "there")
    words = ["${program}", "fit", "--data.root", "${envvar:ROOT}", "${args_no_equals}"]
    read = sweep(tmp_path, command=words)
    assert read.arguments({"a": 1}) == ["fit", "--data.root", "there", "--a", "1"]


def test_the_metric_is_the_accuracy_of_the_last_block_unless_the_file_says_another(
    tmp_path: Path,
) -> None:
    assert sweep(tmp_path).metric == Metric("probe/last", True)
    assert sweep(tmp_path, metric={"name": "block1/loss"}).metric == Metric("block1/loss", False)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"run_caps": 3}, "there is no key run_caps; did you mean run_cap?"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate ends runs early"),
        ({"method": "all"}, "method should be one of grid, random, bayes, got all"),
        ({"program": "train.py"}, "program should be blocklearn"),
        ({"command": ["${program}", "test", "${args}"]}, "the command begin with fit"),
        ({"command": ["${program}", "fit", "${args_json}"]}, "does not take ${args_json}"),
        ({"command": ["${program}", "fit"]}, "where the settings go, is missing"),
        ({"metric": {"name": "probe/last"}}, "goal should be minimize or maximize"),
        ({"run_cap": 0}, "run_cap should be a number above 0"),
        ({"parameters": {"lr": {"vals": [1]}}}, "lr: there is no key vals; did you mean value"),
        ({"parameters": {"lr": {"min": 1}}}, "lr needs value, values, or min and max"),
        ({"parameters": {"lr": {"parameters": {}}}}, "parameters within a parameter"),
        ({"parameters": {"lr": {"distribution": "beta"}}}, "there is no distribution beta here"),
        ({"parameters": {"lr": {"min": 2, "max": 1}}}, "needs min <= max"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError) as refused:
        sweep(tmp_path, **changes)
    assert str(refused.value).startswith("own.yaml: ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("content", "low", "high"),
    [
        ({"min": 1, "max": 3}, 1, 3),
        ({"min": 0.5, "max": 3}, 0.5, 3),
        ({"min": "1e-4", "max": 0.1, "distribution": "log_uniform_values"}, 1e-4, 0.1),
        ({"min": -3, "max": 0, "distribution": "log_uniform"}, 0.0497, 1),
        ({"min": 32, "max": 256, "q": 32, "distribution": "q_uniform"}, 32, 256),
        ({"min": 32, "max": 256, "q": 32, "distribution": "q_log_uniform_values"}, 32, 256),
        ({"mu": 1, "sigma": 0, "distribution": "normal"}, 1, 1),
        ({"values": [1, 3]}, 1, 3),
    ],
)
def test_what_is_drawn_lies_within_the_bounds(
    content: dict[str, Any], low: float, high: float
) -> None:
    one, random = parameter(**content), Random(0)
    drawn = [one.draw(random) for _ in range(200)]
    assert all(low <= value <= high for value in drawn)
    if "q" in content:
        assert {type(value) for value in drawn} == {int}
        assert {value % content["q"] for value in drawn} == {0}


def test_a_logarithm_is_drawn_evenly() -> None:
    one, random = parameter(min=1e-4, max=1, distribution="log_uniform_values"), Random(0)
    drawn = [one.draw(random) for _ in range(2000)]
    assert 0.45 < sum(value < 1e-2 for value in drawn) / 2000 < 0.55


def test_options_are_drawn_as_often_as_the_file_says() -> None:
    one, random = parameter(values=["a", "b"], probabilities=[0.9, 0.1]), Random(0)
    assert 0.85 < [one.draw(random) for _ in range(1000)].count("a") / 1000 < 0.95
