from pathlib import Path

from blocklearn.pictures.figure import new_figure, save_figure, told


def test_a_picture_keeps_its_title_and_its_text(tmp_path: Path) -> None:
    path = save_figure(
        new_figure(2, 1),
        tmp_path / "some_curve.png",
        "A curve",
        "It rises as in Poincaré → slowly.",
    )
    assert told(path) == ("A curve", "It rises as in Poincaré → slowly.")


def test_a_picture_without_them_is_told_by_its_name(tmp_path: Path) -> None:
    new_figure(2, 1).savefig(tmp_path / "some_curve.png")
    assert told(tmp_path / "some_curve.png") == ("some curve", "some curve")
