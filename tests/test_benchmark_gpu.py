"""`make gpu`: one visit to a GPU, that may be cut short and started again."""

import json
import shlex
import signal
import subprocess
import sys
import time
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import gpu, gpu_stages
from benchmarks.gpu_record import count_tests
from benchmarks.gpu_stages import Stage
from benchmarks.rows import Row, make_parser, save_rows
from blocklearn.__main__ import main

ROOT = Path(__file__).parents[1]


def running(name: str, code: str, **more: Any) -> Stage:
    return Stage(name, f"about {name}", [sys.executable, "-c", code], **more)


def counting(folder: Path, name: str, then: str = "", **more: Any) -> Stage:
    """Leaves a line for every time that it runs."""
    code = f"open({str(folder / f'{name}.ran')!r}, 'a').write('x\\n'); {then}"
    return running(name, code, **more)


def times(folder: Path, name: str) -> int:
    path = folder / f"{name}.ran"
    return len(path.read_text().splitlines()) if path.exists() else 0


def visit(
    monkeypatch: pytest.MonkeyPatch, folder: Path, stages: list[Stage], *arguments: str
) -> str | int | None:
    """Its exit status, or what it says in place of one."""
    monkeypatch.setattr(gpu_stages, "stages", lambda settings, on_gpu: stages)
    try:
        gpu.main(["--quick", "--folder", str(folder), *arguments])
    except SystemExit as ending:
        return ending.code
    return 0


def endings(folder: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((folder / "results.json").read_text())
    return {ending["name"]: ending for ending in content["stages"]}


def test_a_failed_stage_is_told_with_its_last_line_and_log_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "good.json"
    save_rows([Row("P2", "a step", "plain", "s", [3.0], [2.0], 1.4)], rows)
    kept = rows.read_text()
    bad = running("bad", "print('one'); print('the reason'); print(); raise SystemExit(3)")
    good = running("good", f"open({str(rows)!r}, 'w').write({kept!r})", rows=rows)
    assert visit(monkeypatch, tmp_path, [bad, good]) == "failed: bad"
    assert f"the reason ({tmp_path / 'bad.log'})" in capsys.readouterr().out
    assert {name: one["status"] for name, one in endings(tmp_path).items()} == {
        "bad": "failed",
        "good": "done",
    }
    summary = (tmp_path / "summary.md").read_text()
    assert (
        "| good | P2 | a step | plain | 3 s | 1.5 | 1.5 to 1.5 | <= 1.4: **not met** |" in summary
    )
    for fact in ("driver", "torch", "commit", "date", "GPU"):
        assert f"| {fact} |" in summary


def test_what_has_its_result_is_not_repeated_unless_asked_and_what_failed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = counting(tmp_path, "fails", "raise SystemExit(1)")
    stages = [counting(tmp_path, "works"), fails]
    for _ in range(2):
        assert visit(monkeypatch, tmp_path, stages) == "failed: fails"
    assert (times(tmp_path, "works"), times(tmp_path, "fails")) == (1, 2)
    assert visit(monkeypatch, tmp_path, stages, "--again", "--only", "works") == 0
    assert (times(tmp_path, "works"), times(tmp_path, "fails")) == (2, 2)
    assert endings(tmp_path)["fails"]["status"] == "failed"  # of the visit before
    other = counting(tmp_path, "works", "pass")
    assert visit(monkeypatch, tmp_path, [other]) == 0
    assert times(tmp_path, "works") == 3, "another command has another result"


def test_after_the_budget_no_stage_begins_and_one_that_can_go_on_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = counting(tmp_path, "long", "import time; time.sleep(60)", stops=True)
    late = counting(tmp_path, "late")
    began = time.monotonic()
    assert visit(monkeypatch, tmp_path, [wait, late], "--budget", "0.02") == 0
    assert time.monotonic() - began < 30
    found = endings(tmp_path)
    assert (found["long"]["status"], found["late"]["status"]) == ("stopped", "not begun")
    assert times(tmp_path, "late") == 0


def test_a_stage_that_cannot_go_on_later_is_not_cut_short_by_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = counting(tmp_path, "whole", "import time; time.sleep(1)")
    stages = [whole, counting(tmp_path, "late")]
    assert visit(monkeypatch, tmp_path, stages, "--budget", "0.008") == 0
    found = endings(tmp_path)
    assert (found["whole"]["status"], found["late"]["status"]) == ("done", "not begun")


def test_what_cannot_run_here_is_left_out_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [
        running("bare", "raise SystemExit(1)", needs=["no_such_module_anywhere"]),
        running("empty", "raise SystemExit(1)", missing="no folder"),
    ]
    assert visit(monkeypatch, tmp_path, stages) == 0
    out = capsys.readouterr().out
    assert "left out: no_such_module_anywhere not installed" in out
    assert "left out: no folder" in out


def test_an_unknown_stage_is_refused_with_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = visit(monkeypatch, tmp_path, [running("step", "pass")], "--only", "stop")
    assert said == "--only: no stage stop; there are step"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no CUDA device") as refusal:
        gpu.main(["--folder", str(tmp_path / "new")])
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "new").exists()


