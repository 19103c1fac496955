import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.data.images.digits import load_digits
from blocklearn.evaluation import KNN
from blocklearn.evaluation.probe_settings import ProbeSettings


def plain_vote(query: torch.Tensor, known: torch.Tensor, label: torch.Tensor, k: int) -> int:
    """Neighbour by neighbour, as the definition says it."""
    cosines = [float(query @ other / (query.norm() * other.norm())) for other in known]
    nearest = sorted(range(len(known)), key=lambda n: -cosines[n])[:k]
    votes: dict[int, float] = {}
    for n in nearest:
        votes[int(label[n])] = votes.get(int(label[n]), 0) + math.exp(cosines[n] / 0.07)
    return max(votes, key=lambda name: votes[name])


def test_the_votes_are_those_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    known, queries = (torch.randn(n, 5, generator=generator).double() for n in (40, 15))
    label = torch.randint(4, (40,), generator=generator)
    unit = torch.nn.functional.normalize
    found = KNN(k=[1, 3, 10, 100]).votes(unit(queries, dim=1) @ unit(known, dim=1).T, label, 4)
    for k, winners in found.items():
        assert winners.tolist() == [plain_vote(query, known, label, k) for query in queries]


def test_every_feature_has_a_value_for_every_k_and_the_network_stays_as_it_is(
    tmp_path: Path,
) -> None:
    network = small_network()
    before = weights(network)
    evaluation = KNN(k=[5, 20]).under(
        ProbeSettings(), lambda epochs: small_trainer(tmp_path, max_epochs=epochs)
    )
    rows = evaluation.run(network, small_data(num_images=48, num_classes=2))
    assert [(row.stage, row.feature) for row in rows] == [
        (f"layer{k}", feature) for k in range(1, 5) for feature in ("raw", "head")
    ]
    assert all(row.values.keys() == {"k5", "k20"} for row in rows)
    assert all(0 <= value <= 100 for row in rows for value in row.values.values())
    assert same_weights(before, weights(network))
    again = evaluation.run(network, small_data(num_images=48, num_classes=2))
    assert again == rows, "nothing is drawn"


def test_it_is_chosen_by_its_name_and_ends_in_a_table_a_picture_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "test",
        "--evaluation=KNN",
        "--evaluation.k=[10,20]",
        "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8]}",
        f"--trainer.default_root_dir={tmp_path}",
        "--data.num_workers=0",
        "--wandb.mode=disabled",
        "--trainer.accelerator=cpu",
    ]
    assert main(arguments) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Nearest neighbours on digits, accuracy in %" in told
    assert "k = 10" in told
    results = json.loads((tmp_path / "knn" / "results.json").read_text())
    assert results["evaluation"] == "KNN"
    assert results["values"] == ["k10", "k20"]
    assert results["main"] == "k20"
    assert results["settings"]["temperature"] == 0.07
    assert max(row["k20"] for row in results["rows"]) > 30, "an untrained network tells digits"
    assert (tmp_path / "knn" / "accuracy_by_block.png").is_file()
    assert main(["compare", f"a={tmp_path / 'knn'}", "--out", str(tmp_path / "c.png")]) == 0
    assert "k = 20 accuracy in %" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["KNN", "FineTune", "LinearProbe", "blocklearn.evaluation.KNN"])
def test_it_is_chosen_beside_a_checkpoints_own_configuration(tmp_path: Path, name: str) -> None:
    """Which names no class that is not known; those of evaluations are."""
    run = shutil.copytree(Path(__file__).parents[1] / "old" / "run_0.1", tmp_path / "run")
    checkpoint = f"--model.checkpoint={run / 'checkpoints' / 'last.ckpt'}"
    quick = ["--probe.epochs=1", "--data.num_workers=0", "--wandb.mode=disabled"]
    assert main(["test", checkpoint, f"--evaluation={name}", *quick]) == 0


@pytest.mark.parametrize("wrong", [{"k": []}, {"k": [0]}, {"temperature": 0.0}, {"batch_size": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="KNN needs at least one k"):
        KNN(**wrong)  # pyright: ignore[reportArgumentType]


def test_labels_of_frames_are_refused(tmp_path: Path) -> None:
    from sounds import write_librispeech

    from blocklearn.data import LibriSpeech

    data = LibriSpeech(write_librispeech(tmp_path), target="phone", num_workers=0)
    with pytest.raises(UserError, match="KNN needs one label per sample, the target phone has"):
        KNN().run(small_network(), data)


@pytest.mark.parametrize("k", [1, 10, 20, 200])
def test_it_is_scikit_learns_classifier_under_the_same_weights(k: int) -> None:
    """On the pixels of the digits, in float64."""
    from sklearn.neighbors import KNeighborsClassifier

    train, test = (samples.pixels.reshape(len(samples), -1) for samples in load_digits())
    label, true = (torch.as_tensor(samples.labels) for samples in load_digits())
    theirs = KNeighborsClassifier(
        k, weights=lambda distance: np.exp((1 - distance) / 0.07), metric="cosine"
    ).fit(train.astype(np.float64), label.numpy())
    known, asked = (
        torch.nn.functional.normalize(torch.as_tensor(part, dtype=torch.float64), dim=1)
        for part in (train, test)
    )
    found = KNN(k=[k]).votes(asked @ known.T, label, 10)[k]
    assert found.tolist() == theirs.predict(test.astype(np.float64)).tolist()
    assert (found == true).double().mean() > 0.9
