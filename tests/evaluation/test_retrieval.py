"""Retrieval, against a plain loop and scikit-learn's average precision."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small import same_weights, small_data, small_network, small_trainer, weights
from torch import Tensor

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.data import Digits
from blocklearn.evaluation import Retrieval
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.evaluation.retrieval import answerable


def plain(features: Tensor, label: Tensor, tops: tuple[int, ...]) -> dict[str, float]:
    """Query by query, as the definitions say it."""
    from sklearn.metrics import average_precision_score

    precisions: list[float] = []
    hits: dict[int, list[bool]] = {k: [] for k in tops}
    for query in range(len(label)):
        others = [n for n in range(len(label)) if n != query]
        same = [bool(label[n] == label[query]) for n in others]
        if not any(same):
            continue
        cosines = [
            float(torch.cosine_similarity(features[query], features[n], dim=0)) for n in others
        ]
        precisions.append(float(average_precision_score(same, cosines)))
        ranked = [same[place] for place in np.argsort(cosines)[::-1]]
        for k in tops:
            hits[k].append(any(ranked[:k]))
    return {
        "map": 100 * float(np.mean(precisions)),
        **{f"hit{k}": 100 * float(np.mean(found)) for k, found in hits.items()},
    }


@pytest.mark.parametrize("chunk_size", [1, 7, 500])
def test_the_scores_are_those_of_a_plain_loop_and_of_scikit_learn(chunk_size: int) -> None:
    """The last class has one member: it is no query, and yet among what is ranked."""
    generator = torch.Generator().manual_seed(0)
    label = torch.cat([torch.randint(5, (60,), generator=generator), torch.tensor([9])])
    features = torch.randn(61, 6, generator=generator) + 0.5 * label[:, None] % 3
    found = Retrieval(top=[1, 3, 10], chunk_size=chunk_size).scores(features, label)
    assert found == pytest.approx(plain(features, label, (1, 3, 10)), rel=1e-5)
    assert answerable(label).tolist() == list(range(60))


def test_every_feature_has_the_scores_of_the_test_samples(tmp_path: Path) -> None:
    network, data = small_network(), Digits(num_workers=0)
    data.setup("test")
    before = weights(network)
    looked = Retrieval().under(ProbeSettings(), lambda epochs: small_trainer(tmp_path))
    rows = looked.run(network, data)
    assert same_weights(before, weights(network))
    assert [(row.stage, row.feature) for row in rows] == [
        (f"layer{k}", feature) for k in range(1, 5) for feature in ("raw", "head")
    ]
    columns = collect_features(network, data.test_dataloader(), torch.device("cpu")).columns
    of_third = looked.scores(columns["layer3/raw"], columns["label"])
    assert rows[4].values == pytest.approx(of_third)
    assert rows[4].settings == {"queries": 360}


class AllOfOneKind(Digits):
    """Test samples under the labels that are given."""

    def __init__(self, labels: list[int]) -> None:
        super().__init__(num_workers=0, batch_size=16)
        self.told = labels

    def test_samples(self) -> object:
        images = super().test_samples()
        return [(images[n][0], label) for n, label in enumerate(self.told)]


def ready(folder: Path) -> Retrieval:
    return Retrieval().under(ProbeSettings(), lambda epochs: small_trainer(folder))


def test_features_that_have_collapsed_score_by_chance_in_a_set_sorted_by_class(
    tmp_path: Path,
) -> None:
    network, data = small_network(), AllOfOneKind([n // 32 for n in range(96)])
    with torch.no_grad():
        for parameter in network.walked[0].stages.parameters():
            parameter.zero_()
        for norm in network.walked[0].stages.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.bias.fill_(1)
    data.setup("test")
    rows = ready(tmp_path).run(network, data)
    assert rows[0].values["map"] == pytest.approx(100 * 31 / 95, abs=5)
    assert rows[0].values["hit1"] < 50, "the files' order would give more than 60"


def test_queries_without_a_partner_are_left_out_and_their_number_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = AllOfOneKind([0, 0, 1, 1, 1, 2, 3])
    data.setup("test")
    rows = ready(tmp_path).run(small_network(), data)
    assert rows[0].settings == {"queries": 5}
    assert "leaves out 2 of 7 queries" in capsys.readouterr().err
    with pytest.raises(UserError, match="no two test samples of digits are of one class"):
        ready(tmp_path).run(small_network(), AllOfOneKind([0, 1, 2]))
    with pytest.raises(UserError, match="1 of 3 test samples of digits have no label"):
        ready(tmp_path).run(small_network(), AllOfOneKind([0, 0, -1]))


def test_it_is_chosen_by_its_name_and_ends_in_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "test",
        "--evaluation=Retrieval",
        "--evaluation.top=[1,5]",
        "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8]}",
        f"--trainer.default_root_dir={tmp_path}",
        "--data.num_workers=0",
        "--wandb.mode=disabled",
        "--trainer.accelerator=cpu",
    ]
    assert main(arguments) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Retrieval on digits, %" in told
    assert all(name in told for name in ("mAP", "top-1 hit", "top-5 hit"))
    results = json.loads((tmp_path / "retrieval" / "results.json").read_text())
    assert (results["values"], results["main"]) == (["map", "hit1", "hit5"], "map")


@pytest.mark.parametrize("wrong", [{"top": []}, {"top": [0]}, {"chunk_size": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Retrieval needs at least one top"):
        Retrieval(**wrong)  # pyright: ignore[reportArgumentType]


def test_labels_of_frames_are_refused(tmp_path: Path) -> None:
    data = small_data()
    data.frame_labels = True
    with pytest.raises(UserError, match="Retrieval needs one label per sample"):
        Retrieval().run(small_network(), data)
