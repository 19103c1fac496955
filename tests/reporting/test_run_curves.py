from pathlib import Path

import pytest

from blocklearn.pictures.figure import told
from blocklearn.reporting.run_curves import draw_run_curves, read_curves

ROWS = """block1/loss,block10/loss,block2/loss,block1/lr,block1/step3,epoch,step
5.0,1.0,2.0,0.1,7,0,0
4.0,1.5,nan,0.1,6,0,9
3.0,,1.0,0.1,5,0,19
"""


def test_curves_are_read_by_block_in_the_order_of_the_blocks(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(ROWS)
    found = read_curves(tmp_path / "metrics.csv")
    assert list(found) == ["loss"], "neither rates nor single steps of a prediction"
    assert list(found["loss"]) == ["block1", "block2", "block10"]
    assert found["loss"]["block1"] == ([1, 10, 20], [5, 4, 3])
    assert found["loss"]["block10"] == ([1, 10], [1, 1.5])


def test_every_metric_is_a_picture_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(ROWS)
    (path,) = draw_run_curves({"": tmp_path}, tmp_path / "curves")
    assert path.name == "curve_loss.png"
    assert told(path)[1] == (
        "loss over time; block1 from 5 to 3, block2 from 2 to 1, block10 from 1 to 1.5."
    )


@pytest.mark.parametrize("rows", [None, "", "step\n", "block1/loss,step\n1,0\n"])
def test_without_two_values_there_is_no_picture(tmp_path: Path, rows: str | None) -> None:
    if rows is not None:
        (tmp_path / "metrics.csv").write_text(rows)
    assert draw_run_curves({"": tmp_path}, tmp_path / "curves") == []


def test_a_row_that_a_crash_cut_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("block1/loss,step\n2.0,0\n1.0,9\n0.5,1")
    assert read_curves(tmp_path / "metrics.csv")["loss"]["block1"] == ([1, 10], [2, 1])
