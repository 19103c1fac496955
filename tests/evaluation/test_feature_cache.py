import os
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_network, small_trainer

from blocklearn.data import Digits
from blocklearn.data.images.digits import load_digits
from blocklearn.evaluation import KNN, Evaluation, LinearProbe, LogisticRegression, Row
from blocklearn.evaluation.feature_cache import FeatureCache
from blocklearn.evaluation.probe_settings import ProbeSettings


def run(evaluation: Evaluation, network: Any, folder: Path, **changes: Any) -> list[Row]:
    torch.manual_seed(0)
    how = {"epochs": 1, "batch_size": 64, "augment": False, "feature_cache": str(folder / "cache")}
    settings = ProbeSettings(**{**how, **changes})
    evaluation.under(settings, lambda epochs: small_trainer(folder, max_epochs=epochs))
    data = Digits()
    data.setup("test")
    return evaluation.run(network, data)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "cache").iterdir())


def test_the_second_evaluation_does_not_run_the_network(tmp_path: Path) -> None:
    network = small_network()
    first = run(KNN(k=[5]), network, tmp_path)
    assert [path.suffix for path in files(tmp_path)] == [".safetensors"] * 2
    network.walked[0].stages[0].register_forward_hook(lambda *_: pytest.fail("computed again"))
    assert run(KNN(k=[5]), network, tmp_path) == first
    run(LinearProbe(), network, tmp_path)
    run(LinearProbe(lrs=[0.1, 0.01]), network, tmp_path)
    run(LogisticRegression(max_iter=2000), network, tmp_path)
    assert len(files(tmp_path)) == 2


def test_a_probe_of_kept_features_is_that_of_computed_ones(tmp_path: Path) -> None:
    network = small_network()
    first = run(LinearProbe(), network, tmp_path)
    assert run(LinearProbe(), network, tmp_path) == first
    plain = run(KNN(k=[5]), network, tmp_path, feature_cache=None)
    assert run(KNN(k=[5]), network, tmp_path) == plain


def test_other_weights_labels_and_kinds_have_files_of_their_own(tmp_path: Path) -> None:
    network = small_network()
    run(KNN(k=[5]), network, tmp_path)
    torch.manual_seed(5)
    run(KNN(k=[5]), small_network(), tmp_path)
    assert len(files(tmp_path)) == 4
    run(KNN(k=[5], features=["raw"]), network, tmp_path)
    assert len(files(tmp_path)) == 6
    run(KNN(k=[5]), network, tmp_path, labelled_part=0.5)
    assert len(files(tmp_path)) == 7, "the test samples are the same"


def test_a_recipe_and_a_size_of_its_own_are_another_name() -> None:
    network = small_network()
    cache = FeatureCache("somewhere", network)
    names = {
        cache.name(data, "test", data.test_samples())
        for data in (Digits(), Digits(image_size=24), Digits(), Digits(num_workers=1))
    }
    assert len(names) == 2


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_a_damaged_file_is_told_and_computed_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: bytes | None
) -> None:
    network = small_network()
    first = run(KNN(k=[5]), network, tmp_path)
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    for path, content in whole.items():
        path.write_bytes(content[:-7] if damage is None else damage)
    capsys.readouterr()
    assert run(KNN(k=[5]), network, tmp_path) == first
    assert capsys.readouterr().err.count("cannot be used and is computed anew") == 2
    assert {path: path.read_bytes() for path in files(tmp_path)} == whole


def test_an_image_that_was_changed_is_another_name(tmp_path: Path) -> None:
    from blocklearn.data import ImageFolder

    root, cache = tmp_path / "a", FeatureCache("somewhere", small_network())
    for index in range(8):
        path = root / "train" / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        load_digits()[0][index][0].save(path)
    names = []
    for _ in range(2):
        data = ImageFolder(root, image_size=32)
        names.append(cache.name(data, "training", data.probe_samples()))
    os.utime(data.probe_samples().paths[0], (1, 1))  # pyright: ignore
    data = ImageFolder(root, image_size=32)
    names.append(cache.name(data, "training", data.probe_samples()))
    assert names[0] == names[1] != names[2]
