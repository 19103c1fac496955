"""A network trained by Lightning's own Trainer, without our command line: evaluated from Python,
and by the command line from its checkpoint alone."""

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from small import same_weights, small_network, weights

from blocklearn import KNN, BlockwiseModule, LinearProbe, ProbeSettings, UserError, evaluate
from blocklearn.__main__ import main
from blocklearn.data import Digits, Synthetic
from blocklearn.data.remembered import REMEMBERED

LENGTH = {"limit_train_batches": 2, "limit_val_batches": 1, "log_every_n_steps": 1}
NEAREST = "--evaluation.k=[20]"


def trainer(folder: Path, **changes: object) -> Trainer:
    """As a user of Lightning writes it, but quiet."""
    return Trainer(
        **{  # pyright: ignore[reportArgumentType]
            **LENGTH,
            "max_epochs": 1,
            "default_root_dir": folder,
            "accelerator": "cpu",
            "logger": CSVLogger(folder),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[BlockwiseModule, Path]:
    """A network, and the checkpoint that Lightning left of it."""
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    network = small_network()
    trainer(folder).fit(network, datamodule=Digits())
    (checkpoint,) = folder.glob("lightning_logs/version_0/checkpoints/*.ckpt")
    return network, checkpoint


def raw(results: Path) -> list[float]:
    rows = json.loads(results.read_text())["rows"]
    return [row["k20"] for row in rows if row["feature"] == "raw"]


def test_evaluating_from_python_leaves_what_the_command_line_leaves(
    trained: tuple[BlockwiseModule, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, checkpoint = trained
    before = weights(network)
    results = evaluate(network, Digits(), KNN(k=[20]), tmp_path / "python", checkpoint=checkpoint)
    printed = capsys.readouterr()
    command = ["test", f"--model.checkpoint={checkpoint}", "--data=Digits", "--evaluation=KNN"]
    folder = f"--trainer.default_root_dir={tmp_path / 'shell'}"
    assert main([*command, NEAREST, folder]) == 0
    ours, theirs = (tmp_path / who / "knn" for who in ("python", "shell"))
    assert raw(ours / "results.json") == raw(theirs / "results.json")
    assert {path.name for path in ours.iterdir()} == {"results.json", "accuracy_by_block.png"}
    assert json.loads((ours / "results.json").read_text())["checkpoint"] == str(checkpoint)
    assert "Nearest neighbours on digits" in printed.out
    assert not printed.err
    assert [row.feature for row in results.rows] == ["raw", "head"] * 4
    assert same_weights(before, weights(network))


def test_a_network_can_be_trained_on_after_it_was_evaluated(tmp_path: Path) -> None:
    """Evaluations run it in eval mode, which Lightning would keep."""
    network = small_network()
    network.blocks[1].eval()  # pyright: ignore[reportCallIssue]
    before = [module.training for module in network.modules()]
    few = ProbeSettings(epochs=1, augment=False, standardise=True)
    results = evaluate(network, Digits(), LinearProbe(), protocol=few)
    assert [module.training for module in network.modules()] == before
    assert results.settings["epochs"] == 1
    assert not list(tmp_path.iterdir())


def test_validating_predicting_and_going_on_work_as_lightnings_users_expect(tmp_path: Path) -> None:
    data, network = Digits(), small_network()
    best = ModelCheckpoint(tmp_path, save_last=True, monitor="block4/val_loss")
    first = trainer(tmp_path, callbacks=[best])
    first.fit(network, datamodule=data)
    last = best.last_model_path
    (measured,) = first.validate(datamodule=data, ckpt_path="best", verbose=False)
    assert {f"block{k}/val_loss" for k in range(1, 5)} <= measured.keys()
    predicted = trainer(tmp_path, limit_predict_batches=1).predict(network, datamodule=data)
    assert predicted is not None
    assert predicted[0]["layer4/raw"].shape == (64, 16)  # pyright: ignore
    kept = ModelCheckpoint(tmp_path, save_last=True, monitor="block4/val_loss")
    again = trainer(tmp_path, max_epochs=2, callbacks=[kept])
    again.fit(small_network(), datamodule=Digits(), ckpt_path=last)
    assert (again.current_epoch, again.global_step) == (2, 4)


def test_trainer_test_says_what_tests_a_network_without_a_classifier(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"blocklearn\.evaluate\(network, data\)"):
        trainer(tmp_path, logger=False, limit_test_batches=1).test(
            small_network(), datamodule=Digits(), verbose=False
        )


def test_a_plain_checkpoint_is_tested_from_the_file_alone_and_says_what_is_missing(
    trained: tuple[BlockwiseModule, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _network, checkpoint = trained
    assert main(["test", f"--model.checkpoint={checkpoint}", "--evaluation=KNN", NEAREST]) == 0
    told = capsys.readouterr()
    assert "no config.yaml beside it, so the stages alone" in told.err
    assert "blocklearn.data.Digits" in told.err
    run = checkpoint.parents[1]
    results = json.loads((run / "knn" / "results.json").read_text())
    assert [row["feature"] for row in results["rows"]] == ["raw"] * 4
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()


def test_predict_and_export_take_a_plain_checkpoint(
    trained: tuple[BlockwiseModule, Path], tmp_path: Path
) -> None:
    _network, checkpoint = trained
    folder = f"--trainer.default_root_dir={tmp_path}"
    command = ["predict", f"--model.checkpoint={checkpoint}", "--split=test", folder]
    assert main([*command, "--trainer.enable_progress_bar=false"]) == 0
    assert (tmp_path / "features.safetensors").is_file()
    assert main(["export", str(checkpoint), "--to", str(tmp_path / "export")]) == 0
    assert (tmp_path / "export" / "heads.safetensors").is_file()


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, "it does not say on what data"),
        ({"class_path": "subprocess.Popen"}, "it was trained on Popen: name the data"),
        ({"class_path": "blocklearn.data.os"}, "it was trained on os: name the data"),
        ({"class_path": ["a"]}, "it does not say on what data"),
    ],
)
def test_a_checkpoint_names_no_data_but_ours(
    state: object,
    told: str,
    trained: tuple[BlockwiseModule, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = torch.load(trained[1], weights_only=True, mmap=True)
    content["Digits"] = {REMEMBERED: state}
    torch.save(content, tmp_path / "a.ckpt")
    assert main(["test", f"--model.checkpoint={tmp_path / 'a.ckpt'}"]) == 1
    assert told in capsys.readouterr().err


def test_data_are_remembered_by_their_class_and_plain_arguments(tmp_path: Path) -> None:
    data = Synthetic(root=tmp_path, image_size=24, num_images=40, batch_size=4)
    assert data.state_dict()[REMEMBERED] == {
        "class_path": "blocklearn.data.images.synthetic.Synthetic",
        "root": str(tmp_path),
        "image_size": 24,
        "batch_size": 4,
        "num_images": 40,
    }