def test_a_stage_that_ends_the_visit_takes_its_own_processes_with_it(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(60)"],
        start_new_session=True,
    )
    time.sleep(0.5)
    gpu.PATIENCE, kept = 1, gpu.PATIENCE
    try:
        gpu.end(child)  # it does not heed SIGTERM
    finally:
        gpu.PATIENCE = kept
    assert child.returncode == -signal.SIGKILL


def test_tests_are_counted_from_junit_xml(tmp_path: Path) -> None:
    path = tmp_path / "tests.xml"
    suite = '<testsuite tests="9" errors="1" failures="2" skipped="3"/>'
    path.write_text(f"<testsuites>{suite}</testsuites>")
    assert count_tests(path) == {"passed": 3, "failed": 3, "skipped": 3}


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("on_gpu", [True, False])
def test_every_stage_gives_its_benchmark_flags_that_it_takes(
    tmp_path: Path, on_gpu: bool, quick: bool
) -> None:
    settings = Namespace(folder=tmp_path, data=tmp_path, quick=quick)
    stages = gpu_stages.stages(settings, on_gpu)
    assert len({stage.name for stage in stages}) == len(stages) == 11
    for stage in stages:
        _, _, module, *arguments = stage.command
        if module.startswith("benchmarks."):
            benchmark = import_module(module)
            taken = make_parser(None, benchmark.more_arguments).parse_args(arguments)
            assert taken.output == stage.rows
            assert taken.quick == quick


@pytest.mark.parametrize("folders", [True, False])
def test_cifar10_may_be_folders_of_images_or_the_files_of_torchvision(
    tmp_path: Path, folders: bool
) -> None:
    if folders:
        (tmp_path / "train").mkdir()
    settings = Namespace(folder=tmp_path, data=tmp_path, quick=False)
    commands = [s.command for s in gpu_stages.stages(settings, True) if s.name.startswith("cifar")]
    assert [("ImageFolder" in command) for command in commands] == [folders] * 3
    assert [command[command.index("--seeds") + 1] for command in commands] == ["1", "1", "3"]


@pytest.mark.slow
@pytest.mark.parametrize("sweep", ["ways_cifar10", "heads_cifar10"])
def test_every_run_on_cifar10_takes_two_steps_in_small_on_a_cpu(
    tmp_path: Path, sweep: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        image = Image.effect_noise((32, 32), 50 + number).convert("RGB")
        path = tmp_path / "data" / ("train", "test")[number % 2] / f"class{number % 4 // 2}"
        path.mkdir(parents=True, exist_ok=True)
        image.save(path / f"{number}.png")
    data = ["--data", "ImageFolder", "--data.root", str(tmp_path / "data")]
    main(["ablate", sweep, *data, "--dry_run"])
    commands = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines()]
    few = [
        *("--trainer.fast_dev_run", "2", "--trainer.accelerator", "cpu", "--then_test", "false"),
        *("--resume", "null", "--data.batch_size", "4", "--wandb.mode", "disabled"),
        *("--model.network.backbone_kwargs", "{channels: [8, 8, 16, 16]}"),
    ]
    assert len(commands) == {"ways_cifar10": 21, "heads_cifar10": 5}[sweep]
    for command in commands:
        folder = f"--trainer.default_root_dir={tmp_path / 'run'}"
        assert main([*command, *few, folder]) == 0, command


@pytest.mark.slow
def test_all_of_it_runs_in_small_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = endings(tmp_path)
    left_out = {name for name, ending in found.items() if ending["status"] == "left out"}
    assert left_out == {"suite", "cifar10", "cifar10_heads", "cifar10_seeds"}
    assert all(one["status"] == "done" for name, one in found.items() if name not in left_out)
    assert "its figures mean nothing" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "step_trace.json").exists()
