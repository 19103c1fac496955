from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from blocklearn import UserError
from blocklearn.data import Recording, SoundSpec, WindowViews
from blocklearn.data.sound.recording import open_recording


def ramp(folder: Path, frames: int) -> Recording:
    """Sample i is i / 32768, exactly."""
    path = folder / f"{frames}.wav"
    soundfile.write(path, np.arange(frames, dtype=np.int16), 16000)
    return open_recording(path, 16000)


def views(**changes: Any) -> WindowViews:
    return WindowViews(SoundSpec(16000), **{"window": 400, "hop": 160, **changes})


def start_of(view: torch.Tensor) -> int:
    start = round(float(view[0, 0]) * 32768)
    assert torch.equal(view, torch.arange(start, start + view.shape[1]).float().div(32768)[None])
    return start


def test_training_and_probe_windows_start_at_every_multiple_of_the_hop_alike(
    tmp_path: Path,
) -> None:
    recording = ramp(tmp_path, 400 + 3 * 160 + 50)
    torch.manual_seed(0)
    for draw in (
        lambda: views().training_view(recording, 0),
        lambda: views().probe_view(recording),
    ):
        starts = torch.tensor([start_of(draw()) for _ in range(400)])
        found, counts = starts.unique(return_counts=True)
        assert found.tolist() == [0, 160, 320, 480]
        assert counts.min() > 70


def test_the_last_start_leaves_exactly_a_window(tmp_path: Path) -> None:
    assert {start_of(views().probe_view(ramp(tmp_path, 560))) for _ in range(30)} == {0, 160}
    assert {start_of(views().probe_view(ramp(tmp_path, 559))) for _ in range(30)} == {0}


def test_the_window_of_testing_lies_in_the_middle_on_a_hop(tmp_path: Path) -> None:
    recording = ramp(tmp_path, 2000)  # the middle window starts at 800
    assert start_of(views().plain_view(recording)) == 800
    assert start_of(views(hop=300).plain_view(recording)) == 600
    before = torch.get_rng_state()
    views().plain_view(recording)
    assert torch.equal(before, torch.get_rng_state())


def test_views_are_normalised_and_silence_behind_a_short_one_too(tmp_path: Path) -> None:
    views = WindowViews(SoundSpec(16000, mean=0.5, std=2.0), window=400, hop=160)
    for view in (
        views.training_view(ramp(tmp_path, 100), 0),
        views.plain_view(ramp(tmp_path, 100)),
    ):
        assert view.shape == (1, 400)
        assert torch.equal(view[0, :100], (torch.arange(100) / 32768 - 0.5) / 2)
        assert torch.equal(view[0, 100:], torch.full((300,), -0.25))


def test_a_short_recording_is_repeated(tmp_path: Path) -> None:
    view = views(short="repeat").plain_view(ramp(tmp_path, 150))
    assert torch.equal(view[0] * 32768, torch.arange(150).repeat(3)[:400].float())


def test_a_short_recording_is_refused_by_name(tmp_path: Path) -> None:
    recording = ramp(tmp_path, 399)
    with pytest.raises(
        UserError,
        match=f"{recording.path} has 399 samples at 16000 Hz, fewer than the window of 400; lower",
    ):
        views(short="error").probe_view(recording)
    assert views(short="error").probe_view(ramp(tmp_path, 400)).shape == (1, 400)


def test_a_whole_recording_is_cut_to_the_hop_and_normalised(tmp_path: Path) -> None:
    views = WindowViews(SoundSpec(16000, mean=0.5, std=2.0), window=400, hop=160)
    whole = views.whole_view(ramp(tmp_path, 160 * 3 + 159))
    assert torch.equal(whole, ((torch.arange(480) / 32768 - 0.5) / 2)[None])
    with pytest.raises(UserError, match="159.wav has 159 samples, fewer than one hop of 160"):
        views.whole_view(ramp(tmp_path, 159))


def test_a_resampled_recording_has_whole_windows(tmp_path: Path) -> None:
    path = tmp_path / "48.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 2)), 48000)
    view = views(short="error").training_view(open_recording(path, 16000), 0)
    assert view.shape == (1, 400)


@pytest.mark.parametrize("wrong", [{"window": 0}, {"hop": 0}, {"short": "stretch"}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        views(**wrong)


@pytest.mark.parametrize("frames", [40, 9])
def test_the_labels_of_a_view_begin_half_a_frame_before_its_start(
    tmp_path: Path, frames: int
) -> None:
    soundfile.write(tmp_path / "ramp.wav", np.arange(10 * frames, dtype=np.int16), 1000)
    recording = open_recording(tmp_path / "ramp.wav", 1000)
    recipe = WindowViews(SoundSpec(1000, std=1 / 32768), window=120, hop=10)
    label = torch.arange(frames - 2)  # a few fewer than frames, as aligned phones are
    starts = set()
    for seed in range(40):
        torch.manual_seed(seed)
        start = round(float(recipe.training_view(recording, 0)[0, 0]))
        torch.manual_seed(seed)
        kept = recipe.view_label(recording, label)
        first = (start - 5) // 10
        expected = [
            position if 0 <= position < len(label) else -1 for position in range(first, first + 12)
        ]
        assert kept.tolist() == expected
        starts.add(start)
    assert len(starts) > 10 or frames == 9  # a recording shorter than the window has one
