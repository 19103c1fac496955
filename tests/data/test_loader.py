"""Invariant 6: every draw that augments a sample is a function of (seed, epoch, sample, view)."""

import pytest
import torch
from small import small_data

from blocklearn import UserError
from blocklearn.data.loader import KeyedSampler


def epoch_of(epoch: int = 0, **changes: object) -> dict[int, list[torch.Tensor]]:
    loader = small_data(**changes).train_dataloader()
    loader.sampler.set_epoch(epoch)
    return {int(i): [v[row] for v in b.views] for b in loader for row, i in enumerate(b.index)}


def test_views_do_not_depend_on_workers_or_batch_size() -> None:
    alone = epoch_of(batch_size=8, num_workers=0)
    helped = epoch_of(batch_size=4, num_workers=2)
    assert alone.keys() == helped.keys()
    assert all(torch.equal(a, b) for i in alone for a, b in zip(alone[i], helped[i], strict=True))


def test_views_differ_by_view_epoch_and_seed() -> None:
    base = epoch_of(seed=0)[3]
    assert not torch.equal(base[0], base[1])
    assert not torch.equal(base[0], epoch_of(epoch=1, seed=0)[3][0])
    assert not torch.equal(base[0], epoch_of(seed=1)[3][0])


def order(sampler: KeyedSampler, epoch: int = 0) -> list[int]:
    sampler.set_epoch(epoch)
    return [key.index for key in sampler]


def test_the_order_changes_with_the_epoch_and_holds_every_sample_once() -> None:
    sampler = KeyedSampler(range(12), 4, shuffle=True, seed=0)
    first, second = order(sampler, 0), order(sampler, 1)
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert first == order(sampler, 0)


@pytest.mark.parametrize("replicas", [2, 4])
def test_processes_share_every_batch_out_among_them(replicas: int) -> None:
    whole = order(KeyedSampler(range(26), 8, shuffle=True, seed=3))
    parts = [order(KeyedSampler(range(26), 8, True, 3, replicas, rank)) for rank in range(replicas)]
    share = 8 // replicas
    for batch in range(3):
        together = [i for part in parts for i in part[batch * share : (batch + 1) * share]]
        assert together == whole[batch * 8 : (batch + 1) * 8]
    assert {len(part) for part in parts} == {len(KeyedSampler(range(26), 8, True, 3, replicas, 0))}


def test_testing_sees_every_sample_in_order() -> None:
    assert order(KeyedSampler(range(10), 4, shuffle=False, seed=0)) == list(range(10))


def test_a_resumed_loader_goes_on_with_the_next_batch_and_only_once() -> None:
    loader = small_data().train_dataloader()
    whole = [b.index.tolist() for b in loader]
    cut = small_data().train_dataloader()
    for count, _ in enumerate(cut, start=1):
        if count == 2:
            break
    state = cut.state_dict()
    resumed = small_data().train_dataloader()
    resumed.load_state_dict(state)
    assert len(resumed) == len(whole) == 4
    assert [b.index.tolist() for b in resumed] == whole[2:]
    assert [b.index.tolist() for b in resumed] == whole


def test_fewer_samples_than_a_batch_is_one_clear_line() -> None:
    for ask in (
        small_data(batch_size=64).train_dataloader,
        small_data(batch_size=64).require_enough,
    ):
        with pytest.raises(
            UserError, match="has 32 samples for training, fewer than one batch of 64"
        ):
            ask()


def test_asking_early_whether_there_is_enough_reads_the_set_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, made = small_data(), []
    real = data.pretraining_samples
    monkeypatch.setattr(data, "pretraining_samples", lambda: made.append(1) or real())
    data.require_enough()
    data.train_dataloader()
    assert len(made) == 1
    data.train_dataloader()
    assert len(made) == 2


@pytest.mark.parametrize("resident", [False, True])
def test_a_state_of_other_data_or_batches_is_refused(resident: bool) -> None:
    state = small_data(resident=resident).train_dataloader().state_dict()
    assert (state["samples"], state["batch_size"]) == (32, 8)
    with pytest.raises(
        UserError,
        match="resume: data has 40 samples, the checkpoint's run had 32; go on with the same",
    ):
        small_data(resident=resident, num_images=40).train_dataloader().load_state_dict(state)
    with pytest.raises(
        UserError, match="batch_size of 16, the checkpoint's run had 8; set --data.batch_size 8"
    ):
        small_data(resident=resident, batch_size=16).train_dataloader().load_state_dict(state)


def test_a_state_that_does_not_say_is_taken() -> None:
    loader = small_data().train_dataloader()
    loader.load_state_dict({"epoch": 0, "batches_done": 3})
    assert len(list(loader)) == 1
