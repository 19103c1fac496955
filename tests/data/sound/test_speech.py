"""What both speech sets share: draws keyed to the sample, batches, and labels one per frame."""

from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from sounds import write_librispeech, write_spoken_digits

from blocklearn import UserError
from blocklearn.data import KeyedDataModule, LibriSpeech, SoundSpec, SpokenDigits, WindowViews
from blocklearn.data.images.image_spec import ImageSpec
from blocklearn.data.images.views import SmallImageViews


def windows(spec: SoundSpec) -> WindowViews:
    return WindowViews(spec, window=800, hop=80)


def digits(root: Path, **changes: Any) -> SpokenDigits:
    return SpokenDigits(
        root, **{"recipe": windows, "batch_size": 4, "num_workers": 0, "seed": 3, **changes}
    )


def phones(root: Path, **changes: Any) -> LibriSpeech:
    return LibriSpeech(
        root,
        **{
            "target": "phone",
            "recipe": windows,
            "batch_size": 2,
            "num_workers": 0,
            "seed": 3,
            **changes,
        },
    )


def epoch_of(data: KeyedDataModule, epoch: int = 0) -> dict[int, torch.Tensor]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # pyright: ignore
    return {int(i): batch.views[0][row] for batch in loader for row, i in enumerate(batch.index)}


def test_windows_do_not_depend_on_workers_or_batch_size(tmp_path: Path) -> None:
    write_spoken_digits(tmp_path)
    alone, helped = (
        epoch_of(digits(tmp_path)),
        epoch_of(digits(tmp_path, batch_size=2, num_workers=2)),
    )
    assert alone.keys() == helped.keys()
    assert len(alone) == 12
    assert all(torch.equal(alone[index], helped[index]) for index in alone)


def test_windows_differ_by_epoch_and_seed_unless_fixed(tmp_path: Path) -> None:
    write_spoken_digits(tmp_path)

    def same(first: dict[int, torch.Tensor], second: dict[int, torch.Tensor]) -> bool:
        return all(torch.equal(first[index], second[index]) for index in first)

    base = epoch_of(digits(tmp_path))
    assert same(base, epoch_of(digits(tmp_path)))
    assert not same(base, epoch_of(digits(tmp_path), epoch=1))
    assert not same(base, epoch_of(digits(tmp_path, seed=4)))
    assert same(base, epoch_of(digits(tmp_path, fixed_views=True), epoch=1))


def test_a_resumed_loader_goes_on_with_the_same_windows(tmp_path: Path) -> None:
    write_spoken_digits(tmp_path)
    whole = list(digits(tmp_path).train_dataloader())
    cut = digits(tmp_path).train_dataloader()
    next(iter(cut))
    resumed = digits(tmp_path).train_dataloader()
    resumed.load_state_dict(cut.state_dict())
    rest = list(resumed)
    assert len(rest) == len(whole) - 1 == 2
    assert all(torch.equal(a.views[0], b.views[0]) for a, b in zip(rest, whole[1:], strict=True))


def test_a_batch_is_one_view_of_one_channel_with_a_label_a_sample(tmp_path: Path) -> None:
    data = digits(write_spoken_digits(tmp_path))
    for loader in (
        data.train_dataloader(),
        data.val_dataloader(),
        data.probe_dataloader(4),
        data.test_dataloader(),
    ):
        batch = next(iter(loader))
        assert [tuple(view.shape) for view in batch.views] == [(4, 1, 800)]
        assert batch.label.shape == batch.index.shape == (4,)
    assert data.channels == 1


def test_the_labelled_part_of_recordings(tmp_path: Path) -> None:
    data = digits(write_spoken_digits(tmp_path, recordings=9))
    labels = torch.cat(
        [batch.label for batch in data.probe_dataloader(4, augment=False, labelled_part=0.25)]
    )
    assert labels.bincount().tolist() == [2, 2, 2]


def test_phones_come_one_whole_utterance_at_a_time(tmp_path: Path) -> None:
    data = phones(write_librispeech(tmp_path, seconds=1.505))
    data.setup()
    for loader in (
        data.probe_dataloader(64),
        data.probe_dataloader(64, augment=False),
        data.test_dataloader(),
    ):
        batches = list(loader)
        assert len(batches) == len(loader) in (6, 2)
        for batch in batches:
            assert batch.views[0].shape == (1, 1, 24000)
            assert batch.label.shape == (1, 150)
            assert batch.label.dtype == torch.int64
    assert [batch.label.shape for batch in data.predict_dataloader()] == [(1, 150)] * 8


