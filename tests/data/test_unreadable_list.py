import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from blocklearn.data.unreadable_list import UnreadableList


def test_a_file_is_listed_once_with_the_reason_given_first(tmp_path: Path) -> None:
    here = UnreadableList(tmp_path / "run" / "list.csv")
    assert here.read() == {}
    assert here.add("/a.jpg", "it is empty") == {"/a.jpg": "it is empty"}
    here.add("/b, c.jpg", 'no "image"')
    assert (
        here.add("/a.jpg", "another")
        == here.read()
        == {"/a.jpg": "it is empty", "/b, c.jpg": 'no "image"'}
    )
    assert here.path.read_text() == 'file,reason\n/a.jpg,it is empty\n"/b, c.jpg","no ""image"""\n'


def _add(path: Path, together: Any, first: int) -> None:
    together.wait()
    for number in range(first, first + 100):
        UnreadableList(path).add(f"/{number}.jpg", "damaged")


def test_processes_share_a_list_without_losing_or_doubling_a_line(tmp_path: Path) -> None:
    path, context = tmp_path / "list.csv", multiprocessing.get_context("fork")
    together = context.Barrier(4)
    processes = [
        context.Process(target=_add, args=(path, together, 5 * number)) for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(
        ["file,reason", *(f"/{number}.jpg,damaged" for number in range(115))]
    )
    assert lines[0] == "file,reason"


@pytest.mark.parametrize(
    ("content", "known"),
    [
        (b"", 0),
        (b"\x00\xff\xfe damaged \x00", 0),
        (b"file,reason\n/old.jpg,empty\n/half", 1),
        (b'file,reason\n/old.jpg,empty\n"/open,quote', 1),
        (b"\xef\xbb\xbffile,reason\r\n/old.jpg,empty\r\n", 1),
        (b"file,reason\n/long.jpg," + b"x" * 200_000 + b"\n/old.jpg,empty\n", 1),
        (b"a,b,c,d\n\n\n,,,\n", 0),
    ],
)
def test_a_damaged_list_is_read_as_far_as_it_can_be_and_goes_on(
    tmp_path: Path, content: bytes, known: int
) -> None:
    here = UnreadableList(tmp_path / "list.csv")
    here.path.write_bytes(content)
    assert len(here.read()) == known
    assert len(here.add("/new.jpg", "damaged")) == known + 1
    assert here.read()["/new.jpg"] == "damaged"
    assert here.path.read_bytes().startswith(content)


@pytest.mark.parametrize("target", ["there.csv", "nowhere.csv"])
def test_a_link_in_its_place_is_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "there.csv").write_text("mine\n")
    here = UnreadableList(tmp_path / "list.csv")
    here.path.symlink_to(target)
    for job in (here.read, lambda: here.add("/a.jpg", "damaged")):
        with pytest.raises(OSError, match="symbolic"):
            job()
    assert sorted(os.listdir(tmp_path)) == ["list.csv", "there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine\n"


def test_a_pipe_or_folder_in_its_place_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(OSError, match="no ordinary file|directory"):
            UnreadableList(tmp_path / name).add("/a.jpg", "damaged")
        with pytest.raises(OSError, match="no ordinary file|directory"):
            UnreadableList(tmp_path / name).read()
