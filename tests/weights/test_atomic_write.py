"""Files that are whole or as before, on real small disks too."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_disk import fill, make_read_only, small_disk

from blocklearn import UserError
from blocklearn.interop.checkpoint_io import StreamingCheckpointIO, bytes_in
from blocklearn.reporting.plain_files import replace_plain
from blocklearn.weights.atomic_write import replacing


def write(path: Path, how: Callable[[Path], object]) -> None:
    with replacing(path) as unfinished:
        how(unfinished)


def save_unknown(checkpoint: dict[str, Any], path: Path) -> None:
    write(path, lambda unfinished: torch.save(checkpoint, unfinished))


def test_a_file_and_its_name_are_flushed_before_the_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), flush(handle)),
    )
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("replace"), replace(*names)))
    with replacing(tmp_path / "a.ckpt") as unfinished:
        unfinished.write_text("new")
    assert done == [str(unfinished), "replace", str(tmp_path)]


def test_nothing_is_written_through_a_link_and_leftovers_go(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "run" / "last.ckpt"
    victim.write_text("mine")
    path.parent.mkdir()
    path.symlink_to(victim)
    (path.parent / ".last.ckpt.unfinished").symlink_to(victim)
    (path.parent / ".last.ckpt.0011223344556677.unfinished").write_text("half")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
    assert (victim.read_text(), path.read_text(), path.is_symlink()) == ("mine", "new", False)
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_after_an_error_the_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write(path, lambda unfinished: unfinished.write_text("new") / 0)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.parametrize(("umask", "given"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_rights_that_the_user_gives_files_and_one_that_was_there_keeps_its_own(
    umask: int, given: int, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    new, before, plain = (tmp_path / name for name in ("new", "before", "plain.csv"))
    for path in (before, plain):
        path.write_text("old")
        path.chmod(0o604)
    former = os.umask(umask)
    try:
        for path in (new, before):  # safetensors makes a file of its own, for its owner alone
            write(path, lambda unfinished: save_file({"a": torch.zeros(1)}, unfinished))
        replace_plain(plain, b"new")
    finally:
        os.umask(former)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (new, before, plain)]
    assert modes == [given, 0o604, 0o604]


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size not known"])
def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(
    tmp_path: Path, known: bool
) -> None:
    checkpoint: dict[str, Any] = {"state_dict": {"a": torch.zeros(100_000)}}
    with small_disk(tmp_path, 1_000_000) as disk:
        path = disk / "last.ckpt"
        StreamingCheckpointIO().save_checkpoint(checkpoint, path)
        before = path.read_bytes()
        fill(disk, leave=100_000)
        save = StreamingCheckpointIO().save_checkpoint if known else save_unknown
        with pytest.raises(
            UserError,
            match=rf"cannot write {path}: the disk is full; needed .*, .* free on its disk;",
        ):
            save(checkpoint, path)
        assert path.read_bytes() == before
        assert torch.load(path, weights_only=True)["state_dict"]["a"].shape == (100_000,)
        assert not [entry for entry in disk.iterdir() if "unfinished" in entry.name]


def test_a_read_only_disk_is_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1_000_000) as disk:
        make_read_only(disk)
        with (
            pytest.raises(UserError, match=r"cannot write .*last.ckpt: .*Read-only file system"),
            replacing(disk / "last.ckpt"),
        ):
            pass


def test_bytes_are_counted_at_any_depth() -> None:
    assert (
        bytes_in(
            {"a": torch.zeros(2), "b": [{"c": torch.zeros(3, dtype=torch.float64)}, 7], "d": None}
        )
        == 32
    )


@pytest.mark.parametrize(
    "name",
    [
        "victim",
        "victim/thesis.tex",
        "other.ckpt",
        "run/link.ckpt",
        "run/../other.ckpt",
        "run",
        "",
        "run/notes.txt",
    ],
)
def test_only_checkpoints_in_the_runs_own_folders_are_removed(tmp_path: Path, name: str) -> None:
    own = tmp_path / "run"
    (tmp_path / "victim").mkdir()
    own.mkdir()
    for path in ("victim/thesis.tex", "other.ckpt", "run/notes.txt", "run/step=1.ckpt"):
        (tmp_path / path).write_text("years")
    (own / "link.ckpt").symlink_to(tmp_path / "other.ckpt")
    before = sorted(tmp_path.rglob("*"))
    io = StreamingCheckpointIO(lambda: [own])
    io.remove_checkpoint(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
    io.remove_checkpoint(own / "step=1.ckpt")
    assert not (own / "step=1.ckpt").exists()


KILLED = """
import sys, torch
from blocklearn.interop.checkpoint_io import StreamingCheckpointIO
io, number = StreamingCheckpointIO(), 0
while True:
    number += 1
    weights = {"a": torch.full((300_000,), float(number))}
    io.save_checkpoint({"number": number, "state_dict": weights}, sys.argv[1])
    print(number, flush=True)
"""


@pytest.mark.slow
def test_fifty_kills_around_a_save_leave_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for kill in range(50):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(1 + kill % 3):
            saved = int(process.stdout.readline())
        try:
            process.wait(kill * 0.0005)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        content = torch.load(path, weights_only=True)
        assert content["number"] >= saved
        assert bool((content["state_dict"]["a"] == content["number"]).all())
        assert len(list(tmp_path.iterdir())) <= 2
