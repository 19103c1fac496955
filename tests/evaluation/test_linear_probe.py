from pathlib import Path
from typing import Any

import pytest
import torch
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.evaluation import KNN, FineTune, LinearProbe, Row
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.linear_classifiers import LinearClassifiers
from blocklearn.evaluation.linear_probe import run_linear_probe
from blocklearn.evaluation.probe_settings import ProbeSettings


def probe(tmp_path: Path, network=None, **settings: object) -> list[Row]:
    torch.manual_seed(0)
    settings = {"epochs": 3, "batch_size": 8, "augment": False, "standardise": True, **settings}
    chosen = ProbeSettings(**settings)
    data = small_data()
    trainer = small_trainer(tmp_path, max_epochs=chosen.epochs)
    return run_linear_probe(network or small_network(), data, chosen, trainer)


def test_every_stage_is_probed_on_its_raw_and_its_head_feature(tmp_path: Path) -> None:
    rows = probe(tmp_path)
    assert [(r.stage, r.index, r.feature) for r in rows] == [
        (f"layer{k}", k, feature) for k in range(1, 5) for feature in ("raw", "head")
    ]
    assert all(0 <= r.values["top1"] <= 100 and r.settings["epochs"] == 3 for r in rows)
    assert all("top5" not in r.values for r in rows)  # of four classes it would say nothing


def test_end_to_end_has_a_head_at_its_end_only(tmp_path: Path) -> None:
    rows = probe(tmp_path, small_network(blocks="end_to_end"))
    kinds = [(r.index, r.feature) for r in rows]
    assert kinds == [(1, "raw"), (2, "raw"), (3, "raw"), (4, "raw"), (4, "head")]


def test_a_probe_learns_what_the_features_hold(tmp_path: Path) -> None:
    """The orientation of a grating is easy to read off the first block of even an untrained
    network."""
    rows = probe(tmp_path, epochs=40)
    assert max(r.values["top1"] for r in rows) > 80
    chance = 25
    assert rows[0].values["top1"] > 2 * chance


@pytest.mark.parametrize("augment", [True, False])
def test_the_network_is_not_changed_by_probing_it(tmp_path: Path, augment: bool) -> None:
    network = small_network(noise="all")
    before = weights(network)
    probe(tmp_path, network, augment=augment)
    assert same_weights(before, weights(network))
    assert not network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_probes_trained_together_are_those_trained_alone() -> None:
    network = small_network()
    data = small_data()
    data.setup()
    features = collect_features(
        network, data.probe_dataloader(8, augment=False), torch.device("cpu")
    )
    together = LinearClassifiers(network, 4, ProbeSettings())
    spec, classifier = together.features[2], together.classifiers[2]
    alone = torch.nn.Linear(spec.width, 4)
    alone.load_state_dict(classifier.state_dict())
    optimizers = [
        together.configure_optimizers()["optimizer"],
        torch.optim.SGD(alone.parameters(), 0.1, 0.9, weight_decay=1e-6),
    ]
    for start in (0, 8, 16):
        batch = features[list(range(start, start + 8))]
        label = batch["label"]
        losses = [
            sum(torch.nn.functional.cross_entropy(logits, label) for logits in together(batch)),
            torch.nn.functional.cross_entropy(alone(batch[spec.key]), label),
        ]
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(classifier.weight, alone.weight)
    torch.testing.assert_close(classifier.bias, alone.bias)


def test_one_pass_over_the_data_serves_all_probes() -> None:
    network = small_network()
    data = small_data()
    data.setup()
    calls = []
    network.walked[0].stages[0].register_forward_hook(lambda *_: calls.append(1))
    batch = next(iter(data.probe_dataloader(8)))
    LinearClassifiers(network, 4, ProbeSettings())(batch)
    assert len(calls) == 1


def test_the_published_probe_is_the_default() -> None:
    settings = ProbeSettings()
    assert (settings.epochs, settings.lr, settings.weight_decay, settings.batch_size) == (
        100,
        0.1,
        1e-6,
        256,
    )
    assert settings.augment
    assert not settings.standardise
    probe = LinearClassifiers(small_network(), 10, settings)
    assert abs(float(probe.classifiers[1].weight.detach().std()) - 0.01) < 0.002
    assert float(probe.classifiers[1].bias.detach().abs().max()) == 0


def test_the_default_is_sgd_on_a_cosine() -> None:
    parts = LinearClassifiers(small_network(), 4, ProbeSettings(epochs=4)).configure_optimizers()
    optimizer, schedule = parts["optimizer"], parts["lr_scheduler"]
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.defaults["momentum"] == 0.9
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447, 0], abs=1e-6)


def test_greedy_infomaxs_probe_is_adam_at_a_constant_rate(tmp_path: Path) -> None:
    chosen = {"lr": 0.001, "weight_decay": 0.0, "optimizer": "adam", "lr_schedule": "constant"}
    parts = LinearClassifiers(small_network(), 4, ProbeSettings(**chosen)).configure_optimizers()
    assert parts.keys() == {"optimizer"}
    assert type(parts["optimizer"]) is torch.optim.Adam
    defaults = parts["optimizer"].defaults
    assert [defaults[name] for name in ("lr", "betas", "eps", "weight_decay")] == [
        0.001,
        (0.9, 0.999),
        1e-8,
        0,
    ]
    rows = probe(tmp_path, **{**chosen, "lr": 0.01}, epochs=40)
    assert max(row.values["top1"] for row in rows) > 50


def test_a_batch_of_one_is_enough_without_batchnorm(tmp_path: Path) -> None:
    rows = probe(tmp_path, batch_size=1, standardise=False, augment=True)
    assert len(rows) == 8


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"epochs": 0}, "probe: epochs and batch_size must be at least 1"),
        ({"batch_size": 0}, "probe: epochs and batch_size must be at least 1"),
        ({"weight_decay": -1.0}, "weight_decay at least 0"),
        ({"batch_size": 1, "standardise": True}, "batch_size must be at least 2"),
        ({"labelled_part": 0.0}, "labelled_part must lie above 0"),
        ({"labelled_part": 1.1}, "labelled_part must lie above 0"),
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        ProbeSettings(**settings)


def test_every_evaluation_has_a_name_and_a_title_of_its_own() -> None:
    tenth = {"labelled_part": 0.1}
    chosen = [
        (LinearProbe(), {}, None, "probe", "Linear probes"),
        (LinearProbe(), {}, "digit", "probe_digit", "Linear probes (digit)"),
        (LinearProbe(), tenth, None, "probe_0.1", "Linear probes with 10% of the labels"),
        (
            LinearProbe(),
            tenth,
            "digit",
            "probe_digit_0.1",
            "Linear probes (digit) with 10% of the labels",
        ),
        (FineTune(), {}, "digit", "finetune_digit", "Fine-tuning (digit)"),
        (FineTune(), tenth, None, "finetune_0.1", "Fine-tuning with 10% of the labels"),
        (KNN(), {}, None, "knn", "Nearest neighbours"),
    ]
    for evaluation, settings, target, name, title in chosen:
        evaluation.under(ProbeSettings(**settings), lambda epochs: None)
        assert (evaluation.name(target), evaluation.full_title(target)) == (name, title)
