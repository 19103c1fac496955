from pathlib import Path
from typing import Any

import pytest
import torch
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.data import Digits
from blocklearn.data.labelled_part import stratified_halves
from blocklearn.evaluation import LinearProbe, Row
from blocklearn.evaluation.cached_features import collect_features, feature_loader
from blocklearn.evaluation.linear_classifiers import LinearClassifiers
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.evaluation.rate_grid import RateGrid

LRS = (0.01, 0.1, 1.0)


def probe(
    tmp_path: Path, evaluation: LinearProbe, network: Any = None, **changes: Any
) -> list[Row]:
    torch.manual_seed(0)
    settings = {"epochs": 3, "batch_size": 8, "augment": False, "standardise": True, **changes}
    evaluation.under(
        ProbeSettings(**settings), lambda epochs: small_trainer(tmp_path, max_epochs=epochs)
    )
    data = small_data(num_images=64)
    data.setup("test")
    return evaluation.run(network or small_network(), data)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("standardise", [True, False])
def test_every_rate_is_trained_as_it_would_be_alone(
    tmp_path: Path, optimizer: Any, standardise: bool
) -> None:
    network, data = small_network(), small_data(num_images=64)
    data.setup("test")
    device = torch.device("cpu")
    cached = collect_features(network, data.probe_dataloader(8, augment=False), device)
    how = {"epochs": 4, "optimizer": optimizer, "standardise": standardise}

    def trained(module: Any) -> Any:
        torch.manual_seed(3)
        small_trainer(tmp_path, max_epochs=4).fit(module, feature_loader(cached, 16))
        return module

    torch.manual_seed(1)
    grid = trained(RateGrid(network, 4, ProbeSettings(**how), LRS))
    values = [cached.columns[spec.key] for spec in grid.features]
    grid.eval()
    for number, lr in enumerate(LRS):
        torch.manual_seed(1)
        alone = trained(LinearClassifiers(network, 4, ProbeSettings(**how, lr=lr))).eval()
        for together, expected in zip(grid.logits(values), alone(cached.columns), strict=True):
            torch.testing.assert_close(together[:, number], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("augment", [True, False])
def test_the_rate_that_was_chosen_stands_in_the_row(tmp_path: Path, augment: bool) -> None:
    network = small_network()
    before = weights(network)
    rows = probe(tmp_path, LinearProbe(lrs=LRS), network, augment=augment)
    assert [(row.stage, row.feature) for row in rows] == [
        (f"layer{k}", feature) for k in range(1, 5) for feature in ("raw", "head")
    ]
    assert all(row.settings["lr"] in LRS and row.settings["epochs"] == 3 for row in rows)
    assert all(0 <= row.settings["held_out_top1"] <= 100 for row in rows)
    assert same_weights(before, weights(network))


def test_a_rate_that_learns_nothing_is_not_chosen(tmp_path: Path) -> None:
    rows = probe(tmp_path, LinearProbe(lrs=[1e-9, 0.1]), epochs=20)
    assert rows[0].settings["lr"] == 0.1
    (good,) = [row.values["top1"] for row in rows if (row.stage, row.feature) == ("layer1", "raw")]
    assert good > 50


def test_a_rate_that_diverges_is_not_chosen_and_spoils_no_other(tmp_path: Path) -> None:
    both = probe(tmp_path, LinearProbe(lrs=[0.1, 1e38]), epochs=20)
    other = probe(tmp_path, LinearProbe(lrs=[0.1, 1e-9]), epochs=20)
    assert {row.settings["lr"] for row in both} == {0.1}
    assert both[0].values == other[0].values


def test_the_test_samples_have_no_part_in_the_choice(tmp_path: Path) -> None:
    """Wrong labels at the test change what is reported, not what is chosen."""

    class Wrong(Digits):
        def test_samples(self) -> Any:
            samples = super().test_samples()
            return [
                (samples[index][0], (samples[index][1] + 1) % 10) for index in range(len(samples))
            ]

    chosen, found = [], []
    for data in (Digits(), Wrong()):
        torch.manual_seed(0)
        evaluation = LinearProbe(lrs=LRS).under(
            ProbeSettings(epochs=5, batch_size=128, augment=False, standardise=True),
            lambda epochs: small_trainer(tmp_path, max_epochs=epochs),
        )
        data.setup("test")
        rows = evaluation.run(small_network(), data)
        chosen.append([(row.settings["lr"], row.settings["held_out_top1"]) for row in rows])
        found.append(max(row.values["top1"] for row in rows))
    assert chosen[0] == chosen[1]
    assert found[0] > 30 > 1.5 * found[1]


def test_the_network_runs_once_for_all_rates(tmp_path: Path) -> None:
    network = small_network()
    counts = []
    for lrs in (None, LRS):
        calls: list[int] = []
        handle = (
            network.walked[0]
            .stages[0]
            .register_forward_hook(lambda module, inputs, out, calls=calls: calls.append(len(out)))
        )
        probe(tmp_path, LinearProbe(lrs=lrs), network)
        handle.remove()
        counts.append(sum(calls))
    assert counts[0] == counts[1]


def test_one_rate_is_that_rate_on_all_samples_and_none_is_the_protocols(tmp_path: Path) -> None:
    plain = probe(tmp_path, LinearProbe(), lr=0.05)
    assert probe(tmp_path, LinearProbe(lrs=[0.05]), lr=0.1) == plain
    assert probe(tmp_path, LinearProbe(lrs=[0.05, 0.05])) == plain


def test_every_class_is_held_out_and_learned_from() -> None:
    labels = torch.tensor([0] * 30 + [1] * 10 + [2] * 2 + [3])
    learned, held = stratified_halves(labels, 0.1, seed=0)
    assert labels[held].bincount(minlength=4).tolist() == [3, 1, 1, 0]
    assert sorted(learned + held) == list(range(43))
    assert stratified_halves(labels, 0.1, seed=0) == (learned, held)
    assert stratified_halves(labels, 0.1, seed=1)[1] != held
    learned, held = stratified_halves(labels, 0.99, seed=0)
    assert labels[learned].bincount(minlength=4).tolist() == [1, 1, 1, 1]


def test_a_single_sample_of_every_class_leaves_none_to_choose_by(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has one training sample, and none can be held out"):
        probe(tmp_path, LinearProbe(lrs=LRS), labelled_part=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"lrs": []}, {"lrs": [0.0]}, {"lrs": [float("inf")]}, {"held_out": 1.0}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="LinearProbe needs positive, finite lrs"):
        LinearProbe(**wrong)
