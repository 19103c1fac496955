"""A block without stages of its own: an objective on the frozen output of the block before."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small import OBJECTIVE, same_weights, small_data, small_network, small_trainer, weights

from blocklearn import (
    Batch,
    BlockwiseModule,
    GaussianNoise,
    RecurrentContext,
    Supervised,
    TemporalInfoNCE,
    UserError,
)
from blocklearn.blocks.settings import BlockSettings
from blocklearn.training.contract import Carried, Clock

SPEECH: dict[str, Any] = {
    "objective": partial(TemporalInfoNCE, steps=2, negatives=3),
    "backbone": "gim_speech_8k",
    "backbone_kwargs": {"channels": 6},
    "blocks": [["conv1"], ["conv2"], ["conv3"], ["conv4"], ["conv5"], []],
    "objectives": [None] * 5
    + [partial(TemporalInfoNCE, steps=2, negatives=3, context=partial(RecurrentContext, hidden=4))],
}
ONLINE: dict[str, Any] = {
    "blocks": [["layer1"], ["layer2"], ["layer3"], ["layer4"], []],
    "objectives": [None] * 4 + [partial(Supervised, num_classes=4)],
}


def sound() -> Batch:
    return Batch([torch.randn(3, 1, 1600)], torch.zeros(3), torch.arange(3))


def walk(network: BlockwiseModule, batch: Batch) -> list[Any]:
    carried = Carried(batch.views)
    outputs = []
    for block in network.walked:
        outputs.append(block.local_step(carried, batch, Clock(0)))
        carried = outputs[-1].carried
    return outputs


def test_the_autoregressive_module_learns_gru_and_predictor_alone() -> None:
    network = BlockwiseModule(**SPEECH)
    walk(network, sound())[-1].loss.backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None}
    assert reached == {
        name for name, _ in network.named_parameters() if name.startswith("blocks.5.objective.")
    }
    assert {name.split(".")[3] for name in reached} == {"context", "predictor"}


def test_it_takes_over_the_spec_and_hands_its_input_on() -> None:
    network = BlockwiseModule(**SPEECH)
    *_, before, empty = walk(network, sound())
    assert network.walked[5].spec == network.walked[4].spec
    assert torch.equal(before.carried.views[0], empty.carried.views[0])
    assert network.walked[5].stage_names == "behind conv5"


def test_its_context_is_probed_beside_the_stages() -> None:
    network = BlockwiseModule(**SPEECH)
    keys = [spec.key for spec in network.feature_specs()]
    assert keys == [*(f"conv{k}/raw" for k in range(1, 6)), "conv5/context"]
    frames = list(network.frame_features(sound().views[0]))
    assert [(tuple(x.shape[:2]), hop) for x, hop in frames] == [
        ((3, 6), h) for h in (5, 10, 20, 40, 80)
    ] + [((3, 4), 80)]
    for pooled, (framewise, _) in zip(
        network.stage_features(sound().views[0]), frames, strict=True
    ):
        assert pooled.shape == framewise.shape[:2]


def test_cpc_publishes_the_same_features_as_greedy_infomax() -> None:
    end_to_end = BlockwiseModule(
        **SPEECH | {"blocks": "end_to_end", "objectives": SPEECH["objectives"][5:]}
    )
    assert end_to_end.feature_specs() == BlockwiseModule(**SPEECH).feature_specs()


def test_an_online_classifier_leaves_the_network_as_it_would_be_without(tmp_path: Path) -> None:
    trained = []
    for changes in ({}, ONLINE):
        torch.manual_seed(0)
        network = small_network(**changes)
        small_trainer(tmp_path, max_steps=2).fit(network, datamodule=small_data())
        trained.append(weights(network.blocks[:4]))
    assert same_weights(*trained)


def test_no_noise_is_added_where_nothing_was_computed() -> None:
    network = small_network(**ONLINE, noise=GaussianNoise())
    assert [block.noise is None for block in network.walked] == [False] * 4 + [True]


def test_settings_of_a_block_that_there_is_not_are_refused() -> None:
    with pytest.raises(UserError, match="settings for block5, the network has block1, block2"):
        small_network(per_block={"block5": BlockSettings(objective=OBJECTIVE)})


def test_two_contexts_on_one_stage_have_names_of_their_own() -> None:
    network = BlockwiseModule(**SPEECH | {"objective": SPEECH["objectives"][5]})
    keys = [spec.key for spec in network.feature_specs()]
    assert len(set(keys)) == len(keys)
    assert keys[-2:] == ["conv5/context", "conv5.block6/context"]
    assert list(network.published_tensors())[-2:] == ["conv5", "conv5.block6"]
