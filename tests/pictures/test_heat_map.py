import math
from pathlib import Path

import numpy as np
from PIL import Image

from blocklearn.pictures.figure import told
from blocklearn.pictures.heat_map import draw_heat_map
from blocklearn.pictures.spectra import draw_spectra


def test_a_heat_map_is_read_in_grey_and_says_what_it_shows(tmp_path: Path) -> None:
    values = [[0.0, 0.5], [1.0, math.nan]]
    path = draw_heat_map(values, ["a", "b"], ["c", "d"], tmp_path / "map.png", "Map", "A text.")
    assert told(path) == ("Map", "A text.")
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"))
    assert grey.min() < 60
    assert len(np.unique(grey)) > 50, "the scale beside it runs from dark to light"


def test_a_large_one_has_no_numbers_and_still_fits(tmp_path: Path) -> None:
    names = [f"block{n}" for n in range(40)]
    rows = [[abs(i - j) / 40 for j in range(40)] for i in range(40)]
    path = draw_heat_map(rows, names, names, tmp_path / "map.png", "Map", "A text.")
    with Image.open(path) as image:
        assert max(image.size) < 2700


def test_spectra_leave_out_what_is_0(tmp_path: Path) -> None:
    spectra = {"layer1": [4.0, 2.0, 1.0, 0.0], "layer2": [0.0, 0.0], "layer3": [1.0]}
    path = draw_spectra(spectra, tmp_path / "spectra.png", "Spectra", "A text.")
    assert told(path) == ("Spectra", "A text.")
