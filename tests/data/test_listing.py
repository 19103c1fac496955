import os
from pathlib import Path

from blocklearn.data.listing import list_files


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
    expected = [path for path in sorted(tmp_path.rglob("*")) if path.suffix.lower() in (".jpg", ".png")]
    assert list_files(tmp_path, {".jpg", ".png"}) == expected
    assert len(expected) == 10


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
