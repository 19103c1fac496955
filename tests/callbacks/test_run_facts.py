import json
from pathlib import Path

import pytest
from small import small_data, small_network, small_trainer

from blocklearn.callbacks.draw_curves import DrawCurves
from blocklearn.callbacks.run_facts import RunFacts
from blocklearn.reporting.loggers import MetricsCSV
from blocklearn.reporting.run_facts import read_facts


def fit(folder: Path, **changes: object) -> None:
    callbacks = [RunFacts(folder / "run_facts.json"), DrawCurves(folder)]
    settings = {"max_epochs": 3, "logger": MetricsCSV(folder), "callbacks": callbacks, **changes}
    trainer = small_trainer(folder, log_every_n_steps=2, **settings)
    trainer.fit(small_network(), datamodule=small_data())


def test_a_run_says_how_long_it_took_and_on_what(tmp_path: Path) -> None:
    fit(tmp_path)
    (part,) = read_facts(tmp_path / "run_facts.json")
    assert (part["from_batch"], part["to_batch"], part["processes"]) == (0, 12, 1)
    assert 0 < part["seconds_per_batch"] < part["seconds"]
    assert part["peak_memory_bytes"] > 50e6
    assert part["torch"].startswith("2.")


def test_a_part_that_is_trained_again_replaces_its_entry_and_later_ones_are_added(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run_facts.json"
    path.write_text(json.dumps([{"from_batch": 0, "seconds": 1.0}]))
    fit(tmp_path)
    assert [part["from_batch"] for part in read_facts(path)] == [0]
    assert read_facts(path)[0]["to_batch"] == 12


@pytest.mark.parametrize("content", ["", "[1]", "{}", "[{}]"])
def test_a_damaged_file_has_no_parts(tmp_path: Path, content: str) -> None:
    (tmp_path / "run_facts.json").write_text(content)
    assert read_facts(tmp_path / "run_facts.json") == []


def test_the_curves_are_drawn_when_training_ends(tmp_path: Path) -> None:
    fit(tmp_path)
    assert (tmp_path / "curves" / "curve_loss.png").read_bytes().startswith(b"\x89PNG")


def test_curves_that_cannot_be_drawn_cost_a_line_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "curves").write_text("in the way")
    fit(tmp_path)
    assert "The curves were not drawn" in capsys.readouterr().err
