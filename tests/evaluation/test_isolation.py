"""The user's proof must find a leak where there is one."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from small import OBJECTIVE, small_batch, small_network
from torch import nn

from blocklearn import JointEmbedding, Patches, PatchInfoNCE, PixelCNN, StageSpec
from blocklearn.__main__ import main
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives.objective import LocalBatch, ObjectiveOutput
from blocklearn.reporting.tables import print_reach
from blocklearn.training.contract import Carried

SHARED = nn.Parameter(torch.ones(1))


class Sharing(JointEmbedding):
    """An objective that is wrong: its instances share a parameter."""

    def __init__(self, spec: StageSpec) -> None:
        super().__init__(spec, **OBJECTIVE.keywords)
        self.shared = SHARED

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        return super().forward(replace(local, features=[self.shared * v for v in local.features]))


class Idle(JointEmbedding):
    """An objective with a parameter that its loss does not use."""

    def __init__(self, spec: StageSpec) -> None:
        super().__init__(spec, **OBJECTIVE.keywords)
        self.idle = nn.Parameter(torch.ones(1))


def test_a_sound_network_has_a_diagonal_of_norms() -> None:
    rows = measure_reach(small_network(noise="all"), small_batch())
    for i, row in enumerate(rows):
        assert [norm is not None for norm in row.norms] == [i == j for j in range(4)]
        assert row.norms[i] is not None
        assert row.norms[i] > 0  # pyright: ignore[reportOptionalOperand]
        assert row.leaks_into == []
        assert row.unreached == []


def test_a_network_on_patches_and_an_objective_without_a_stage_are_measured() -> None:
    greedy = partial(PatchInfoNCE, steps=1, negatives=4)
    cpc = partial(greedy, context=partial(PixelCNN, layers=1))
    network = small_network(
        objective=greedy,
        objectives=[None] * 4 + [cpc],
        blocks=[["layer1"], ["layer2"], ["layer3"], ["layer4"], []],
        patches=Patches(size=16, stride=8, grid=3),
    )
    rows = measure_reach(network, small_batch())
    for i, row in enumerate(rows):
        assert [norm is not None for norm in row.norms] == [i == j for j in range(5)]
        assert row.unreached == []


def test_a_norm_is_that_of_all_gradients_of_the_block() -> None:
    network, batch = small_network(), small_batch()
    expected = measure_reach(network, batch)[0].norms[0]
    network.walked[0].local_step(Carried(batch.views), batch).loss.backward()
    total = sum(
        float(p.grad.double().pow(2).sum())
        for p in network.walked[0].parameters()
        if p.grad is not None
    )
    assert total**0.5 == pytest.approx(expected, rel=1e-5)


def test_it_leaves_weights_and_gradients_as_they_were() -> None:
    network = small_network()
    before = {name: p.clone() for name, p in network.named_parameters()}
    measure_reach(network, small_batch())
    assert all(
        torch.equal(p, before[name]) and p.grad is None for name, p in network.named_parameters()
    )


def test_a_leak_is_found_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    rows = measure_reach(small_network(objective=Sharing), small_batch())
    assert rows[1].leaks_into == [0, 2, 3]
    assert not print_reach(rows)
    assert "LEAK: the loss of block2 reaches the parameters of block1" in capsys.readouterr().out


def test_a_parameter_without_gradient_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    rows = measure_reach(small_network(objective=Idle), small_batch())
    assert all(row.unreached == ["objective.idle"] for row in rows)
    assert print_reach(rows)
    assert (
        "block1: 1 of its own parameters get no gradient: objective.idle" in capsys.readouterr().out
    )


DIGITS = [
    "isolation",
    "--config=bt_digits.yaml",
    "--model.network.backbone_kwargs={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}",
]


def test_the_command_shows_the_matrix_of_the_users_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(DIGITS) == 0
    printed = capsys.readouterr().out
    assert "loss of block4" in printed
    assert "Isolated: every loss reaches its own block and no other." in printed
    assert main([*DIGITS, "--model.blocks=[[layer1,layer2],[layer2,layer3],[layer3,layer4]]"]) == 0
    assert (
        "but for stages shared with the block before (block2, block3)." in capsys.readouterr().out
    )
    assert not list(tmp_path.iterdir()), "it leaves no files"


def test_the_command_ends_with_an_error_where_there_is_a_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert partial(main, [*DIGITS, f"--model.objective={Sharing.__module__}.Sharing"])() == 1
    assert "a gradient crosses a border between blocks" in capsys.readouterr().err
