"""What nothing can be learned from is told in one line, by every evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_network, small_trainer

from blocklearn import UserError
from blocklearn.data import Digits
from blocklearn.data.images.digits import load_digits
from blocklearn.data.labelled_part import SamplesAt, read_labels
from blocklearn.evaluation import KNN, Evaluation, FineTune, LinearProbe
from blocklearn.evaluation.labels_check import check_features, check_labels
from blocklearn.evaluation.probe_settings import ProbeSettings


class Relabelled:
    """Samples under other labels.

    Args:
        samples: whose images they are.
        labels: one each.
        known: whether the labels are known without reading the samples.
    """

    def __init__(self, samples: Any, labels: Sequence[int], known: bool = True) -> None:
        self.samples, self.told = samples, list(labels)
        if known:
            self.labels = self.told

    def __len__(self) -> int:
        return len(self.told)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.samples[index][0], self.told[index]


class Few(Digits):
    """Forty training digits and twenty to test, under the labels that are given."""

    def __init__(self, train: Sequence[int], test: Sequence[int], known: bool = True) -> None:
        super().__init__(batch_size=16)
        digits = load_digits()
        self.parts = [
            Relabelled(SamplesAt(samples, range(len(labels))), labels, known)
            for samples, labels in zip(digits, (train, test), strict=True)
        ]

    def pretraining_samples(self) -> Any:
        return self.parts[0]

    def test_samples(self) -> Any:
        return self.parts[1]


GOOD = [n % 10 for n in range(40)]
EVALUATIONS = [KNN(k=[5]), LinearProbe(), FineTune()]


def run(evaluation: Evaluation, data: Digits, folder: Path, network: Any = None) -> Any:
    data.setup("test")
    settings = ProbeSettings(epochs=1, batch_size=8, augment=False)
    evaluation.under(settings, lambda epochs: small_trainer(folder, max_epochs=epochs))
    return evaluation.run(network or small_network(), data)


@pytest.mark.parametrize("evaluation", EVALUATIONS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    ("train", "test", "complaint"),
    [
        ([-1] * 40, GOOD, "40 of 40 training samples of digits have no label; name labelled"),
        (GOOD, [-1, *GOOD], "1 of 41 test samples of digits have no label"),
        ([3] * 40, GOOD, "all 40 training samples of digits are of one class, 3"),
        ([10, *GOOD], GOOD, "a training label 10, but its num_classes is 10"),
        (GOOD, [], "digits has no test samples"),
    ],
)
def test_labels_that_nothing_can_be_learned_from_are_refused(
    tmp_path: Path, evaluation: Evaluation, train: list[int], test: list[int], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        run(evaluation, Few(train, test), tmp_path)


def test_labels_that_are_known_once_the_samples_are_read_are_refused_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="40 of 40 training samples of digits have no label"):
        run(KNN(k=[5]), Few([-1] * 40, GOOD, known=False), tmp_path)


@pytest.mark.parametrize("known", [True, False])
def test_a_class_without_training_samples_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], known: bool
) -> None:
    run(KNN(k=[5]), Few([n % 8 for n in range(40)], GOOD, known), tmp_path)
    told = [line for line in capsys.readouterr().err.splitlines() if "evaluation:" in line]
    assert told == [
        "evaluation: digits has no training samples of 2 of its 10 classes (8, 9); their 8 test "
        "samples can only be wrong"
    ]


def test_which_k_are_more_than_the_training_samples_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run(KNN(k=[5, 100, 200]), Few(GOOD, GOOD), tmp_path)
    told = [line for line in capsys.readouterr().err.splitlines() if "evaluation:" in line]
    assert told == [
        "evaluation: KNN has 40 training samples, fewer than k = 100, 200; all of them vote there"
    ]
    assert all(row.values["k100"] == row.values["k200"] for row in rows)


@pytest.mark.parametrize("augment", [True, False])
def test_a_feature_that_is_nan_is_named(tmp_path: Path, augment: bool) -> None:
    network = small_network()
    with torch.no_grad():
        next(network.walked[2].parameters()).fill_(float("nan"))
    settings = ProbeSettings(epochs=1, batch_size=8, augment=augment)
    data = Few(GOOD, GOOD)
    data.setup("test")
    for evaluation in (KNN(k=[5]), LinearProbe()):
        evaluation.under(settings, lambda epochs: small_trainer(tmp_path, max_epochs=epochs))
        with pytest.raises(UserError, match="the feature layer3/raw is not finite for"):
            evaluation.run(network, data)


def test_a_single_infinity_is_found() -> None:
    values = torch.zeros(5, 3)
    values[4, 2] = float("inf")
    with pytest.raises(UserError, match="a/raw is not finite for 1 of 5 test samples of digits"):
        check_features("digits", "test", {"a/raw": values}, ["a/raw"])
    check_features("digits", "test", {"a/raw": values}, [])


def test_good_labels_pass_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    labels = [read_labels(samples) for samples in load_digits()]
    check_labels(Digits(), *labels)
    assert capsys.readouterr().err == ""
