"""`blocklearn pack`: whole or not at all, told in one line, and trained on by the commands."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from packed import image_folder
from small import NARROW
from small_disk import fill, small_disk

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.data import Streaming
from blocklearn.data.images.packed_index import INDEX
from blocklearn.data.images.packing import pack
from blocklearn.weights.checkpoint import read_checkpoint

FIT = [
    "fit",
    "--config=bt_digits.yaml",
    "--data.recipe=SmallImageViews",
    "--data.image_size=16",
    "--data.batch_size=8",
    "--data.num_workers=0",
    *NARROW,
    "--model.lr_schedule.warmup_epochs=0",
    "--trainer.max_epochs=1",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "source", {"train": 12, "val": 2})


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_it_says_what_is_written_and_what_comes_next(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "packed"
    assert main(["pack", str(source), str(target)]) == 0
    written, following = capsys.readouterr().out.splitlines()
    assert written.startswith(
        f"Written: {target}: images 24 for train and 4 for val, 2 classes, in 2 chunks of 0."
    )
    assert following.endswith(f"--data Streaming --data.root {target}")
    assert sorted(path.name for path in target.iterdir()) == [INDEX, "train", "val"]
    assert not list(target.parent.glob(".*"))


def test_training_on_what_was_packed_ends_with_the_weights_of_training_on_the_folder(
    source: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "packed"
    assert main(["pack", str(source), str(packed)]) == 0
    weights = []
    for name, root in (("ImageFolder", source), ("Streaming", packed)):
        run = tmp_path / name
        data = [f"--data={name}", f"--data.root={root}", f"--trainer.default_root_dir={run}"]
        assert main([*FIT, *data]) == 0
        weights.append(read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_probe_takes_the_packed_folder_from_the_runs_own_configuration(
    source: Path, tmp_path: Path
) -> None:
    packed, run = tmp_path / "packed", tmp_path / "run"
    pack(source, packed)
    data = ["--data=Streaming", f"--data.root={packed}", f"--trainer.default_root_dir={run}"]
    assert main([*FIT, *data]) == 0
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert main(["test", f"--model.checkpoint={checkpoint}", "--probe.epochs=1"]) == 0
    assert (run / "probe" / "results.json").is_file()


def test_an_address_that_a_configuration_beside_a_checkpoint_names_is_not_fetched_from(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    packed, run = tmp_path / "packed", tmp_path / "run"
    pack(source, packed)
    data = ["--data=Streaming", f"--data.root={packed}", f"--trainer.default_root_dir={run}"]
    assert main([*FIT, *data]) == 0
    config = run / "config.yaml"
    content = config.read_text().replace(f"root: {packed}", f"root: local:{packed}")
    config.write_text(content.replace("cache_dir: data/streaming", "cache_dir: theirs"))
    assert f"root: local:{packed}" in content
    assert "cache_dir: theirs" in config.read_text()
    test = ["test", f"--model.checkpoint={run / 'checkpoints' / 'last.ckpt'}", "--probe.epochs=1"]
    capsys.readouterr()
    assert main(test) == 1
    told = capsys.readouterr().err
    assert f"if you trust it, name --data.root local:{packed} yourself" in told
    assert "there is no folder" in told
    assert not (tmp_path / "data").exists()
    assert main([*test, f"--data.root=local:{packed}"]) == 0
    assert (tmp_path / "data" / "streaming").is_dir()
    assert not (tmp_path / "theirs").exists()


def test_the_same_images_make_the_same_bytes(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "one", 8000)
    pack(source, tmp_path / "two", 8000)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(list((tmp_path / "one" / "train").glob("*.bin"))) > 1


def test_an_empty_folder_may_be_the_target_and_a_large_image_has_a_chunk_of_its_own(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    pack(source, target, chunk_bytes=100)
    assert len(list((target / "train").glob("*.bin"))) == 24
    assert Streaming(target).pretraining_samples()[5][0].size


def no_source(source: Path, target: Path) -> None:
    source.rename(source.with_name("elsewhere"))


def no_images(source: Path, target: Path) -> None:
    for path in source.rglob("*.*"):
        path.unlink()


def something_there(source: Path, target: Path) -> None:
    target.mkdir()
    (target / "mine.txt").touch()


def a_file(source: Path, target: Path) -> None:
    target.touch()


def a_link(source: Path, target: Path) -> None:
    target.symlink_to(source)


def packed_already(source: Path, target: Path) -> None:
    (source / INDEX).touch()


def a_link_to_nothing(source: Path, target: Path) -> None:
    (source / "train" / "cat" / "zz.jpeg").symlink_to("nowhere")


def a_huge_one(source: Path, target: Path) -> None:
    with (source / "train" / "cat" / "zz.jpeg").open("wb") as file:
        file.truncate(2**31)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_source, "data: there is no folder"),
        (no_images, "data: no images in"),
        (something_there, "target is not empty; name a new folder, or remove it"),
        (a_file, "target is no folder; name one that is new or empty"),
        (a_link, "target is no folder; name one that is new or empty"),
        (packed_already, "source is packed already; use it with --data Streaming"),
        (a_link_to_nothing, "zz.jpeg: No such file or directory; mend or remove it"),
        (a_huge_one, "zz.jpeg: 2147483648 bytes are more than a chunk can hold; mend or remove"),
    ],
)
def test_what_cannot_be_packed_is_one_line_and_leaves_nothing(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path, Path], None],
    told: str,
) -> None:
    target = tmp_path / "target"
    spoil(source, target)
    before = sorted(tmp_path.rglob("*"))
    assert main(["pack", str(source), str(target)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("blocklearn: error: ")
    assert told in error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_target_among_the_images_is_refused(source: Path) -> None:
    with pytest.raises(UserError, match="lies in .*; name a folder elsewhere"):
        pack(source, source / "train" / "packed")


@pytest.mark.parametrize("megabytes", ["0", "2001"])
def test_a_chunk_size_that_cannot_be_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], megabytes: str
) -> None:
    assert main(["pack", str(source), str(tmp_path / "p"), "--chunk_mb", megabytes]) == 1
    assert "--chunk_mb must lie between 1 and 2000" in capsys.readouterr().err


def test_without_litdata_the_command_says_what_to_install(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "litdata", None)
    assert main(["pack", str(source), str(tmp_path / "target")]) == 1
    assert "pip install 'blocklearn[streaming]'" in capsys.readouterr().err
    assert not (tmp_path / "target").exists()


def test_no_room_is_told_before_anything_is_written_and_when_it_runs_out(
    source: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path, 400_000) as disk:
        ballast = fill(disk, leave=8192)
        with pytest.raises(UserError, match="the disk is full; needed .* free"):
            pack(source, disk / "target")
        assert sorted(disk.iterdir()) == [ballast]
        ballast.unlink()

        def fills(files: object, split: str, count: int) -> object:
            fill(disk, leave=4096)
            return files

        with pytest.raises(UserError, match=r"cannot write .*target: No space left"):
            pack(source, disk / "target", 4000, fills)  # pyright: ignore
        assert sorted(disk.iterdir()) == [ballast]


SLOW = """
import sys, time
from pathlib import Path
from blocklearn.data.images.packing import pack

def slow(files, split, count):
    for number, file in enumerate(files):
        if number == 15:
            print("packing", flush=True)
            time.sleep(600)
        yield file

pack(Path(sys.argv[1]), Path(sys.argv[2]), 4000, slow)
"""


def test_a_killed_pack_leaves_nothing_that_looks_whole_and_the_next_one_clears_it_away(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    command = [sys.executable, "-W", "ignore", "-c", SLOW, str(source), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "packing\n"
            with pytest.raises(UserError, match="another process is packing into .*; let it end"):
                pack(source, target)
        finally:
            process.kill()
    assert not target.exists()
    (left,) = tmp_path.glob(".*")
    assert list(left.rglob("*.bin"))
    with pytest.raises(UserError, match="there is no folder .*target"):
        Streaming(target).pretraining_samples()
    with pytest.raises(UserError, match="is no packed folder"):
        Streaming(left).pretraining_samples()
    pack(source, target)
    assert not list(tmp_path.glob(".*"))
    assert len(Streaming(target).pretraining_samples()) == 24


def test_an_interrupted_pack_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def interrupted(files: object, split: str, count: int) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "target", progress=interrupted)  # pyright: ignore
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
