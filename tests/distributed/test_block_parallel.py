"""Invariant 8: consecutive blocks in several real processes are one process, to the last bit."""

from pathlib import Path
from typing import Any

import pytest
import several_ranks as cases
import torch
from golden_runs import Golden, computed_with
from golden_runs import run as golden_run

from blocklearn import BlockParallelStrategy, UserError
from blocklearn.__main__ import main
from blocklearn.cli.strategy_names import named_in_args, named_in_config

LOCO = "--model.blocks=[[layer1,layer2],[layer2,layer3],[layer3,layer4]]"
ONE = {
    **{name: (name, {}) for name in cases.NETWORKS},
    "begun": ("barlow_twins", {"max_steps": 6}),
    "between": ("accumulated", {"max_steps": 5}),
    "mesh": ("without noise", {"precision": "64-true"}),
}
BITWISE = [
    *((2, name, name) for name in cases.NETWORKS),
    (2, "goes on", "barlow_twins"),
    (2, "begun", "begun"),
    (2, "waiting", "accumulated"),
    (3, "barlow_twins", "barlow_twins"),
    (4, "barlow_twins", "barlow_twins"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process in `one/NAME`, with the threads that a process of several has."""
    root = tmp_path_factory.mktemp("runs")
    for title, (network, settings) in ONE.items():
        cases.run(root / "one" / title, network, **settings)
    return root


class Launched(dict[int, list[Any]]):
    """What so many processes found, which are started when they are asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def __missing__(self, processes: int) -> list[Any]:
        self[processes] = cases.launch(self.root, processes)
        return self[processes]


@pytest.fixture(scope="module")
def several(root: Path) -> dict[int, list[Any]]:
    return Launched(root)


def slow_if_three(processes: int, *more: str) -> Any:
    """Two and four processes are looked at always, three with the slow tests."""
    return pytest.param(processes, *more, marks=[pytest.mark.slow] * (processes == 3))


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_identical(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_identical(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_identical(first, second)
    else:
        assert one == other


@pytest.mark.parametrize(("processes", "name", "alone"), [slow_if_three(*c) for c in BITWISE])
def test_the_checkpoint_is_that_of_one_process_to_the_last_bit(
    several: dict[int, list[Any]], root: Path, processes: int, name: str, alone: str
) -> None:
    assert len(several[processes]) == processes
    mine, theirs = (checkpoint(root / part) for part in (f"{processes}/{name}", f"one/{alone}"))
    for found in (mine, theirs):  # paths, and what was measured of the time
        found.pop("callbacks")
        found.pop("loops")
    assert_identical(mine, theirs)


@pytest.mark.parametrize(
    ("processes", "name", "alone"), [slow_if_three(*c) for c in BITWISE if c[1] == c[2]]
)
def test_the_table_of_metrics_is_that_of_one_process(
    several: dict[int, list[Any]], root: Path, processes: int, name: str, alone: str
) -> None:
    assert len(several[processes]) == processes
    mine, theirs = (root / part / "metrics.csv" for part in (f"{processes}/{name}", f"one/{alone}"))
    assert mine.read_text() == theirs.read_text()
    assert "block4/val_loss" in mine.read_text()


def test_one_process_goes_on_from_the_checkpoint_of_two(
    several: dict[int, list[Any]], root: Path
) -> None:
    assert len(several[2]) == 2
    begun = root / "2" / "begun" / "checkpoints" / "last.ckpt"
    cases.run(root / "back", "barlow_twins", resume=str(begun))
    whole, back = checkpoint(root / "one" / "barlow_twins"), checkpoint(root / "back")
    assert_identical(back["state_dict"], whole["state_dict"])
    assert_identical(back["optimizer_states"], whole["optimizer_states"])


@pytest.mark.parametrize("processes", [slow_if_three(count) for count in (2, 3, 4)])
def test_every_process_keeps_the_weights_of_its_own_blocks_alone(
    several: dict[int, list[Any]], root: Path, processes: int
) -> None:
    here = [set(result["barlow_twins"]["here"]) for result in several[processes]]
    together = set().union(*here)
    assert sum(map(len, here)) == len(together)
    assert together == checkpoint(root / "one" / "barlow_twins")["state_dict"].keys()
    blocks = [{name.split(".")[1] for name in names} for names in here]
    assert len(blocks) == processes
    assert [int(block) for names in blocks for block in sorted(names)] == [0, 1, 2, 3]


def test_the_state_that_is_kept_for_a_metric_of_the_last_rank_is_that_of_one_process(
    several: dict[int, list[Any]], root: Path
) -> None:
    kept = [path.name for path in (root / "one" / "barlow_twins" / "best").iterdir()]
    for result in several[2]:
        assert [Path(result["barlow_twins"]["best"]).name] == kept


@pytest.mark.parametrize("name", ["mesh", "divided"])
def test_two_chains_of_two_ranks_are_one_process_with_the_whole_batch(
    several: dict[int, list[Any]], root: Path, name: str
) -> None:
    here = [set(result[name]["here"]) for result in several[4]]
    mine, theirs = (checkpoint(root / part) for part in (f"4/{name}", "one/mesh"))
    torch.testing.assert_close(mine["state_dict"], theirs["state_dict"], rtol=1e-7, atol=1e-9)
    assert mine["global_step"] == theirs["global_step"]
    assert here[0] == here[1] != here[2] == here[3]


@pytest.mark.parametrize("name", ["digits", pytest.param("sound", marks=pytest.mark.slow)])
def test_100_batches_in_two_processes_have_the_losses_of_one_and_the_result_is_evaluated_as_its(
    tmp_path: Path, name: str
) -> None:
    of_this_machine = [one for one in Golden.read(name) if one.made_with == computed_with()]
    kept = next(iter(of_this_machine), None)
    if kept is None:
        (tmp_path / "one").mkdir()
        kept = golden_run(name, tmp_path / "one")
    found = golden_run(name, tmp_path, "--trainer.devices=2", "--trainer.strategy=block_parallel")
    assert found.losses == kept.losses
    state = str(tmp_path / name / "checkpoints" / "last.ckpt")
    assert main(["export", state]) == 0
    for verb in ("validate", "isolation"):
        one = ["--trainer.devices=1", "--trainer.limit_val_batches=1"]
        assert main([verb, "--model.checkpoint", state, *one]) == 0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--trainer.devices=5"], "puts 4 blocks on 5 ranks"),
        (["--trainer.devices=1"], "needs 2, 3, ... times as many processes, there are 1"),
        (["--trainer.devices=2", "--model.schedule=SequentialSchedule"], "one block learns at a"),
        (["--trainer.devices=3", "--trainer.strategy.data_parallel=2"], "there are 3"),
        (["--trainer.devices=2", "--trainer.max_time=00:01:00:00"], "wait for one another"),
        (["--trainer.devices=2", "--trainer.callbacks+=EMAWeightAveraging"], "blockwise_ddp"),
        (["--trainer.devices=2", "--trainer.strategy.blocks_per_rank=[1,2]"], "add up to 4"),
        (["--trainer.devices=2", LOCO], "of which share a stage"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line_before_a_process_is_started(
    flags: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    fit = ["fit", "--config=bt_digits.yaml", "--trainer.strategy=block_parallel"]
    assert main([*fit, *common, *flags]) == 1
    (line,) = [row for row in capsys.readouterr().err.splitlines() if "error" in row]
    assert told in line
    assert not (tmp_path / "run").exists()


def test_a_strategy_goes_by_its_name_in_a_command_and_in_a_configuration() -> None:
    path = "--trainer.strategy.class_path=blocklearn.BlockParallelStrategy"
    assert named_in_args(["fit", "--trainer.strategy", "block_parallel"]) == ["fit", path]
    assert named_in_args(["fit", "--trainer.strategy=block_parallel"]) == ["fit", path]
    assert named_in_args(["fit", "--trainer.strategy.timeout_s=9"]) == [
        "fit",
        "--trainer.strategy.class_path=blocklearn.BlockwiseDDPStrategy",
        "--trainer.strategy.timeout_s=9",
    ]
    config = named_in_config({"trainer": {"strategy": "blockwise_ddp", "devices": 2}})
    strategy = {"class_path": "blocklearn.BlockwiseDDPStrategy"}
    assert config == {"trainer": {"strategy": strategy, "devices": 2}}
    assert named_in_config({"trainer": {"strategy": "auto"}}) == {"trainer": {"strategy": "auto"}}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"data_parallel": 0}, "data_parallel must be at least 1"),
        ({"lead": 0}, "lead must be at least 1"),
        ({"timeout_s": 0}, "timeout_s must be positive"),
    ],
)
def test_settings_out_of_range_are_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        BlockParallelStrategy(**arguments)
