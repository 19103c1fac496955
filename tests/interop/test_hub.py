"""Weights to and from the Hugging Face Hub: its library is the real one, the Hub a port where
nobody listens, or a cache as its library lays it out."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import HfApi, constants
from small import small_network, small_trainer
from torch import Tensor

from blocklearn import BlockwiseModule, UserError
from blocklearn.__main__ import main
from blocklearn.objectives.objective import NoObjective
from blocklearn.weights.hub import local_copy

REPOSITORY, COMMIT = "someone/digits-resnet", "0123456789abcdef0123456789abcdef01234567"
UPLOADED = ["README.md", "model.safetensors", "config.json", "heads.safetensors"]


def checkpoint_of(network: BlockwiseModule, run: Path) -> Path:
    """As the Trainer writes it."""
    path = run / "checkpoints" / "last.ckpt"
    trainer = small_trainer(run)
    trainer.strategy.connect(network)
    trainer.save_checkpoint(path)
    return path


@torch.no_grad()
def features(network: BlockwiseModule) -> dict[str, Tensor]:
    images = torch.linspace(-1, 1, 3 * 40 * 40).reshape(1, 3, 40, 40)
    values = network.eval().stage_features(images)
    return {spec.key: value for spec, value in zip(network.feature_specs(), values, strict=True)}


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reaches the real Hub, or the cache of whoever runs it."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `blocklearn export` wrote of a small network."""
    run = tmp_path_factory.mktemp("run")
    checkpoint_of(small_network(), run)
    assert main(["export", str(run)]) == 0
    return run / "export"


def in_the_cache(exported: Path, cache: Path) -> Path:
    """As huggingface_hub leaves a download."""
    repository = cache / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    shutil.copytree(exported, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(args) == 1
    return capsys.readouterr().err


def test_a_dry_run_lists_what_would_be_uploaded_and_needs_no_token(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(exported.parent)
    assert main(["export", run, "--push", REPOSITORY, "--dry_run", "--license", "mit"]) == 0
    printed = capsys.readouterr().out
    size = (exported / "model.safetensors").stat().st_size
    assert f"Would be uploaded to {REPOSITORY}:" in printed
    assert f"{size:,} bytes  model.safetensors" in printed
    front = (exported / "README.md").read_text().split("---")[1]
    assert "library_name: timm\n" in front
    assert "license: mit\n" in front
    assert "- blocklearn\n" in front


def test_an_upload_makes_the_repository_and_sends_what_was_written_and_nothing_else(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, Any]] = []
    (exported / "notes.txt").write_text("mine")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.setattr(
        HfApi, "create_repo", lambda self, *args, **named: calls.append(("make", (args, named)))
    )
    monkeypatch.setattr(
        HfApi, "upload_folder", lambda self, **named: calls.append(("upload", named))
    )
    assert main(["export", str(exported.parent), "--push", REPOSITORY, "--private"]) == 0
    (_, made), (_, sent) = calls
    assert made == ((REPOSITORY,), {"private": True, "exist_ok": True})
    assert (sent["repo_id"], sent["folder_path"]) == (REPOSITORY, exported)
    assert sorted(sent["allow_patterns"]) == sorted(UPLOADED)
    assert "Uploaded:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("repository", "token", "offline", "line"),
    [
        ("no-owner", "hf_a", False, "no-owner is no name on the Hub: write OWNER/NAME"),
        ("a/b/c", "hf_a", False, "a/b/c is no name on the Hub"),
        (REPOSITORY, None, False, "needs a token with write access: set HF_TOKEN"),
        (REPOSITORY, "hf_a", True, "HF_HUB_OFFLINE is set"),
    ],
)
def test_what_stands_in_the_way_of_an_upload_is_told_before_anything_is_written(
    repository: str,
    token: str | None,
    offline: bool,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert line in told(["export", str(tmp_path / "none"), "--push", repository], capsys)
    assert not list(tmp_path.iterdir())


def test_without_a_connection_an_upload_is_one_line(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    line = told(["export", str(exported.parent), "--push", REPOSITORY], capsys)
    assert line.count("\n") == 1
    assert f"hub: {REPOSITORY} cannot be had" in line


@pytest.mark.parametrize("name", ["hf-hub:{repository}", "hf-hub:{repository}@main", "local-dir:"])
def test_weights_of_the_hub_and_of_a_folder_are_the_exported_ones(
    name: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the cache, without a connection."""
    in_the_cache(exported, tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    named = name.format(repository=REPOSITORY) if "hub" in name else f"{name}{exported}"
    kept = {"backbone": "resnet18", "objective": NoObjective, "checkpoint": named}
    network = small_network(**kept)
    whole = BlockwiseModule.load_from_checkpoint(exported.parent / "checkpoints" / "last.ckpt")
    ours, theirs = features(network), features(whole)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_weights_of_the_hub_are_tested_from_their_name_and_nothing_is_written_beside_them(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = in_the_cache(exported, tmp_path / "cache")
    before = sorted(snapshot.parent.rglob("*"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    command = ["test", f"--model.checkpoint=hf-hub:{REPOSITORY}", "--data=Digits"]
    assert main([*command, "--evaluation=KNN", "--evaluation.k=[20]"]) == 0
    assert sorted(snapshot.parent.rglob("*")) == before
    assert len(list(tmp_path.glob("runs/*/knn/results.json"))) == 1


@pytest.mark.parametrize(
    ("break_it", "line"),
    [
        (lambda snapshot: shutil.rmtree(snapshot.parents[1]), "not in the cache; fetch it once"),
        (lambda snapshot: (snapshot / "model.safetensors").unlink(), "nothing but safetensors"),
    ],
)
def test_what_cannot_be_had_of_the_hub_is_one_line(
    break_it: Callable[[Path], object],
    line: str,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_it(in_the_cache(exported, tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=line):
        local_copy(f"hf-hub:{REPOSITORY}")


def test_without_a_connection_a_download_is_one_line() -> None:
    with pytest.raises(UserError, match=f"hub: {REPOSITORY} cannot be had"):
        local_copy(f"hf-hub:{REPOSITORY}")


@pytest.mark.parametrize(
    ("backbone", "kwargs"),
    [
        ("resnet50", {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}),
        ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}),
        ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 48}),
    ],
)
def test_timm_loads_an_exported_folder_by_itself_and_its_features_are_the_same(
    backbone: str, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    network = small_network(backbone=backbone, backbone_kwargs=kwargs, objective=NoObjective)
    assert main(["export", str(checkpoint_of(network, tmp_path)), "--format", "timm"]) == 0
    loaded = timm.create_model(f"local-dir:{tmp_path / 'export'}", pretrained=True).eval()
    images = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.forward_features(images), network.eval()(images))