def test_the_phones_are_those_of_the_list(tmp_path: Path) -> None:
    data = phones(write_librispeech(tmp_path))
    lines = (
        (tmp_path / "LibriSpeech100_labels_split/converted_aligned_phones.txt")
        .read_text()
        .splitlines()
    )
    by_name = {line.split()[0]: list(map(int, line.split()[1:])) for line in lines}
    recording, label = data.test_samples()[1]
    assert isinstance(label, torch.Tensor)
    assert label.tolist() == by_name[recording.path.stem]


def test_pretraining_on_phones_sees_windows_with_the_labels_of_their_frames(tmp_path: Path) -> None:
    data = phones(write_librispeech(tmp_path))
    for loader in (data.train_dataloader(), data.val_dataloader(), data.every_training_view()):
        batch = next(iter(loader))
        assert batch.views[0].shape == (2, 1, 800)
        assert batch.label.shape == (2, 5)
        assert batch.label.dtype == torch.int64


def test_a_part_of_the_labels_needs_one_label_a_sample(tmp_path: Path) -> None:
    data = phones(write_librispeech(tmp_path))
    with pytest.raises(
        UserError,
        match="labelled_part 0.1 needs one label per sample, LibriSpeech-100h has one per frame",
    ):
        data.probe_dataloader(4, labelled_part=0.1)


def test_a_recipe_without_a_view_of_the_whole_cannot_take_frame_labels(tmp_path: Path) -> None:
    data = phones(write_librispeech(tmp_path), recipe=lambda spec: SmallImageViews(ImageSpec(8)))
    with pytest.raises(UserError, match="SmallImageViews has no view of a whole sample"):
        next(iter(data.test_dataloader()))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_first_corrupt_recording_stops_where_none_may_be(tmp_path: Path, workers: int) -> None:
    bad = write_spoken_digits(tmp_path) / "recordings" / "1_bea_5.wav"
    bad.write_bytes(b"RIFF and no more")
    loader: Any = digits(tmp_path, num_workers=workers, max_corrupt=0).train_dataloader()
    with pytest.raises(UserError, match=f"cannot read the recording {bad}"):
        list(loader)
    # Torch waits 5 seconds for each process of a loader that is garbage in a cycle.
    if loader.num_workers:
        loader._iterator._shutdown_workers()


def test_another_target_or_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="target must be one of digit, speaker, got phone"):
        digits(tmp_path, target="phone")
    with pytest.raises(UserError, match="sample_rate must be at least 1, got 0"):
        digits(tmp_path, sample_rate=0)


def test_the_command_line_changes_the_window_and_keeps_the_rest_of_the_recipe(
    tmp_path: Path,
) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(KeyedDataModule, "data")
    flags = [
        "--data=SpokenDigits",
        f"--data.root={tmp_path}",
        "--data.recipe.window=2000",
        "--data.target=speaker",
    ]
    data = parser.instantiate_classes(parser.parse_args(flags)).data
    assert (data.recipe.window, data.recipe.hop, data.recipe.short) == (2000, 80, "repeat")
    assert data.recipe.spec == SoundSpec(8000, -0.00097, 0.0608)
    assert data.target == "speaker"


def test_a_recipe_for_images_is_refused_for_sound_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match="SpokenDigits is sound.* asks for the views' size; add --data.recipe WindowViews",
    ):
        SpokenDigits(tmp_path, recipe=SmallImageViews)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="WindowViews is one for sound, the data set has images"):
        WindowViews(ImageSpec(32))  # pyright: ignore[reportArgumentType]


def test_a_recipes_own_mistake_is_not_taken_for_one_of_images(tmp_path: Path) -> None:
    def faulty(spec: SoundSpec) -> WindowViews:
        return WindowViews(spec, window=spec.sample_rate.sise)  # pyright: ignore[reportAttributeAccessIssue]

    with pytest.raises(AttributeError, match="sise"):
        digits(tmp_path, recipe=faulty)
