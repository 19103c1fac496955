"""Every shipped configuration parses, instantiates, and opens with what a reader needs."""

import zipfile
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from blocklearn import BlockwiseModule, UserError
from blocklearn.cli.app import BlocklearnCLI
from blocklearn.cli.config_files import locate_configs
from blocklearn.cli.parser import prepare_parsing
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.evaluation import Evaluation
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.runs.run_folder import find_config, shipped_configs

CONFIGS = sorted(shipped_configs().glob("*.yaml"))
OVERLAYS = [
    path for path in CONFIGS if path.name.startswith("probe_")
]  # they stack upon a run's own
RECIPES = [path for path in CONFIGS if path not in OVERLAYS]


DATA_WITH = {  # the sets on which an overlay of that target can be used
    None: ["Digits"],
    "digit": ["SpokenDigits"],
    "speaker": ["SpokenDigits", "LibriSpeech"],
    "phone": ["LibriSpeech"],
}


def parser() -> ArgumentParser:
    import blocklearn.data
    import blocklearn.masks
    import blocklearn.objectives
    import blocklearn.optim  # noqa: F401

    prepare_parsing()
    made = ArgumentParser()
    made.add_argument("--config", action="config")
    made.add_argument("--seed_everything", type=int)
    made.add_argument("--trainer", type=dict)
    made.add_class_arguments(BlockwiseModule, "model")
    made.add_subclass_arguments(KeyedDataModule, "data")
    made.add_class_arguments(ProbeSettings, "probe")
    made.add_argument("--evaluation", type=Evaluation | None)
    return made


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_changes_the_evaluation_of_any_recipe(path: Path) -> None:
    """It sets every probe setting, so that nothing of the recipe's own evaluation stays."""
    content = yaml.safe_load(path.read_text())
    target = content.get("data", {}).get("init_args", {}).get("target")
    own = content.keys() - {"evaluation"}
    assert own == ({"trainer", "data", "probe"} if target else {"trainer", "probe"})
    assert content["probe"].keys() == {field.name for field in fields(ProbeSettings)}
    for data in DATA_WITH[target]:
        chosen = ["--data", data, "--data.root", "own"] if target else []
        recipe = ["--config", str(find_config("bt_digits.yaml")), *chosen]
        parsed = parser().parse_args([*recipe, "--config", str(path)])
        assert parsed.probe.as_dict() == content["probe"]
        assert parsed.data.class_path.endswith(data)
        if target:
            assert (parsed.data.init_args.target, str(parsed.data.init_args.root)) == (
                target,
                "own",
            )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_opens_with_its_cost_expectation_and_command(path: Path) -> None:
    opening = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(opening)
    assert "arXiv" in text
    assert all(word in text for word in ("Cost:", "Expected:", "Command:"))
    assert f"--config {path.name}" in text


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_command_line_accepts_a_config_by_its_bare_name(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (path.name, path.stem):
        with pytest.raises(SystemExit) as stop:
            BlocklearnCLI(locate_configs(["fit", "--config", name, "--print_config"]).args)
        assert stop.value.code == 0
        assert "backbone:" in capsys.readouterr().out


def test_a_file_of_that_name_in_the_folder_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bt_digits.yaml").touch()
    assert find_config("bt_digits.yaml") == Path("bt_digits.yaml")


def test_an_unknown_config_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean bt_blockwise.yaml\?"):
        find_config("bt_blokwise.yaml")


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean methods/dino.yaml\?"):
        find_config("methods/dinno.yaml")


def test_several_configs_stack() -> None:
    located = locate_configs(
        ["fit", "--config", "bt_digits.yaml", "-c", "bt_blockwise.yaml", "--config=bt_digits"]
    )
    assert [Path(arg.removeprefix("--config=")).name for arg in located.args if ".yaml" in arg] == [
        "bt_digits.yaml",
        "bt_blockwise.yaml",
        "bt_digits.yaml",
    ]


METHODS = sorted((shipped_configs() / "methods").glob("*.yaml"))


def test_every_method_is_compared_on_every_data_set_that_has_a_comparison() -> None:
    for path in SWEEPS:
        if path.stem.startswith("methods_"):
            compared = yaml.safe_load(path.read_text())["parameters"]["config"]["values"]
            assert compared.pop(0) == "ways/untrained.yaml"
            assert sorted(compared) == [f"methods/{method.name}" for method in METHODS]


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_says_what_it_is_and_changes_the_model_alone(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text).keys() == {"model"}


WAYS = sorted((shipped_configs() / "ways").glob("*.yaml"))


def test_every_way_of_training_is_part_of_a_comparison() -> None:
    compared: set[str] = set()
    for path in SWEEPS:
        parameters = yaml.safe_load(path.read_text())["parameters"]
        compared |= set(parameters.get("config", {"values": []})["values"])
    assert {f"ways/{way.name}" for way in WAYS} == {one for one in compared if "ways/" in one}


@pytest.mark.parametrize("path", WAYS, ids=lambda path: path.stem)
def test_a_way_of_training_says_what_it_is_and_changes_neither_data_nor_probe(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text).keys() <= {"model", "trainer"}


SWEEPS = sorted((shipped_configs() / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_a_sweep_asks_for_nothing_that_its_recipe_refuses(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    recipe = find_config(sweep["command"][sweep["command"].index("--config") + 1])
    methods = sweep["parameters"].pop("config", {"values": []})["values"]
    assert len(methods) == len(set(methods))
    for method in methods:
        parser().parse_args(["--config", str(recipe), "--config", str(find_config(method))])
    values = {name: parameter["values"] for name, parameter in sweep["parameters"].items()}
    assert all(len(options) > 1 for options in values.values())
    for name, options in values.items():
        for option in options:
            # as wandb's agent says it
            parsed = parser().parse_args(["--config", str(recipe), f"--{name}={option}"])
            assert parsed.model.backbone == yaml.safe_load(recipe.read_text())["model"]["backbone"]


@pytest.mark.slow
def test_the_wheel_carries_the_configs(tmp_path: Path) -> None:
    import subprocess
    import sys

    root = Path(__file__).parents[1]
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(root),
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"blocklearn/configs/{path.name}" for path in CONFIGS} <= names
    assert {f"blocklearn/configs/sweeps/{path.name}" for path in SWEEPS} <= names
