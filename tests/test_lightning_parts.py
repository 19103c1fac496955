"""docs/lightning.md, row by row: every flag of the Trainer, every callback that Lightning ships."""

import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks as shipped
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file
from small import same_weights, small_data, small_network, small_trainer, weights
from test_cli import SMALL, read_metrics

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.runs.run_folder import RunFolder
from blocklearn.training.trainer_parts import INSTEAD

PAGE = Path(__file__).parents[1] / "docs" / "lightning.md"
REFUSED_FLAGS = {
    "accumulate_grad_batches": "2",
    "barebones": "true",
    "gradient_clip_algorithm": "value",
    "gradient_clip_val": "1",
    "model_registry": "mine",
    "overfit_batches": "1",
}
SAME_WEIGHTS = {  # flags that are not about what is learned, and a value that is not the default
    "accelerator": "cpu",
    "benchmark": "true",
    "callbacks+": "LearningRateMonitor",
    "check_val_every_n_epoch": "2",
    "detect_anomaly": "true",
    "deterministic": "true",
    "enable_autolog_hparams": "false",
    "enable_checkpointing": "false",
    "enable_model_summary": "true",
    "enable_progress_bar": "true",
    "inference_mode": "false",
    "limit_predict_batches": "1",
    "limit_test_batches": "1",
    "limit_val_batches": "0",
    "log_every_n_steps": "2",
    "logger": "false",
    "max_time": "00:01:00:00",
    "min_epochs": "1",
    "min_steps": "1",
    "num_nodes": "1",
    "num_sanity_val_steps": "1",
    "plugins": "lightning.pytorch.plugins.environments.LightningEnvironment",
    "profiler": "simple",
    "reload_dataloaders_every_n_epochs": "1",
    "sync_batchnorm": "true",
    "use_distributed_sampler": "false",
    "val_check_interval": "1",
}
TRIED_ELSEWHERE = {  # in this file, or in the file that is named
    "default_root_dir": "every test",
    "devices": "tests/distributed",
    "fast_dev_run": "below",
    "limit_train_batches": "below",
    "max_epochs": "tests/test_cli.py",
    "max_steps": "tests/blocks/test_place.py",
    "precision": "below",
    "strategy": "tests/distributed",
}


def rows(heading: str) -> dict[str, tuple[str, str]]:
    """Verdict and remark by name."""
    (section,) = [part for part in PAGE.read_text().split("\n## ") if part.startswith(heading)]
    found = re.findall(r"^\| `(\w+)` \| (works|refused) \|(.*)\|$", section, re.MULTILINE)
    return {name: (verdict, remark.strip()) for name, verdict, remark in found}


def refused(heading: str) -> dict[str, str]:
    return {
        name: remark for name, (verdict, remark) in rows(heading).items() if verdict == "refused"
    }


def fit(folder: Path, *changes: str) -> int:
    return main(["fit", *SMALL, f"--trainer.default_root_dir={folder}", *changes])


def test_every_flag_of_the_trainer_has_a_row_and_is_tried() -> None:
    flags = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert rows("Flags").keys() == flags
    assert refused("Flags").keys() == REFUSED_FLAGS.keys()
    tried = {name.removesuffix("+") for name in SAME_WEIGHTS} | TRIED_ELSEWHERE.keys()
    assert tried == flags - REFUSED_FLAGS.keys()


def test_every_callback_that_lightning_ships_has_a_row_and_is_tried() -> None:
    there = {name for name in dir(shipped) if _is_callback(getattr(shipped, name))}
    assert rows("Callbacks").keys() == there
    assert refused("Callbacks").keys() == {
        kind for kind in there if _is_refused(getattr(shipped, kind))
    }
    abstract = {"BasePredictionWriter", "Callback", "Checkpoint", "ProgressBar"}
    assert WORKING.keys() | abstract == there - refused("Callbacks").keys()


def _is_callback(part: Any) -> bool:
    return inspect.isclass(part) and issubclass(part, Callback)


def _is_refused(kind: type) -> bool:
    return issubclass(kind, tuple(INSTEAD))


