"""Rows of the benchmarks: what is measured after hours must not be lost for how it is written."""

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import masked, streaming, video
from benchmarks.rows import Row, in_turns, load_rows, save_rows
from blocklearn.blocks.imagined import imagined_weights


def test_a_target_is_of_the_median_ratio_turn_by_turn_and_may_be_a_lower_bound() -> None:
    row = Row("P", "what", "plain", "s", [1.0, 2.0, 9.0], [2.0, 4.0, 3.0], 0.5)
    assert row.figures == [0.5, 0.5, 3.0]
    assert row.met
    assert not Row("P", "what", "", "images/s", [1.0, 2.0, 9.0], target=3.0, at_least=True).met
    assert Row("P", "what", "", "s", [1.0]).met is None


def test_rows_come_back_from_their_file_with_paths_among_their_notes(tmp_path: Path) -> None:
    output = tmp_path / "new" / "rows.json"
    save_rows(
        [Row("P", "what", "plain", "s", [1.0], [2.0], 0.5, notes={"output": output, "steps": 3})],
        output,
    )
    (row,) = load_rows(output)
    assert (row.ours, row.theirs, row.met) == ([1.0], [2.0], True)
    assert row.notes == {"output": str(output), "steps": 3}


@pytest.mark.parametrize(("warm_up", "expected"), [(True, "abababab"), (False, "ababab")])
def test_ways_take_turns(warm_up: bool, expected: str) -> None:
    called: list[str] = []
    seconds = in_turns({name: lambda name=name: called.append(name) for name in "ab"}, 3, warm_up)
    assert "".join(called) == expected
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_packed_images_are_measured_beside_those_of_a_folder(tmp_path: Path) -> None:
    settings = Namespace(turns=1, images=8, by_litdata=2, root=None, folder=tmp_path)
    rows = streaming.measure(settings)
    assert len(rows) == 5
    assert all(row.ours[0] > 0 and row.theirs[0] > 0 for row in rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("case", "expected"), [("clips, Tiny", 1.95), ("clips, Small", 1.34)])
def test_the_network_whose_decoders_are_measured_grows_by_them_as_published(
    case: str, expected: float
) -> None:
    """arXiv 2601.09040: about 95 and 35 % at four blocks."""
    counts = []
    for way in (masked.BASELINE, "K = 4"):
        with imagined_weights():
            network = masked.build(masked.CASES[case], masked.WAYS[way])
        counts.append(sum(p.numel() for p in network.parameters() if p.requires_grad))
    assert counts[1] / counts[0] == pytest.approx(expected, abs=0.005)


def test_clips_of_files_are_measured_beside_decoding_the_whole_file() -> None:
    rows = video.measure(Namespace(turns=1, files=1, frames=66))
    names = {"video clip", "video frames", "video view", "video headers"}
    assert {row.name for row in rows} - {"video peer"} == names
    assert all(figure > 0 for row in rows for figure in (*row.ours, *row.theirs))
