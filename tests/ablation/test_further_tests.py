"""Further evaluations of runs that have ended."""

import os
from pathlib import Path

import pytest
from ablation.test_running import finish, trials

from blocklearn import UserError
from blocklearn.ablation.further_tests import FurtherTest, FurtherTests, found_by
from blocklearn.ablation.outcome import outcome_of
from blocklearn.ablation.summary import summarise
from blocklearn.ablation.sweep_file import Metric
from blocklearn.evaluation import Row
from blocklearn.reporting.results import Results, write_results


def write_tested(folder: Path, value: float, when: float) -> None:
    rows = [Row("layer1", 1, "raw", {"k20": value})]
    write_results(Results("c", "digits", None, 10, {}, rows), folder / "results.json")
    os.utime(folder / "results.json", (when, when))


def write_trained(folder: Path, when: float) -> None:
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (when, when))


@pytest.mark.parametrize(
    ("text", "words", "name"),
    [
        ("KNN", ["--evaluation", "KNN"], "knn"),
        ("probe_speaker.yaml", ["--config", "probe_speaker.yaml"], "probe_speaker"),
        ("KNN --evaluation.k [5]", ["--evaluation", "KNN", "--evaluation.k", "[5]"], "knn-k-5"),
        ("own.yaml --probe.lr '1'", ["--config", "own.yaml", "--probe.lr", "1"], "own-probe.lr-1"),
    ],
)
def test_a_test_is_an_evaluation_or_a_configuration_and_flags(
    text: str, words: list[str], name: str
) -> None:
    test = FurtherTest(text)
    assert (test.words, test.name) == (words, name)


@pytest.mark.parametrize("text", ["--evaluation KNN", "KNN '", "", " "])
def test_what_begins_with_a_flag_with_nothing_or_is_not_closed_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="ablate: --test "):
        _ = FurtherTest(text).words


def test_a_test_writes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    trial = trials(tmp_path)[0]
    test = FurtherTest("KNN --evaluation.k [5]").of(trial)
    assert test
    arguments = test.arguments
    assert arguments[0] == "test"
    assert arguments[arguments.index("--save_as") + 1] == "test_knn-k-5"
    assert str(trial.folder / "config.yaml") in arguments


def test_a_run_is_tested_against_the_run_of_another_setting_with_the_same_seed(
    tmp_path: Path,
) -> None:
    every = trials(tmp_path)  # noise none and all, seeds 0 and 1
    test = FurtherTest("Similarity --evaluation.to {against}", "noise=none")
    assert test.name == "similarity-to-noise-none"
    made = test.of(every[3], every)
    assert made
    named = made.arguments[made.arguments.index("--evaluation.to") + 1]
    assert named == str(every[1].folder / "checkpoints" / "last.ckpt")
    assert (every[1].name, every[1].seed) == ("noise=none", every[3].seed)


def test_where_the_other_run_has_not_ended_that_is_told_and_the_others_are_tested(
    tmp_path: Path,
) -> None:
    every = trials(tmp_path)
    for trial in (every[0], every[2], every[3]):
        finish(trial, 90.0)
        write_trained(trial.folder, 0.0)
    test = FurtherTest("Similarity --evaluation.to {against}", "noise=none")
    tests = FurtherTests([(t, outcome_of(t)) for t in every], [test], [{}])
    assert tests.count == 2
    assert [told.partition("; why: ")[2] for told in tests.failed] == [
        "no run of noise=none with its seed has ended"
    ]


def test_a_test_against_no_setting_is_refused() -> None:
    with pytest.raises(UserError, match="name its setting with --against SETTING"):
        FurtherTest("Similarity --evaluation.to {against}")


def test_a_run_that_has_learned_on_is_tested_again(tmp_path: Path) -> None:
    trial, test = trials(tmp_path)[0], FurtherTest("KNN")
    finish(trial, 90.0)
    write_trained(trial.folder, 100.0)
    ended = [(trial, outcome_of(trial))]
    assert FurtherTests(ended, [test], [{}]).count == 1
    write_tested(trial.folder / "test_knn", 50.0, 101.0)
    assert FurtherTests(ended, [test], [{}]).count == 0
    write_tested(trial.folder / "test_knn", 50.0, 99.0)
    assert FurtherTests(ended, [test], [{}]).count == 1


def test_results_of_the_runs_own_tests_are_not_taken_for_those_of_a_further_one(
    tmp_path: Path,
) -> None:
    trial = trials(tmp_path)[0]
    finish(trial, 90.0)
    write_trained(trial.folder, 0.0)
    write_tested(trial.folder / "probe_digit", 50.0, 1.0)  # by the protocol of its own recipe
    test = FurtherTest("probe_digit.yaml")
    assert FurtherTests([(trial, outcome_of(trial))], [test], [{}]).count == 1
    made = test.of(trial)
    assert made
    assert not (trial.folder / made.arguments[made.arguments.index("--save_as") + 1]).exists()


def test_what_was_found_is_told_by_setting_over_its_seeds_without_runs_that_failed(
    tmp_path: Path,
) -> None:
    every, test = trials(tmp_path), FurtherTest("KNN")
    for number, trial in enumerate(every[:3]):
        finish(trial, 90.0)
        write_trained(trial.folder, 0.0)
        write_tested(trial.folder / "test_knn", 10.0 * number, 1.0)
    ended = [(trial, outcome_of(trial)) for trial in every]
    found = found_by(test, ended)
    assert {
        name: [r.rows[0].values["k20"] for r in results] for name, results in found.items()
    } == {
        "noise=none": [0.0, 10.0],
        "noise=all": [20.0],
    }
    assert found_by(FurtherTest("Retrieval"), ended) == {}


def test_the_table_of_the_runs_is_shown_though_a_further_test_found_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = trials(tmp_path)[0]
    finish(trial, 90.0)
    written = summarise([(trial, outcome_of(trial))], Metric(), tmp_path, [FurtherTest("KNN")])
    assert tmp_path / "ablation.png" in written
    assert "--test 'KNN': no run has been tested so yet" in capsys.readouterr().out


def test_what_was_tested_counts_though_the_checkpoint_is_gone(tmp_path: Path) -> None:
    trial, test = trials(tmp_path)[0], FurtherTest("KNN")
    write_tested(trial.folder / "test_knn", 50.0, 1.0)
    assert test.results_of(trial) == trial.folder / "test_knn" / "results.json"


def test_a_test_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    every = trials(tmp_path)[:2]
    for trial in every:
        finish(trial, 90.0)
        write_trained(trial.folder, 0.0)
    said: list[str] = []
    tests = FurtherTests(
        [(t, outcome_of(t)) for t in every], [FurtherTest("KNN")], [{}], said.append
    )
    tests.run()
    assert tests.done == 2
    assert len(tests.failed) == len(said) == 2
    assert said[0].startswith("[1/2] KNN, noise=none, seed 0: failed, ")
    assert "log.txt" in tests.failed[1]
