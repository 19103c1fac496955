"""A run of a sweep: its folder and its command."""

from pathlib import Path
from typing import Any

import pytest
from ablation.test_sweep_file import sweep

from blocklearn import UserError
from blocklearn.ablation.trials import TrialMaker, cleaned, short_names


def maker(tmp_path: Path, seeds: Any = None, **changes: Any) -> TrialMaker:
    return TrialMaker(sweep(tmp_path, **changes), tmp_path / "all", seeds)


def test_a_folder_is_called_by_what_the_settings_differ_in(tmp_path: Path) -> None:
    names = ["model.noise", "model.objective.pooling.kernel_size", "a.lr", "b.lr", "fixed"]
    parameters: dict[str, Any] = {name: {"values": [1, 2]} for name in names[:-1]}
    own = maker(tmp_path, [0, 5], parameters={**parameters, "fixed": {"value": 3}})
    zero, five = own.of(dict(zip(names, ("all", 1, 0.1, 2, 3), strict=True)))
    assert zero.folder == tmp_path / "all" / "noise=all,kernel_size=1,a.lr=0.1,b.lr=2" / "seed0"
    assert five.folder == zero.folder.with_name("seed5")
    assert {zero.name, five.name} == {zero.folder.parent.name}
    assert zero.title.endswith("b.lr=2, seed 0")


def test_a_configuration_is_called_by_its_name_alone(tmp_path: Path) -> None:
    values = ["methods/byol.yaml", "methods/simclr.yaml"]
    own = maker(tmp_path, parameters={"config": {"values": values}, "lr": {"values": [1, 2]}})
    (trial,) = own.of({"config": values[0], "lr": 1})
    assert trial.name == "byol,lr=1"
    assert "--config=methods/byol.yaml" in trial.arguments


def test_a_run_is_told_seed_folder_test_and_to_go_on(tmp_path: Path) -> None:
    (trial,) = maker(tmp_path, [3]).of({"model.noise": "all"})
    assert trial.arguments == (
        *("fit", "--config", "bt_digits.yaml", "--model.noise=all", "--seed_everything=3"),
        f"--trainer.default_root_dir={trial.folder}",
        *("--then_test=true", "--resume=auto"),
        *("--wandb.group=all", "--wandb.name=noise=all,seed=3"),
    )


def test_what_the_command_says_itself_is_not_said_again(tmp_path: Path) -> None:
    words = ["${program}", "fit", "--then_test", "true", "--wandb.name=own", "${args}"]
    (trial,) = maker(tmp_path, command=words).of({"model.noise": "all"})
    assert sum("then_test" in word for word in trial.arguments) == 1
    assert sum("wandb.name" in word for word in trial.arguments) == 1
    assert not any("seed" in word for word in trial.arguments)


def test_the_seed_may_be_a_parameter(tmp_path: Path) -> None:
    parameters = {"a": {"values": [1]}, "seed_everything": {"values": [7, 8]}}
    own = maker(tmp_path, parameters=parameters)
    (seven,), (eight,) = (own.of({"a": 1, "seed_everything": seed}) for seed in (7, 8))
    assert seven.name == eight.name == "a=1"
    assert (seven.seed, eight.seed) == (7, 8)
    assert seven.arguments.count("--seed_everything=7") == 1
    with pytest.raises(UserError, match="leave out --seeds"):
        maker(tmp_path, [0], parameters=parameters)


def test_different_settings_never_share_a_folder(tmp_path: Path) -> None:
    own = maker(tmp_path)
    values = ["a/b", "a b", "[a, b]", "a" * 300, "a" * 301]
    folders = [own.of({"model.noise": value})[0].folder.name for value in values]
    assert len(set(folders)) == len(values)
    assert all(len(name) < 255 and "/" not in name for name in folders)
    assert [own.of({"model.noise": value})[0].folder.name for value in values] == folders


def test_values_keep_what_a_folder_can_have() -> None:
    assert cleaned("[[layer1, layer2], [layer3]]") == "layer1-layer2+layer3"
    assert cleaned(1e-05) == "1e-05"
    assert cleaned("../..") == "..-.."
    assert cleaned("") == "empty"


def test_short_names_tell_parameters_apart() -> None:
    assert short_names(["a.b", "c.b", "b", "x.y"]) == {
        "a.b": "a.b",
        "c.b": "c.b",
        "b": "b",
        "x.y": "y",
    }


def test_a_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    (trial,) = maker(tmp_path).of({"model.noise": "all"})
    trial.record()
    trial.record()
    longer = ["${program}", "fit", "--config", "bt_digits.yaml", "--more", "${args}"]
    (other,) = maker(tmp_path, command=longer).of({"model.noise": "all"})
    with pytest.raises(UserError, match="nothing there, --more here.*remove that folder"):
        other.record()


def test_runs_without_a_test_or_a_folder_of_their_own_are_refused(tmp_path: Path) -> None:
    for flag, told in (
        ("--then_test=false", "leaves no accuracy"),
        ("--trainer.default_root_dir=here", "a folder of its own"),
    ):
        with pytest.raises(UserError, match=told):
            maker(tmp_path, command=["${program}", "fit", flag, "${args}"]).of({"model.noise": 1})
