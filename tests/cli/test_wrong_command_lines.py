"""Command lines as a newcomer would type them: one line that says what is wrong, where, and what
to do."""

import sys
from pathlib import Path

import pytest

from blocklearn.__main__ import main

CRITERIA = (
    "there is no SimCRL; did you mean SimCLR? There is SimCLR, BarlowTwins, LPL, SwAV, VICReg, Sup"
)
FILES = {
    "crit.yaml": "model:\n  objective:\n    class_path: JointEmbedding\n    init_args:\n"
    "      criterion:\n        class_path: SimCRL\n",
    "callback.yaml": "trainer:\n  callbacks:\n    - class_path: OnlineKN\n",
    "rate.yaml": "model:\n  optimizer:\n    class_path: LARS\n    init_args: {lr: fast}\n",
    "schedule.yaml": "model:\n  schedule:\n    class_pth: SequentialSchedule\n",
    "list.yaml": "- a\n",
    "tab.yaml": "model:\n\tbackbone: x\n",
}
PARTS = {
    "home_made.py": "from blocklearn.criteria import Criterion\n"
    "class CosineDistance(Criterion):\n"
    "    def forward(self, z, label=None):\n        return None\n",
    "broken.py": "import torch\nimport no_such_library\n",
    "syntax.py": "import torch\nclass A(:\n",
    "raises.py": "x = {}\ny = x['a']\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (FILES | PARTS).items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command which cannot train ends with."""
    try:
        status: object = main(["fit", "--config", "bt_digits.yaml", *arguments])
    except SystemExit as stop:
        status = stop.code
    lines = capsys.readouterr().err.splitlines()
    assert status in (1, 2)
    assert len(lines) == 1
    return lines[0].removeprefix("blocklearn: error: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        # a wrong short name, at every part
        (["--model.objective.criterion", "SimCRL"], f"model.objective.criterion: {CRITERIA}"),
        (["--model.objective=JointEmbeding"], "did you mean JointEmbedding? There is Joint"),
        (["--model.objective.pooling", "LocalPool"], "did you mean LocalPooling?"),
        (["--model.objective.projector", "Projektor"], "did you mean Projector?"),
        (
            ["--model.noise", "GausianNoise"],
            "model.noise: there is no GausianNoise; did you mean G",
        ),
        (["--model.schedule", "Sequental"], "did you mean SequentialSchedule?"),
        (["--model.optimizer", "AdmW"], "did you mean AdamW? There is AdamW, LARS, Adam, SGD, or"),
        (["--model.lr_schedule", "Cosine"], "did you mean WarmupCosine?"),
        (["--model.execution", "InTrn"], "did you mean InTurn?"),
        (["--data", "cifar10"], "data: there is no cifar10; did you mean CIFAR10?"),
        (
            ["--data.recipe", "SmallViews"],
            "data.recipe: there is no SmallViews; did you mean Small",
        ),
        (["--evaluation", "knn"], "did you mean KNN?"),
        (["--model.metrics+=RankMee"], "model.metrics: there is no RankMee; did you mean RankMe?"),
        (["--trainer.callbacks+=OnlineKN"], "did you mean OnlineKNN?"),
        (["--trainer.logger", "Tensorboard"], "did you mean TensorBoardLogger?"),
        (["--trainer.strategy", "block_paralel"], "did you mean block_parallel?"),
        (["--model.per_block", "{block2: {objective: Superviced}}"], "did you mean Supervised?"),
        # the same from a file, with the file and the whole key
        (["--config", "crit.yaml"], f"config: crit.yaml: model.objective.criterion: {CRITERIA}"),
        (["--config", "callback.yaml"], "config: callback.yaml: trainer.callbacks: there is no On"),
        (["--config", "rate.yaml"], "rate.yaml: model.optimizer.lr: should be a number, got fast"),
        (
            ["--config", "schedule.yaml"],
            "a part is named by class_path, its arguments by init_args",
        ),
        (["--config", "list.yaml"], "list.yaml should hold settings as KEY: VALUE"),
        (["--config", "tab.yaml"], "config: tab.yaml, line 2: "),
        # values
        (
            ["--trainer.max_epochs", "ten"],
            "trainer.max_epochs: should be a whole number or null, g",
        ),
        (["--trainer.max_epochs="], "should be a whole number or null, got nothing"),
        (["--model.optimizer.lr", "fast"], "model.optimizer.lr: should be a number, got fast"),
        (["--data.batch_size", "big"], "data.batch_size: should be a whole number, got big"),
        (["--model.network.small_stem", "si"], "small_stem: should be true or false, got si"),
        (
            ["--model.blocks", "a,b"],
            "should be one of per_stage, per_unit, end_to_end, balanced:N or a whole number or a l",
        ),
        (["--model.blocks", "per_stge"], "got per_stge; did you mean per_stage?"),
        (["--model.blocks", "balanced:x"], "balanced:x does not say how many blocks; write bal"),
        (["--model.blocks", "balanced:9"], "9 blocks cannot be made of the 4 units of this"),
        (["--model.recompute", "none"], "should be one of nothing, cheap, views, units, got none"),
        (["--trainer.precision", "bf17"], "should be one of 32-true, bf16-mixed, "),
        (["--seed_everything", "x"], "should be true or false or a whole number, got x"),
        (["--model.per_block", "{block1: 3}"], "should be for every block {KEY: VALUE}, got 3"),
        (["--model.network.patches", "16"], "patches: should be {size: N, ...} or null, got 16"),
        (["--data.root"], "--data.root needs a value: --data.root DIR"),
        (
            ["--model.objective.criterion"],
            "needs a value: --model.objective.criterion NAME: Barlow",
        ),
        (["--model", "resnet18"], "--model takes a file with that section, and there is no file r"),
        # names
        (["--lr", "0.1"], "there is no --lr; did you mean --model.optimizer.lr or --probe.lr?"),
        (["--max_epochs", "3"], "there is no --max_epochs; did you mean --trainer.max_epochs?"),
        (["--batchsize", "3"], "did you mean --data.batch_size or "),
        (["--model.optimiser.lr", "1"], "did you mean --model.optimizer.lr?"),
        (
            ["--model.optimizer.learning_rate", "1"],
            "learning_rate is not accepted; did you mean lr?",
        ),
        (["--model.network.smallstem=true"], "did you mean --model.network.small_stem?"),
        (
            ["--trainer.callbacks+=EarlyStopping"],
            "monitor is needed, and is not given; where a par",
        ),
        (["more"], "more is no flag, and stands behind none; settings are written --NAME VALUE"),
        # files
        (
            ["--config", "--data", "Digits"],
            "--config needs the name or the path of a file behind it",
        ),
        (
            ["--config", "cifar"],
            "did you mean auglocal_cifar10.yaml or bt_cifar10.yaml or bt_cifar1",
        ),
        (["--config", "zzz"], "shipped configurations; all are listed by: blocklearn help recipes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    line = complaint(capsys, *arguments)
    assert told in line
    assert len(line) < 300
    assert not any(word in line for word in ("Parser key", "Expected a", "subclass", "NoneType"))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "home_made.CosinDistance",
            "home_made has no CosinDistance; did you mean home_made.CosineDis",
        ),
        (
            "broken.A",
            "cannot import broken: {}/broken.py, line 2: ModuleNotFoundError: No module n",
        ),
        ("syntax.A", "cannot import syntax: {}/syntax.py, line 2: invalid syntax"),
        ("raises.A", "cannot import raises: {}/raises.py, line 2: KeyError: 'a'"),
        (
            "torch.nn.Linear",
            "torch.nn.Linear is no Criterion; there is BarlowTwins, LPL, SimCLR, SwAV, VICReg, Su",
        ),
        ("blocklearn.SimCRL", "blocklearn has no SimCRL; did you mean blocklearn.SimCLR?"),
        ("blocklern.SimCLR", "there is no module blocklern; did you mean blocklearn?"),
        ("nowhere.A", "there is no module nowhere: it is not installed, nor in PYTHONPATH"),
    ],
)
def test_a_class_path_that_leads_nowhere_says_why(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    told: str,
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    line = complaint(capsys, "--model.objective.criterion", path)
    assert line.startswith(f"model.objective.criterion: {told.format(folder)}")


def test_a_part_in_the_working_folder_is_told_how_to_be_found_and_then_is(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "home_made", raising=False)
    part = ["--model.objective.criterion", "home_made.CosineDistance"]
    assert (
        "home_made.py lies in this folder, from which nothing is imported unasked: write "
        "PYTHONPATH=. blocklearn ..."
    ) in complaint(capsys, *part)
    monkeypatch.syspath_prepend(".")
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", "bt_digits.yaml", *part, "--print_config"])
    assert stop.value.code == 0
