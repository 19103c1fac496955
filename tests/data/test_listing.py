import os
from collections import Counter
from pathlib import Path

from blocklearn.data.listing import is_output, list_files


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in list_files(folder, {".jpg", ".png"})]


def test_the_order_is_that_of_sorted_paths(tmp_path: Path) -> None:
    touched(
        tmp_path,
        "a/2.jpg",
        "a/10.PNG",
        "a b/1.jpg",
        "a.b/1.jpg",
        "a.jpg",
        "B.jpg",
        "a/b/c/é.jpg",
        "a/b.jpg",
        "a/b/0.jpg",
    )
    touched(tmp_path, "a/notes.txt", "jpg", ".jpg", "a/.hidden/3.jpg")
    images = [
        path for path in sorted(tmp_path.rglob("*")) if path.suffix.lower() in (".jpg", ".png")
    ]
    expected = [path for path in images if ".hidden" not in path.parts]
    assert list_files(tmp_path, {".jpg", ".png"}) == expected
    assert len(expected) == 9


def test_what_nobody_put_there_as_data_is_none(tmp_path: Path) -> None:
    touched(
        tmp_path,
        ".jpg",
        "._a.jpg",
        ".ipynb_checkpoints/a.jpg",
        "b/.thumbs/a.jpg",
        "__MACOSX/._a.jpg",
        "@eaDir/a.jpg",
    )
    touched(
        tmp_path,
        "$RECYCLE.BIN/a.jpg",
        "System Volume Information/a.jpg",
        "lost+found/a.jpg",
        "b/__pycache__/a.jpg",
    )
    touched(tmp_path, "b/a.jpg", "b/..jpg", "b/a.b.jpg")
    assert names(tmp_path) == ["b/a.b.jpg", "b/a.jpg"]


def test_what_training_left_is_no_data_but_for_what_lies_beside_it(tmp_path: Path) -> None:
    """A run in the folder of the data, and in folders of its own."""
    for run in (tmp_path, tmp_path / "runs" / "one", tmp_path / "runs" / "two"):
        touched(run, "config.yaml", "checkpoints/last.ckpt", "metrics.csv", "probe/results.json")
        touched(run, "probe/accuracy_by_block.png", "wandb/run-2026/files/media/picture.png")
    touched(tmp_path, "cat/1.jpg")
    assert [name for name in names(tmp_path) if not name.startswith("wandb")] == ["cat/1.jpg"]
    folders = ("runs", "probe", "wandb", "checkpoints", "cat")
    assert [is_output(tmp_path / name) for name in folders] == [True] * 4 + [False]


def test_classes_may_be_called_as_folders_of_runs_are(tmp_path: Path) -> None:
    touched(tmp_path, "runs/1.jpg", "wandb/a/1.jpg", "lightning_logs/1.jpg", "version_1/1.jpg")
    assert not any(is_output(path) for path in tmp_path.iterdir())


def test_files_of_other_kinds_are_counted(tmp_path: Path) -> None:
    others: Counter[str] = Counter()
    list_files(
        touched(tmp_path, "a.jpg", "b.HEIC", "c/d.heic", "c/README", "c/.hidden.heic"),
        {".jpg"},
        others,
    )
    assert others == {".heic": 2, "no suffix": 1}


def test_a_relative_folder_gives_relative_paths(tmp_path: Path, monkeypatch) -> None:
    touched(tmp_path, "a/1.jpg")
    monkeypatch.chdir(tmp_path)
    assert list_files(Path("."), {".jpg"}) == [Path("a/1.jpg")]


def test_a_folder_named_like_an_image_is_none_and_images_in_it_count(tmp_path: Path) -> None:
    touched(tmp_path, "x.jpg/1.jpg", "2.jpg")
    (tmp_path / "y.jpg").mkdir()
    assert names(tmp_path) == ["2.jpg", "x.jpg/1.jpg"]


def test_links_are_followed_and_those_to_nothing_stay(tmp_path: Path) -> None:
    inside = touched(tmp_path / "inside", "1.jpg")
    outside = touched(tmp_path / "outside", "2.jpg", "3.jpg")
    (inside / "file.jpg").symlink_to(outside / "2.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (inside / "itself.jpg").symlink_to("itself.jpg")
    (inside / "folder.png").symlink_to(outside)
    assert names(inside) == [
        "1.jpg",
        "file.jpg",
        *("folder/2.jpg", "folder/3.jpg", "folder.png/2.jpg", "folder.png/3.jpg"),
        *("gone.jpg", "itself.jpg"),
    ]


def test_a_link_to_a_folder_that_holds_it_is_not_followed(tmp_path: Path) -> None:
    first, second = touched(tmp_path / "a", "1.jpg"), touched(tmp_path / "b", "2.jpg")
    (first / "self").symlink_to(first)
    (first / "up").symlink_to(tmp_path)
    (first / "other").symlink_to(second)
    (second / "back").symlink_to(first)
    assert names(first) == ["1.jpg", "other/2.jpg"]


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "linked.jpg").symlink_to("pipe.jpg")
    assert names(tmp_path) == []
