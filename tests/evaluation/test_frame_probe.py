"""Every 10 ms of an utterance is a sample."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small import same_weights, small_trainer, weights
from sounds import write_librispeech

from blocklearn import Batch, BlockwiseModule, RecurrentContext, TemporalInfoNCE, UserError
from blocklearn.data import LibriSpeech
from blocklearn.evaluation.fine_tune import run_fine_tune
from blocklearn.evaluation.frame_probe import FrameClassifiers, last_frames, run_frame_probe
from blocklearn.evaluation.probe_settings import ProbeSettings

CONTEXT = partial(TemporalInfoNCE, context=partial(RecurrentContext, hidden=12))
SETTINGS = ProbeSettings(
    epochs=3, lr=0.05, batch_size=1, augment=False, optimizer="adam", lr_schedule="constant"
)


def speech_network() -> BlockwiseModule:
    torch.manual_seed(0)
    blocks = [*([f"conv{k}"] for k in range(1, 6)), []]
    objectives: list[Any] = [None] * 5 + [CONTEXT]
    kwargs = {"channels": 16}
    return BlockwiseModule(
        TemporalInfoNCE, "gim_speech", blocks, objectives=objectives, backbone_kwargs=kwargs
    )


def utterance(samples: int, labels: int, index: int = 0) -> Batch:
    sound = torch.randn(1, 1, samples, generator=torch.Generator().manual_seed(index))
    return Batch([sound], torch.arange(labels).remainder(41).unsqueeze(0), torch.tensor([index]))


def test_a_frame_is_the_mean_of_its_positions_counted_from_the_end() -> None:
    values = torch.arange(10.0).reshape(1, 1, 10)
    assert last_frames(values, 4, 2).tolist() == [[[3.5, 7.5]]]
    assert last_frames(values, 4, 3).tolist() == [
        [[0.5, 3.5, 7.5]]
    ]  # the first frame has two positions only
    assert last_frames(values, 4, 9).shape == (1, 1, 3)
    assert last_frames(values, 1, 3).tolist() == [[[7, 8, 9]]]


def test_labels_belong_to_the_last_positions_of_every_feature() -> None:
    network = speech_network()
    batch = utterance(4800, labels=27)  # 30 frames of sound
    features, label = FrameClassifiers(network, 41, SETTINGS).labelled_features(batch)
    specs = network.feature_specs()
    assert [spec.key for spec in specs] == [*(f"conv{k}/raw" for k in range(1, 6)), "conv5/context"]
    assert [feature.shape for feature in features] == [(27, 16)] * 5 + [(27, 12)]
    assert torch.equal(label, batch.label[0])
    with torch.no_grad():
        plain = [values[0] for values, _ in network.frame_features(batch.views[0])]
    for feature, values, group in zip(features, plain, (32, 8, 4, 2, 1, 1), strict=True):
        for frame in (0, 13, 26):
            end = values.shape[1] - (26 - frame) * group
            torch.testing.assert_close(feature[frame], values[:, end - group : end].mean(dim=1))


@pytest.mark.parametrize("labels", [128, 129])
def test_a_window_has_as_many_frames_as_its_length_says(labels: int) -> None:
    """1.28 s: the first module makes 4095 positions, one short of 128 whole frames."""
    probe = FrameClassifiers(speech_network(), 41, SETTINGS)
    if labels == 128:
        assert len(probe.labelled_features(utterance(20480, labels))[1]) == 128
        return
    with pytest.raises(
        UserError,
        match="sample 7: conv1/raw has 128 frames of 160 samples, but there are 129 labels",
    ):
        probe.labelled_features(utterance(20480, labels, index=7))


def test_positions_that_do_not_fit_a_frame_are_refused() -> None:
    probe = FrameClassifiers(speech_network(), 41, SETTINGS, frame_samples=80)
    with pytest.raises(UserError, match="conv5/raw has a position every 160 samples"):
        probe.labelled_features(utterance(4800, labels=50))


def test_phones_are_read_off_an_untrained_network_and_leave_it_as_it_was(tmp_path: Path) -> None:
    network = speech_network()
    before = weights(network)
    runs: list[int] = []
    network.walked[0].stages[0].register_forward_hook(lambda *_: runs.append(1))
    data = LibriSpeech(write_librispeech(tmp_path), target="phone", num_workers=0)
    rows = run_frame_probe(network, data, SETTINGS, small_trainer(tmp_path, max_epochs=3))
    assert [(row.stage, row.index, row.feature) for row in rows] == [
        *((f"conv{k}", k, "raw") for k in range(1, 6)),
        ("conv5", 5, "context"),
    ]
    # four phones are spoken, each by a tone of its own
    assert max(row.values["top1"] for row in rows) > 50
    hits = rows[0].values["top1"] * 2 * 150 / 100
    assert hits == pytest.approx(round(hits)), "of all 300 test frames"
    assert len(runs) == 3 * 6 + 2, "six utterances an epoch, anew in each, two for the test"
    assert same_weights(before, weights(network))
    assert all(p.grad is None for p in network.parameters())


def test_frame_labels_are_not_fine_tuned_on(tmp_path: Path) -> None:
    data = LibriSpeech(write_librispeech(tmp_path), target="phone", num_workers=0)
    settings = ProbeSettings(epochs=1)
    with pytest.raises(UserError, match="the target phone has one per frame"):
        run_fine_tune(speech_network(), data, settings, small_trainer(tmp_path))
