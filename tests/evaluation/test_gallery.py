from pathlib import Path

import pytest
import torch
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.data import Digits
from blocklearn.evaluation import Gallery
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.pictures.figure import told


def gallery(tmp_path: Path, data: object = None, **settings: object) -> tuple[Gallery, list]:
    trainer = small_trainer(tmp_path)
    chosen = Gallery(**{"samples": 40, "queries": 2, "neighbours": 3, **settings})
    chosen.under(ProbeSettings(), lambda epochs: trainer)
    data = data or Digits()
    data.prepare_data()
    data.setup("test")
    torch.manual_seed(0)
    network = small_network()
    before = weights(network)
    rows = chosen.run(network, data)
    assert same_weights(before, weights(network))
    return chosen, rows


def test_every_stage_has_its_figures_and_both_pictures_are_left(tmp_path: Path) -> None:
    chosen, rows = gallery(tmp_path)
    assert [row.stage for row in rows] == ["layer1", "layer2", "layer3", "layer4"]
    assert all(0 <= value <= 100 for row in rows for value in row.values.values())
    paths = chosen.leave(tmp_path)
    assert [path.name for path in paths] == ["map.png", "neighbours.png"]
    assert told(paths[0])[0] == "t-SNE of 40 test samples of digits, by stage"
    assert told(paths[1])[1].startswith(
        "2 samples and the 3 that each of 4 stages finds most alike"
    )


def test_precision_is_the_share_of_neighbours_of_the_same_class() -> None:
    chosen = Gallery(samples=12, neighbours=2)
    chosen._maps, chosen._nearest = [], []
    angle = torch.arange(12) * 0.01 + (torch.arange(12) // 6) * 2.0
    features = torch.stack([angle.cos(), angle.sin()], dim=1)
    chosen._label = torch.arange(12) // 6
    assert chosen._look(features)["precision"] == 100
    chosen._label = torch.arange(12) % 2
    # the nearest two of a sample in the middle of a row are its neighbours, of the other class; at
    # the four ends one of two is of the same class
    assert chosen._look(features)["precision"] == pytest.approx(100 * 4 / 24)


def test_the_same_samples_give_the_same_map(tmp_path: Path) -> None:
    one, two = gallery(tmp_path)[0], gallery(tmp_path)[0]
    assert all((a == b).all() for a, b in zip(one._maps, two._maps, strict=True))


def test_what_cannot_be_drawn_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no feature hed; there are raw, head"):
        gallery(tmp_path, feature="hed")
    with pytest.raises(UserError, match="2 test samples are too few"):
        gallery(tmp_path, data=small_data(num_images=8))
    with pytest.raises(ValueError, match="at least 10 samples"):
        Gallery(samples=3)
