from pathlib import Path
from typing import Any

import pytest
import torch
from small import same_weights, small_batch, small_data, small_network, small_trainer, weights
from torch.nn.functional import cross_entropy

from blocklearn import BlockwiseModule, UserError
from blocklearn.evaluation import FineTune, Row
from blocklearn.evaluation.fine_tune import TunedNetwork, run_fine_tune
from blocklearn.evaluation.probe_settings import ProbeSettings


def tuning(**changes: Any) -> ProbeSettings:
    settings = {"epochs": 2, "lr": 0.1, "batch_size": 8, "weight_decay": 0.0}
    return ProbeSettings(**{**settings, **changes})


def fine_tune(tmp_path: Path, network: BlockwiseModule, **changes: Any) -> list[Row]:
    torch.manual_seed(0)
    settings = tuning(**changes)
    return run_fine_tune(
        network, small_data(), settings, small_trainer(tmp_path, max_epochs=settings.epochs)
    )


@pytest.mark.parametrize("blocks", ["per_stage", "end_to_end"])
def test_fine_tuning_reports_one_row_on_the_last_stage(tmp_path: Path, blocks: str) -> None:
    (row,) = fine_tune(tmp_path, small_network(blocks=blocks))
    assert (row.stage, row.index, row.feature) == ("layer4", 4, "finetuned")
    assert row.settings == {"lr": 0.1, "epochs": 2}
    assert 0 <= row.values["top1"] <= 100


def test_the_network_is_not_changed_by_fine_tuning_it(tmp_path: Path) -> None:
    network = small_network(noise="all")
    before = weights(network)
    fine_tune(tmp_path, network)
    assert same_weights(before, weights(network))
    assert all(p.grad is None for p in network.parameters())


def test_it_starts_from_the_networks_own_weights() -> None:
    network = small_network().eval()
    tuned = TunedNetwork(network, 4, tuning()).eval()
    batch = small_batch()
    features = dict(
        zip(
            [s.key for s in network.feature_specs()],
            network.stage_features(batch.views[0]),
            strict=True,
        )
    )
    assert torch.equal(tuned(batch), tuned.classifier(features["layer4/raw"]))


def test_the_gradient_crosses_every_blocks_border() -> None:
    tuned = TunedNetwork(small_network(), 4, tuning())
    batch = small_batch()
    cross_entropy(tuned(batch), batch.label).backward()
    # residual branches end in a BatchNorm of weight 0, behind which nothing is reached
    for block in tuned.network.walked:
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in block.stages.parameters())


def test_it_carries_no_objective() -> None:
    tuned = TunedNetwork(small_network(), 4, tuning())
    assert not [name for name in tuned.state_dict() if "objective" in name]


def test_backbone_and_classifier_have_learning_rates_of_their_own_that_fall_to_0() -> None:
    tuned = TunedNetwork(small_network(), 4, tuning(lr=0.5, epochs=4), backbone_lr=0.005)
    parts = tuned.configure_optimizers()
    optimizer, scheduler = parts["optimizer"], parts["lr_scheduler"]
    counts = [sum(p.numel() for p in group["params"]) for group in optimizer.param_groups]
    assert counts == [
        sum(p.numel() for p in part.parameters()) for part in (tuned.network, tuned.classifier)
    ]
    rates = []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert rates[0] == [0.005, 0.5]
    assert rates[2] == pytest.approx([0.0025, 0.25])
    assert rates[4] == pytest.approx([0, 0], abs=1e-12)


def test_it_learns_to_tell_two_orientations(tmp_path: Path) -> None:
    network, settings = small_network(), tuning(epochs=8)
    data = small_data(num_images=64, num_classes=2)
    (row,) = run_fine_tune(
        network, data, settings, small_trainer(tmp_path, max_epochs=settings.epochs), 0.05
    )
    assert row.values["top1"] > 80


def test_values_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="positive, finite backbone_lr, got 0"):
        FineTune(backbone_lr=0.0)
    alone = FineTune().under(
        ProbeSettings(batch_size=1), lambda epochs: small_trainer(tmp_path, max_epochs=epochs)
    )
    with pytest.raises(UserError, match="FineTune uses BatchNorm, so batch_size must be at least"):
        alone.run(small_network(), small_data())


def test_an_evaluation_without_a_trainer_says_what_to_call() -> None:
    with pytest.raises(UserError, match=r"FineTune needs a Trainer: call under\("):
        FineTune().run(small_network(), small_data())
