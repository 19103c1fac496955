from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import same_weights, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.data import Digits
from blocklearn.evaluation import LogisticRegression, Row
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.probe_settings import ProbeSettings


def run(tmp_path: Path, network: Any = None, **how: Any) -> list[Row]:
    part = how.pop("labelled_part", 1.0)
    evaluation = LogisticRegression(**how).under(
        ProbeSettings(labelled_part=part), lambda epochs: small_trainer(tmp_path, max_epochs=epochs)
    )
    data = Digits()
    data.setup("test")
    return evaluation.run(network or small_network(blocks="end_to_end"), data)


def test_it_is_the_minimum_of_the_penalised_loss(tmp_path: Path) -> None:
    """scikit-learn minimises C * sum of losses + |W|^2 / 2: a plain gradient descent gets to the
    same accuracy and no lower."""
    network = small_network(blocks="end_to_end")
    before = weights(network)
    rows = run(tmp_path, network, C=[0.5])
    assert same_weights(before, weights(network))
    data = Digits()
    data.setup("test")
    device = torch.device("cpu")
    loaders = data.probe_dataloader(256, augment=False), data.test_dataloader()
    train, test = (collect_features(network, loader, device).columns for loader in loaders)
    known = train["layer1/raw"].double()
    mean, std = known.mean(dim=0), known.std(dim=0, unbiased=False)
    weight = torch.zeros(10, known.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight], max_iter=2000, line_search_fn="strong_wolfe")

    def logits(values: torch.Tensor) -> torch.Tensor:
        return (values.double() - mean) / std @ weight[:, 1:].T + weight[:, 0]

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = 0.5 * torch.nn.functional.cross_entropy(
            logits(known), train["label"], reduction="sum"
        )
        value = value + weight[:, 1:].square().sum() / 2
        value.backward()
        return value

    solver.step(loss)
    right = (logits(test["layer1/raw"]).argmax(dim=1) == test["label"]).double().mean()
    assert rows[0].values["top1"] == pytest.approx(100 * float(right), abs=0.3)
    assert rows[0].settings == {"C": 0.5}


def test_of_several_strengths_the_held_out_samples_choose(tmp_path: Path) -> None:
    network = small_network()
    rows = run(tmp_path, network, C=[1.0, 1e-9])
    assert rows[0].settings["C"] == 1.0
    assert 0 < rows[0].settings["held_out_top1"] <= 100
    assert rows[0].values == run(tmp_path, network, C=[1.0])[0].values, (
        "solved again on all samples"
    )


def test_too_few_steps_are_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, max_iter=1)
    told = [line for line in capsys.readouterr().err.splitlines() if "evaluation:" in line]
    assert len(told) == 1
    assert "was not solved within max_iter 1 for layer1/raw" in told[0]


def test_a_single_sample_of_every_class_leaves_none_to_choose_by(tmp_path: Path) -> None:
    rows = run(tmp_path, labelled_part=1e-6)
    assert np.isfinite(rows[0].values["top1"])
    with pytest.raises(UserError, match="none can be held out to choose C by"):
        run(tmp_path, labelled_part=1e-6, C=[1.0, 2.0])


@pytest.mark.parametrize(
    "wrong", [{"C": []}, {"C": [0.0]}, {"held_out": 0.0}, {"max_iter": 0}, {"batch_size": 0}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="LogisticRegression needs at least one C"):
        LogisticRegression(**wrong)
