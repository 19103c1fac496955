"""Invariant 5: two processes with half the batch each are one process with the whole batch. Real
gloo processes."""

from typing import Any

import pytest
import torch
import two_processes as cases

EXACT = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return cases.launch(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return cases.compute(tmp_path_factory.mktemp("one"))


def assert_same(several: list[dict[str, Any]], alone: dict[str, Any], *path: str) -> None:
    for found in several:
        expected: Any = alone
        for key in path:
            found, expected = found[key], expected[key]
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("name", [name for name in cases.CRITERIA if "published" not in name])
@pytest.mark.parametrize("shares", ["criteria", "uneven"])
def test_a_criterion_has_the_loss_metrics_and_gradient_of_the_whole_batch(
    several: list[dict[str, Any]], alone: dict[str, Any], name: str, shares: str
) -> None:
    assert_same(several, alone, shares, name)


@pytest.mark.parametrize("name", ["barlow_twins_published", "barlow_twins_published_gram"])
def test_the_published_barlow_twins_gradient_is_half_the_true_one_in_two_processes(
    several: list[dict[str, Any]], alone: dict[str, Any], name: str
) -> None:
    true = alone["criteria"]["barlow_twins"]
    assert float(true["gradients"]["weight"].norm()) > 1e-3
    for result in several:
        published = result["criteria"][name]
        torch.testing.assert_close(published["loss"], true["loss"], **EXACT)
        torch.testing.assert_close(
            published["gradients"]["weight"], true["gradients"]["weight"] / 2, **EXACT
        )


def test_the_published_barlow_twins_gradient_is_the_true_one_in_a_single_process(
    alone: dict[str, Any],
) -> None:
    torch.testing.assert_close(
        alone["criteria"]["barlow_twins_published"], alone["criteria"]["barlow_twins"], **EXACT
    )


@pytest.mark.parametrize("name", cases.OBJECTIVES)
def test_an_objective_has_the_loss_metrics_and_gradients_of_the_whole_batch(
    several: list[dict[str, Any]], alone: dict[str, Any], name: str
) -> None:
    assert_same(several, alone, "objectives", name)


@pytest.mark.parametrize("name", cases.NORMS)
def test_a_synchronised_norm_is_batchnorm_over_the_whole_batch(
    several: list[dict[str, Any]], alone: dict[str, Any], name: str
) -> None:
    assert_same(several, alone, "norms", name)


def test_one_processs_bad_label_stops_every_process_with_the_same_words(
    several: list[dict[str, Any]],
) -> None:
    first, second = (result["complaint"] for result in several)
    assert first == second
    assert first.startswith("Supervised: 1 samples of this batch have labels outside 0 to 2")


@pytest.mark.parametrize("name", cases.RUNS)
def test_training_ends_with_the_weights_and_statistics_of_one_process(
    several: list[dict[str, Any]], alone: dict[str, Any], name: str
) -> None:
    state = alone["trained"][name]["state"]
    assert any(key.endswith(("running_var", "mask_token")) for key in state)
    for result in several:
        found = result["trained"][name]["state"]
        torch.testing.assert_close(found, state, rtol=1e-7, atol=1e-9)


def test_training_logs_the_losses_of_one_process(
    several: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    logged = alone["trained"]["simultaneous"]["logged"]
    assert logged.keys() >= {
        f"block{k}/{name}" for k in range(1, 5) for name in ("loss", "val_loss", "on_diag")
    }
    for result in several:
        found = result["trained"]["simultaneous"]["logged"]
        torch.testing.assert_close(found, logged, rtol=1e-6, atol=1e-9)


def test_noise_differs_between_processes_and_is_that_of_a_single_process_on_rank_0(
    several: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    first, second = (result["noise"]["seeds"] for result in several)
    assert len(set(first)) == len(set(second)) == 4 * 4 * 2  # batches, blocks, views
    assert not set(first) & set(second)
    assert first == alone["noise"]["seeds"]


def test_all_processes_hold_the_same_weights_also_with_noise(several: list[dict[str, Any]]) -> None:
    first, second = (result["noise"]["state"] for result in several)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_is_killed_and_resumed_ends_with_the_weights_of_an_uninterrupted_one(
    several: list[dict[str, Any]],
) -> None:
    for result in several:
        whole, resumed = result["noise"]["state"], result["resumed"]["state"]
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_sums_gathers_and_broadcasts_are_what_they_say(several: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(several):
        found = result["collect"]
        assert found["sum"].tolist() == [2, 1]
        assert found["gathered"][:, 0].tolist() == [0, 0, 1, 1, 1]
        assert found["first_row"] == 2 * rank
        assert not found["weight"].any()  # rank 0's


def test_blocks_that_are_divided_among_processes_end_with_the_weights_of_one_process(
    several: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    state = alone["trained"]["clipped"]["state"]
    for result in several:
        found = result["divided"]["state_dict"]
        torch.testing.assert_close(found, state, rtol=1e-7, atol=1e-9)
        for optimizer in result["divided"]["optimizer_states"]:
            assert all(kept["exp_avg"].abs().sum() > 0 for kept in optimizer["state"].values())
    here = [result["divided"]["here"] for result in several]
    assert all(  # and each holds its part of every parameter
        here[0][name] + here[1][name] == state[name].numel() for name in here[0]
    )


@pytest.mark.parametrize("stops", ["between updates", "everywhere"])
def test_a_run_stopped_between_two_accumulated_batches_goes_on_with_the_gradients_of_both_processes(
    several: list[dict[str, Any]], stops: str
) -> None:
    for result in several:
        whole, stopped = result["in_parts"]["whole"], result["in_parts"][stops]
        assert all(torch.equal(whole[name], stopped[name]) for name in whole)
