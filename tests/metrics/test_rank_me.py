import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch import seed_everything
from small import same_weights, small_batch, small_data, small_network, small_trainer, weights

from blocklearn.metrics import RankMe
from blocklearn.metrics.rank_me import rank_me
from blocklearn.reporting.metrics_csv import MetricsCSV
from blocklearn.training.contract import Carried


def test_it_is_the_exponential_of_the_entropy_of_the_singular_values() -> None:
    values = torch.tensor([4.0, 3.0, 2.0, 1.0])
    left, _ = torch.linalg.qr(torch.randn(8, 4))
    right, _ = torch.linalg.qr(torch.randn(4, 4))
    share = values / 10
    expected = torch.exp(-(share * share.log()).sum())
    found = rank_me(left @ torch.diag(values) @ right)
    assert found.shape == ()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_collapse_is_1_and_independent_dimensions_count_each() -> None:
    assert float(rank_me(torch.ones(20, 6))) == pytest.approx(1, abs=1e-4)
    assert float(rank_me(torch.eye(6))) == pytest.approx(6, abs=1e-4)
    assert float(rank_me(torch.zeros(4, 3))) == pytest.approx(1, abs=1e-4)


def test_it_keeps_the_last_samples_and_begins_anew() -> None:
    block = small_network().walked[0]
    batch = small_batch()
    metric = RankMe(samples=8)
    for _ in range(4):
        metric.update(block, block.local_step(Carried(batch.views), batch))
    assert sum(map(len, metric._rows._kept)) < 8 + 6
    assert 1 <= float(metric.compute()["rankme"]) <= 8
    assert not metric._rows._kept


def test_every_block_is_watched_in_training_and_validation_and_learns_the_same(
    tmp_path: Path,
) -> None:
    ends = []
    for metrics in ([RankMe(every=2)], None):
        seed_everything(0, verbose=False)
        network = small_network(metrics=metrics)
        trainer = small_trainer(
            tmp_path,
            logger=MetricsCSV(tmp_path / str(bool(metrics))),
            log_every_n_steps=4,
            limit_val_batches=2,
            max_epochs=2,
        )
        trainer.fit(network, datamodule=small_data())
        ends.append(weights(network))
    assert same_weights(*ends)
    with (tmp_path / "True" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number in range(1, 5):
        seen = [float(row[f"block{number}/rankme"]) for row in rows if row[f"block{number}/rankme"]]
        assert len(seen) == 2
        assert all(1 <= value <= 16 for value in seen)
        assert any(row[f"block{number}/val_rankme"] for row in rows)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="looks every 1 batch or more, got 0"):
        RankMe(every=0)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        RankMe(samples=1)
