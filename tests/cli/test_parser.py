"""What the command line makes of its arguments before it parses them."""

from pathlib import Path

import pytest
import torch
from test_configs import parser

from blocklearn import UserError
from blocklearn.cli.config_files import locate_configs
from blocklearn.cli.parser import first_reason
from blocklearn.runs.run_folder import find_config


def test_an_evaluation_alone_asks_for_a_network() -> None:
    for verb in ("fit", "test"):
        with pytest.raises(UserError, match="probe_linear.yaml says nothing of a model"):
            locate_configs([verb, "--config", "probe_linear.yaml"])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a run with a configuration; what is in it does not matter here."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    path.touch()
    (tmp_path / "config.yaml").write_text("model: {backbone: resnet18}\n")
    return path


def configs(arguments: list[str]) -> list[str]:
    command = locate_configs(arguments)
    named = [
        Path(arg.removeprefix("--config=")).name for arg in command.args if arg.endswith(".yaml")
    ]
    return [command.received.name, *named] if command.received else named


@pytest.mark.parametrize(
    "form", [["--config", "probe_linear.yaml"], ["--config=probe_linear"], ["-c", "probe_linear"]]
)
def test_an_overlay_stacks_upon_the_configuration_of_the_checkpoints_run(
    checkpoint: Path, form: list[str]
) -> None:
    assert configs(["test", *form, "--model.checkpoint", str(checkpoint)]) == [
        "config.yaml",
        "probe_linear.yaml",
    ]


def test_a_users_own_file_without_a_model_stacks_too(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("data: {init_args: {num_workers: 2}}\n")
    arguments = [
        "test",
        "--config",
        str(tmp_path / "data.yaml"),
        f"--model.checkpoint={checkpoint}",
    ]
    assert configs(arguments) == ["config.yaml", "data.yaml"]


def test_a_recipe_stands_by_itself(checkpoint: Path) -> None:
    arguments = [
        "test",
        "--config=bt_digits",
        "--config=probe_linear",
        f"--model.checkpoint={checkpoint}",
    ]
    assert configs(arguments) == ["bt_digits.yaml", "probe_linear.yaml"]
    assert configs(["fit", "--config=bt_digits", f"--model.checkpoint={checkpoint}"]) == [
        "bt_digits.yaml"
    ]


def test_an_overlay_on_a_file_without_a_run_asks_for_a_configuration(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").unlink()
    torch.save({"conv1.weight": torch.zeros(2)}, checkpoint)
    with pytest.raises(
        UserError, match="beside the checkpoint: name the run's configuration with --config"
    ):
        locate_configs(["test", "--config=probe_linear", f"--model.checkpoint={checkpoint}"])


@pytest.mark.parametrize(
    ("arguments", "key", "expected"),
    [
        (
            ["--data=ImageFolder", "--data.recipe=SmallImageViews"],
            "data.init_args.recipe.init_args.min_scale",
            0.2,
        ),
        (["--data=CIFAR10"], "data.init_args.image_size", 32),
        (["--data=CIFAR10"], "data.init_args.batch_size", 2048),  # set by the recipe
        (
            ["--model.objective.criterion=VICReg"],
            "model.objective.init_args.criterion.init_args.eps",
            1e-4,
        ),
        (["--model.optimizer=torch.optim.SGD"], "model.optimizer.init_args.momentum", 0),
        (
            ["--model.optimizer.lr=0.3", "--model.optimizer=torch.optim.SGD"],
            "model.optimizer.init_args.lr",
            0.3,
        ),
        (
            ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.3"],
            "model.optimizer.init_args.lr",
            0.3,
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_another_part_comes_with_its_own_defaults_and_keeps_what_was_set(
    arguments: list[str], key: str, expected: float
) -> None:
    parsed = parser().parse_args(["--config", str(find_config("bt_blockwise.yaml")), *arguments])
    assert parsed[key] == expected


def test_the_reason_is_what_the_class_said_with_the_line_that_a_colon_announces() -> None:
    tried = (
        "Does not validate against any of the Union subtypes\nErrors:\n  - {}\n  - Expected a "
        "<class 'NoneType'>\n"
    )
    assert first_reason(tried.format("lr must be above 0")) == "lr must be above 0"
    assert (
        first_reason(tried.format("Problem with a.B:\n      no size\n  - later"))
        == "Problem with a.B: no size"
    )
    assert first_reason("nothing tried") == "nothing tried"
