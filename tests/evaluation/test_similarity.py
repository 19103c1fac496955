"""How alike the features of two networks are."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small import NARROW, same_weights, small_network, small_trainer, weights

from blocklearn import BlockwiseModule, UserError
from blocklearn.__main__ import main
from blocklearn.data import Digits
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.evaluation import (
    DriftingGratings,
    Evaluation,
    Gallery,
    LinearProbe,
    Reconstruction,
    Retrieval,
    Similarity,
)
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.metrics.linear_cka import linear_cka


def ready() -> Digits:
    data = Digits()
    data.prepare_data()
    data.setup("test")
    return data


def saved(network: BlockwiseModule, folder: Path) -> str:
    trainer = small_trainer(folder)
    trainer.strategy.connect(network)
    trainer.save_checkpoint(folder / "other.ckpt")
    return str(folder / "other.ckpt")


def similarity(folder: Path, to: str, **changes: Any) -> Similarity:
    made = Similarity(to, **{"samples": 100, **changes})
    return made.under(ProbeSettings(), lambda epochs: small_trainer(folder, max_epochs=epochs))


def test_a_network_is_like_itself_and_stays_as_it_is(tmp_path: Path) -> None:
    network = small_network().eval()
    before = weights(network)
    rows = similarity(tmp_path, saved(network, tmp_path)).run(network, ready())
    assert same_weights(before, weights(network))
    assert [(row.stage, row.feature) for row in rows] == [(f"layer{k}", "raw") for k in range(1, 5)]
    assert [row.values["cka"] for row in rows] == pytest.approx([1.0] * 4)
    assert rows[-1].values["cka_last"] == pytest.approx(1.0)
    assert rows[0].values["cka_last"] < 0.999


def test_values_and_matrix_are_the_cka_of_the_features_that_are_tested(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = small_network(blocks=[["layer1"], ["layer2", "layer3", "layer4"]])
    torch.manual_seed(1)
    other, data = small_network().eval(), ready()
    looked = similarity(tmp_path, saved(other, tmp_path))
    rows = looked.run(network, data)
    columns = [
        collect_features(one, data.test_dataloader(), torch.device("cpu"), ["raw"]).columns
        for one in (network, other)
    ]
    chosen = evenly_spaced(360, 100)
    own, theirs = ({key: c[chosen] for key, c in one.items()} for one in columns)
    for k, row in enumerate(rows, 1):
        here = own[f"layer{k}/raw"]
        assert row.values["cka"] == pytest.approx(linear_cka(here, theirs[f"layer{k}/raw"]))
        assert row.values["cka_last"] == pytest.approx(linear_cka(here, theirs["layer4/raw"]))
    assert {path.name for path in looked.leave(tmp_path)} == {"cka.png", "cka.csv"}
    with (tmp_path / "cka.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["", "layer1", "layer2", "layer3", "layer4"]
    assert float(lines[2][4]) == pytest.approx(rows[1].values["cka_last"], abs=1e-6)


def test_a_stage_that_the_other_network_does_not_have_is_compared_with_its_last(
    tmp_path: Path,
) -> None:
    shape = {"layers": [1, 1, 1], "channels": [8, 8, 16]}
    shorter = small_network(backbone="gim_resnet34", backbone_kwargs=shape).eval()
    rows = similarity(tmp_path, saved(shorter, tmp_path)).run(small_network(), ready())
    assert ["cka" in row.values for row in rows] == [True, True, True, False]
    assert all(0 <= row.values["cka_last"] <= 1 + 1e-6 for row in rows)


def test_a_constant_feature_has_no_cka(tmp_path: Path) -> None:
    network = small_network().eval()
    path = saved(network, tmp_path)
    with torch.no_grad():
        for parameter in network.blocks[3].parameters():
            parameter.zero_()
    rows = similarity(tmp_path, path).run(network, ready())
    assert [bool(row.values) for row in rows] == [True, True, True, False]


@pytest.mark.parametrize("wrong", [{"samples": 3}, {"batch": 3}])
def test_a_value_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Similarity needs"):
        Similarity("other.ckpt", **wrong)


def test_the_command_prints_it_and_a_missing_checkpoint_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(to: str) -> list[str]:
        return [
            *("test", "--evaluation=Similarity", f"--evaluation.to={to}", NARROW[0]),
            *(f"--trainer.default_root_dir={tmp_path}", "--data.num_workers=0"),
            *("--wandb.mode=disabled", "--trainer.accelerator=cpu"),
        ]

    assert main(command(str(tmp_path / "none.ckpt"))) == 1
    assert f"there is no file {tmp_path / 'none.ckpt'}" in capsys.readouterr().err
    assert main(command(saved(small_network(), tmp_path))) == 0
    assert "Linear CKA with another network on digits" in " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "similarity" / "results.json").read_text())
    assert found["values"] == ["cka", "cka_last"]
    assert (tmp_path / "similarity" / "cka.png").is_file()


def test_the_other_network_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["test", "--evaluation=Similarity", "--wandb.mode=disabled"])
    assert "error: to is needed, and is not given" in capsys.readouterr().err


@pytest.mark.parametrize(
    "evaluation",
    [Similarity("other.ckpt"), Retrieval(), Gallery(), Reconstruction(), DriftingGratings()],
    ids=lambda evaluation: evaluation.kind,
)
def test_what_learns_from_no_labels_is_not_called_after_a_part_of_them(
    tmp_path: Path, evaluation: Evaluation
) -> None:
    protocol = ProbeSettings(labelled_part=0.2)
    evaluation.under(protocol, lambda epochs: small_trainer(tmp_path))
    assert (evaluation.name(), evaluation.full_title()) == (evaluation.kind, evaluation.title)
    probe = LinearProbe().under(protocol, lambda epochs: small_trainer(tmp_path))
    assert probe.name() == "probe_0.2"
    assert probe.full_title().endswith("with 20% of the labels")


def test_another_network_that_cannot_take_the_data_is_refused(tmp_path: Path) -> None:
    shape = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "in_chans": 1}
    path = saved(small_network(backbone_kwargs=shape), tmp_path)
    told = r"the network of .*other\.ckpt: backbone: resnet18 takes 1 channels"
    with pytest.raises(UserError, match=told):
        similarity(tmp_path, path).run(small_network(), ready())


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"other\.ckpt was not written by blocklearn fit"):
        similarity(tmp_path, str(tmp_path / "other.ckpt")).run(small_network(), ready())