@pytest.mark.parametrize("flag", REFUSED_FLAGS)
def test_a_flag_that_is_refused_names_what_does_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert fit(tmp_path / "run", f"--trainer.{flag}={REFUSED_FLAGS[flag]}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    named = re.match(r"(?:several )?`([^`]*)`", refused("Flags")[flag])
    assert flag in line
    assert (named[1] if named else "leave it out") in line
    assert not (tmp_path / "run").exists()


def test_a_strategy_that_is_not_ours_is_refused_and_ours_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path / "run", "--trainer.strategy=ddp") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "trainer.strategy: ddp" in line
    assert "blockwise_ddp" in line
    assert "block_parallel" in line


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert fit(folder, "--trainer.max_epochs=2") == 0
    return load_file(RunFolder(folder).backbone)


@pytest.mark.parametrize("flag", SAME_WEIGHTS)
def test_a_flag_that_is_not_about_learning_leaves_the_weights_as_they_are(
    tmp_path: Path, plain: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    try:
        assert (
            fit(tmp_path, "--trainer.max_epochs=2", f"--trainer.{flag}={SAME_WEIGHTS[flag]}") == 0
        )
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False
    assert same_weights(plain, load_file(RunFolder(tmp_path).backbone))
    assert RunFolder(tmp_path).last_checkpoint.exists() == (flag != "enable_checkpointing")
    validated = any(row.get("block1/val_loss") for row in read_metrics(tmp_path))
    assert validated == (flag != "limit_val_batches")
    printed = capsys.readouterr()
    assert ("Modules in train mode" in printed.out) == (flag == "enable_model_summary")


def test_a_trial_run_leaves_no_file_and_short_epochs_are_short(tmp_path: Path) -> None:
    assert fit(tmp_path / "trial", "--trainer.fast_dev_run=true") == 0
    assert not [path for path in (tmp_path / "trial").rglob("*") if path.is_file()]
    assert fit(tmp_path / "short", "--trainer.limit_train_batches=2") == 0
    assert (
        torch.load(RunFolder(tmp_path / "short").last_checkpoint, weights_only=True)["global_step"]
        == 2
    )


@pytest.mark.parametrize(
    ("precision", "kept"),
    [("64-true", torch.float64), ("bf16-true", torch.bfloat16), ("bf16-mixed", torch.float32)],
)
def test_every_precision_but_16_bits_trains(
    tmp_path: Path, precision: str, kept: torch.dtype
) -> None:
    assert (
        fit(tmp_path, f"--trainer.precision={precision}", "--model.optimizer=torch.optim.SGD") == 0
    )
    assert {tensor.dtype for tensor in load_file(RunFolder(tmp_path).backbone).values()} - {
        torch.int64
    } == {kept}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.ckpt")}


WORKING: dict[str, Any] = {
    "DeviceStatsMonitor": lambda folder: shipped.DeviceStatsMonitor(
        cpu_stats=bool(find_spec("psutil"))
    ),
    "EMAWeightAveraging": lambda folder: shipped.EMAWeightAveraging(decay=0.5),
    "EarlyStopping": lambda folder: shipped.EarlyStopping("block2/loss", patience=1, min_delta=1e9),
    "LambdaCallback": lambda folder: shipped.LambdaCallback(
        on_train_end=lambda *_: (folder / "ran").touch()
    ),
    "LearningRateMonitor": lambda folder: shipped.LearningRateMonitor(),
    "ModelCheckpoint": lambda folder: shipped.ModelCheckpoint(
        folder / "best", "{step}", monitor="block1/loss", save_top_k=-1
    ),
    "ModelSummary": lambda folder: shipped.ModelSummary(),
    "RichModelSummary": lambda folder: shipped.RichModelSummary(),
    "RichProgressBar": lambda folder: shipped.RichProgressBar(),
    "TQDMProgressBar": lambda folder: shipped.TQDMProgressBar(),
    "ThroughputMonitor": lambda folder: shipped.ThroughputMonitor(
        lambda batch: len(batch.index), window_size=3
    ),
    "Timer": lambda folder: shipped.Timer({"hours": 1}),
    "WeightAveraging": lambda folder: shipped.WeightAveraging(),
}
SHOWN = {
    "EarlyStopping": lambda folder, trainer: trainer.global_step == 8,
    "LambdaCallback": lambda folder, trainer: (folder / "ran").exists(),
    "LearningRateMonitor": lambda folder, trainer: (
        "lr-AdamW" in (folder / "logs" / "metrics.csv").read_text()
    ),
    "ModelCheckpoint": lambda folder, trainer: (
        files(folder) == {"step=4.ckpt", "step=8.ckpt", "step=12.ckpt", "last.ckpt"}
    ),
    "ThroughputMonitor": lambda folder, trainer: (
        "samples_per_sec" in (folder / "logs" / "metrics.csv").read_text()
    ),
    "Timer": lambda folder, trainer: trainer.callbacks[0].time_elapsed("train") > 0,
}


def train(
    folder: Path, *callbacks: Callback, **changes: Any
) -> tuple[dict[str, torch.Tensor], Trainer]:
    torch.manual_seed(0)
    network = small_network(noise="all")
    settings: dict[str, Any] = {
        "max_epochs": 3,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "callbacks": [*callbacks, LastCheckpoint(folder / "checkpoints")],
        "enable_checkpointing": True,
        "logger": CSVLogger(folder, "", "logs"),
        "enable_progress_bar": any(isinstance(c, shipped.ProgressBar) for c in callbacks),
    }
    trainer = small_trainer(folder, **{**settings, **changes})
    trainer.fit(network, datamodule=small_data())
    return weights(network), trainer


@pytest.mark.filterwarnings(
    "ignore:When using the `ThroughputMonitor`, you need to define a `flops_per_batch`"
)
@pytest.mark.parametrize("name", WORKING)
def test_a_callback_that_works_does_its_job_and_leaves_learning_alone(
    tmp_path: Path, name: str
) -> None:
    expected, _ = train(tmp_path / "plain")
    found, trainer = train(tmp_path / "run", WORKING[name](tmp_path / "run"))
    assert SHOWN.get(name, lambda *_: True)(tmp_path / "run", trainer)
    averages = name in ("EMAWeightAveraging", "WeightAveraging")
    assert same_weights(expected, found) == (not averages and name != "EarlyStopping")


def test_an_average_of_weights_is_that_of_all_blocks_weights_after_every_batch(
    tmp_path: Path,
) -> None:
    class Keep(Callback):
        def __init__(self) -> None:
            self.after: list[dict[str, torch.Tensor]] = []

        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            self.after.append(weights(pl_module))

    keep = Keep()
    found, _ = train(tmp_path, keep, shipped.WeightAveraging(), limit_val_batches=0)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name in ("blocks.0.stages.0.conv1.weight", "blocks.3.objective.projector.0.weight"):
        if name in found:
            mean = torch.stack([after[name] for after in keep.after]).mean(0)
            torch.testing.assert_close(found[name], mean, rtol=1e-4, atol=1e-6)
            assert torch.equal(saved[name], found[name])
    assert "blocks.0.stages.0.conv1.weight" in found


REFUSED: dict[str, Any] = {
    "BackboneFinetuning": lambda: shipped.BackboneFinetuning(),
    "BaseFinetuning": lambda: type("Mine", (shipped.BaseFinetuning,), {})(),
    "BatchSizeFinder": lambda: shipped.BatchSizeFinder(),
    "GradientAccumulationScheduler": lambda: shipped.GradientAccumulationScheduler({0: 2}),
    "LearningRateFinder": lambda: shipped.LearningRateFinder(),
    "ModelPruning": lambda: shipped.ModelPruning("l1_unstructured"),
    "OnExceptionCheckpoint": lambda: shipped.OnExceptionCheckpoint("left"),
    "SpikeDetection": lambda: shipped.SpikeDetection(),
    "StochasticWeightAveraging": lambda: shipped.StochasticWeightAveraging(swa_lrs=0.1),
}


# of a second callback that keeps checkpoints
@pytest.mark.filterwarnings("ignore:.*fit.ckpt_path=")
@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_that_cannot_work_names_what_does_the_job_before_it_does_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Case 8, in Python; subclasses are of the same kind."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refusal:
        train(tmp_path, REFUSED[name]())
    remark = (
        refused("Callbacks")[name]
        if name != "BaseFinetuning"
        else refused("Callbacks")["BackboneFinetuning"]
    )
    named = re.findall(r"`([^`]*)`", remark)
    assert str(refusal.value).startswith("trainer.callbacks: ")
    assert named[0] in str(refusal.value)
    assert not files(tmp_path)


def test_another_writer_of_checkpoints_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        fit(tmp_path / "run", "--trainer.plugins=lightning.pytorch.plugins.io.AsyncCheckpointIO")
        == 1
    )
    assert "trainer.plugins: AsyncCheckpointIO would take the place of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_clock_that_lightning_does_not_heed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 8: silently ignored."""
    clock = [
        "--trainer.callbacks+=ModelCheckpoint",
        "--trainer.callbacks.train_time_interval=0:10:00",
    ]
    assert fit(tmp_path / "run", *clock) == 1
    told = capsys.readouterr().err
    assert "train_time_interval of ModelCheckpoint is not heeded" in told
    assert "checkpoints/last.ckpt is written every 15 minutes" in told
    assert not (tmp_path / "run").exists()


def test_callbacks_by_the_command_line_are_in_the_configuration_and_not_in_its_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 8: Timer was a traceback."""
    given = [
        "+=EarlyStopping",
        ".monitor=block2/on_diag",
        "+=ModelCheckpoint",
        ".monitor=block1/val_loss",
        "+=Timer",
    ]
    given += [".duration=00:01:00:00", "+=EMAWeightAveraging"]
    assert fit(tmp_path, *(f"--trainer.callbacks{part}" for part in given)) == 0
    for verb in ("test", "validate", "predict"):
        for config in ([], [f"--config={tmp_path / 'config.yaml'}"]):
            checkpoint = f"--model.checkpoint={RunFolder(tmp_path).last_checkpoint}"
            assert main([verb, *config, checkpoint, "--trainer.enable_progress_bar=false"]) == 0
    assert "interval: step" in (tmp_path / "config.yaml").read_text()
    assert "rror" not in capsys.readouterr().err


def test_states_of_every_so_many_batches_are_kept_without_a_word(tmp_path: Path) -> None:
    keep = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps=1"]
    assert fit(tmp_path, *keep, "--trainer.callbacks.save_top_k=-1") == 0
    assert len(files(tmp_path)) == 4


def test_a_file_of_weights_alone_is_tested_and_not_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.save_weights_only=true"]
    assert fit(tmp_path, *keep) == 0
    (path,) = [path for path in tmp_path.rglob("*.ckpt") if path.name != "last.ckpt"]
    assert main(["test", f"--model.checkpoint={path}", "--trainer.enable_progress_bar=false"]) == 0
    assert fit(tmp_path / "more", "--trainer.max_epochs=2", f"--ckpt_path={path}") == 1
    assert "holds weights alone" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["fit", "test", "validate", "predict"])
@pytest.mark.parametrize(
    "given",
    [
        ["+=BatchSizeFinder"],
        ["+=StochasticWeightAveraging", ".swa_lrs=0.1"],
        ["+=ModelPruning", ".pruning_fn=l1_unstructured"],
    ],
)
def test_on_the_command_line_a_callback_is_refused_in_one_line_for_every_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, given: list[str]
) -> None:
    arguments = [*SMALL, *(f"--trainer.callbacks{part}" for part in given)]
    assert main([verb, *arguments, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"trainer.callbacks: {given[0][2:]} " in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [["HalfPrecision", "16-true"], ["MixedPrecision", "16-mixed"]])
def test_a_plugin_brings_no_16_bits_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    plugin = [
        f"--trainer.plugins=lightning.pytorch.plugins.{given[0]}",
        f"--trainer.plugins.precision={given[1]}",
    ]
    device = ["--trainer.plugins.device=cpu"] if given[0] == "MixedPrecision" else []
    assert fit(tmp_path / "run", *plugin, *device) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        f"trainer.plugins: {given[0]} of precision {given[1]} would let one block's overflow skip "
        "the others" in line
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"gradient_clip_val": 1.0}, "UpdateOptions(gradient_clip_norm=...)"),
        ({"gradient_clip_algorithm": "norm"}, "UpdateOptions(gradient_clip_norm=...)"),
        ({"accumulate_grad_batches": 2}, "UpdateOptions(accumulate_batches=...)"),
        ({"overfit_batches": 1}, "limit_train_batches"),
        ({"precision": "16-true"}, "use bf16-mixed"),
    ],
)
def test_in_python_a_setting_that_cannot_work_names_what_does_the_job(
    tmp_path: Path, setting: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError) as refusal:
        train(tmp_path, **setting)
    assert named in str(refusal.value)
