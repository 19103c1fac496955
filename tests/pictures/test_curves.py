from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blocklearn.pictures.curves import Curve, draw_curves, look
from blocklearn.pictures.figure import COLORS, MARKERS, told
from blocklearn.pictures.image_sheet import draw_sheet
from blocklearn.pictures.scatter import draw_maps


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    from matplotlib.figure import Figure

    figures: list[Any] = []
    real = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), real(self, *a, **k))[1]
    )
    return figures


def test_two_curves_that_coincide_are_both_seen_and_both_named(
    tmp_path: Path, drawn: list[Any]
) -> None:
    same = Curve(range(40), [float(n) for n in range(40)])
    draw_curves({"": {"block1": same, "block2": same}}, tmp_path / "c.png", "t", "x", "y")
    (axes,) = drawn[0].axes
    one, two = axes.get_lines()
    assert one.get_linestyle() != two.get_linestyle()
    assert one.get_marker() != two.get_marker()
    assert one.get_markevery()[0] != two.get_markevery()[0], "a marker would hide the other's"
    names = {text.get_text(): text.xy[1] for text in axes.texts}
    assert names.keys() == {"block1", "block2"}
    assert abs(names["block1"] - names["block2"]) > 0.05, "one label would lie on the other"


def test_labels_stay_within_the_panel_however_many_there_are(
    tmp_path: Path, drawn: list[Any]
) -> None:
    curve = Curve([0, 1], [5.0, 9.0])
    draw_curves({"": {f"block{n}": curve for n in range(10)}}, tmp_path / "c.png", "t", "x", "y")
    (axes,) = drawn[0].axes
    places = sorted(text.xy[1] for text in axes.texts)
    assert places[-1] <= 1
    assert min(np.diff(places)) > 0.05


def test_ten_curves_differ_in_more_than_their_color() -> None:
    looks = [look(number, 100) for number in range(10)]
    assert len({(one["linestyle"], one["marker"]) for one in looks}) == 8
    assert len({(one["color"], one["linestyle"], one["marker"]) for one in looks}) == 10


def test_no_two_of_many_classes_look_alike() -> None:
    count = len(COLORS) * len(MARKERS)
    pairs = {(n % len(COLORS), n % len(MARKERS)) for n in range(count)}
    assert len(pairs) == count


def test_the_text_of_a_picture_says_where_each_curve_begins_and_ends(tmp_path: Path) -> None:
    path = draw_curves(
        {"run": {"block1": Curve([1, 2], [0.5, 0.25])}}, tmp_path / "c.png", "t", "x", "loss"
    )
    assert told(path) == ("t", "loss over time; run: block1 from 0.5 to 0.25.")


def test_a_map_has_a_panel_for_each_stage_and_names_its_classes(
    tmp_path: Path, drawn: list[Any]
) -> None:
    places, label = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 3
    names = ["cat", "dog", "owl"]
    draw_maps({"1 a": places, "2 b": places}, label, tmp_path / "m.png", "t", names)
    assert [axes.get_title() for axes in drawn[0].axes] == ["1 a", "2 b"]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == names


def test_a_sheet_shows_images_and_sounds_and_leaves_places_empty(tmp_path: Path) -> None:
    image, sound = np.zeros((4, 4, 3)), np.sin(np.arange(50))
    path = draw_sheet(
        [[image, sound], [image, None]], tmp_path / "s.png", "t", "text", ["a", "b"], ["c", "d"]
    )
    with Image.open(path) as picture:
        assert picture.size[0] > 100
