"""Which settings are tried."""

from pathlib import Path
from typing import Any

import pytest
from ablation.test_sweep_file import sweep

from blocklearn import UserError
from blocklearn.ablation.search import Search, grid, random_search, require_count

TWO = {"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}, "c": {"value": 0}}
WIDE = {"lr": {"min": 1e-4, "max": 0.1, "distribution": "log_uniform_values"}, **TWO}


def every(search: Search) -> list[dict[str, Any]]:
    return [dict(settings) for settings in iter(search.ask, None)]


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    found = every(grid(sweep(tmp_path, parameters=TWO), None))
    assert found == [{"a": a, "b": b, "c": 0} for a in (1, 2) for b in "xy"]
    assert len(every(grid(sweep(tmp_path, parameters=TWO), 3))) == 3


def test_a_grid_refuses_what_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lr: a grid needs values"):
        grid(sweep(tmp_path, parameters=WIDE), None)


def test_random_settings_are_the_same_for_the_same_seed_and_never_twice(tmp_path: Path) -> None:
    read = sweep(tmp_path, parameters=WIDE, method="random")
    first, more = every(random_search(read, 5, 0)), every(random_search(read, 8, 0))
    assert more[:5] == first
    assert every(random_search(read, 5, 1)) != first
    few = every(random_search(sweep(tmp_path, parameters=TWO, method="random"), 9, 0))
    assert len(few) == len({repr(settings) for settings in few}) == 4


def test_a_search_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--count N, or run_cap: N"):
        require_count(sweep(tmp_path, method="random"), None)
    assert require_count(sweep(tmp_path, method="random", run_cap=7), None) == 7


def test_bayes_without_optuna_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blocklearn.ablation import optuna_search

    monkeypatch.setattr(optuna_search, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'blocklearn\[optuna\]'"):
        optuna_search.OptunaSearch(sweep(tmp_path, method="bayes"), 3, 0)


def value(settings: Any) -> float:
    return -abs(settings["lr"] - 0.3) + (settings["kind"] == "good")


def bayes(tmp_path: Path, count: int, known: Any = ()) -> Any:
    from blocklearn.ablation.optuna_search import OptunaSearch

    parameters = {
        "lr": {"min": 0.01, "max": 1.0, "distribution": "log_uniform_values"},
        "kind": {"values": ["bad", "good", "worse"]},
        "steps": {"min": 1, "max": 5},
    }
    read = sweep(tmp_path, parameters=parameters, method="bayes")
    return OptunaSearch(read, count, 0, known)


def test_bayes_finds_better_settings_than_it_began_with(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    search, found = bayes(tmp_path, 30), []
    while (settings := search.ask()) is not None:
        search.tell(settings, value(settings))
        found.append(value(settings))
    assert len(found) == 30
    assert sum(found[20:]) / 10 > sum(found[:10]) / 10


def test_bayes_goes_on_from_what_was_tried_before(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    first = bayes(tmp_path, 6)
    tried = [first.ask() for _ in range(4)]
    again = bayes(tmp_path, 6, [(s, value(s) if k < 3 else None) for k, s in enumerate(tried)])
    found = every(again)
    assert found[:4] == tried, "those that had not ended are run first, the others left out later"
    assert len(found) == 6
    assert len({repr(settings) for settings in found}) == 6


def test_a_failed_setting_is_not_tried_again(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    search, found = bayes(tmp_path, 8), []
    while (settings := search.ask()) is not None:
        search.tell(settings, None)
        found.append(repr(settings))
    assert len(set(found)) == len(found) == 8
