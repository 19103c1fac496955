"""Samples that cannot be read: replaced by a draw of their own, counted once, refused above a
limit."""

import csv
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small import StopAt, same_weights, small_network, small_trainer, weights
from sounds import write_librispeech, write_spoken_digits

from blocklearn import Batch, SequentialSchedule, UserError
from blocklearn.callbacks import CacheFrozenBlocks
from blocklearn.data import ImageFolder, LibriSpeech, SmallImageViews, SpokenDigits, WindowViews
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.labelled_part import stratified_part
from blocklearn.data.loader import KeyedSampler, KeyedViews, ViewKey
from blocklearn.data.stored_views import StoredViews
from blocklearn.data.unreadable import LIST, UnreadableSamples
from blocklearn.errors import UnreadableSample, in_one_line

SHADE = 10  # grey of image i is SHADE * i


def image_set(
    root: Path, bad: tuple[int, ...] = (), bad_test: tuple[int, ...] = (), count: int = 24
) -> Path:
    """Image i of `count`, in class i % 2, is all SHADE * i, so that a view tells whose it is; those
    in `bad` are cut."""
    for part, total, damaged in (("train", count, bad), ("val", count // 2, bad_test)):
        for number in range(total):
            path = root / part / "ab"[number % 2] / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (SHADE * number,) * 3).save(path)
            if number in damaged:
                path.write_bytes(path.read_bytes()[:45])
    return root


def images(root: Path, **changes: Any) -> ImageFolder:
    recipe = partial(SmallImageViews, jitter_probability=0.0, solarise=(0.0, 0.0), min_scale=0.5)
    settings = {
        "batch_size": 4,
        "num_workers": 0,
        "image_size": 8,
        "seed": 3,
        "max_corrupt": 9,
        "recipe": recipe,
    }
    return ImageFolder(root, **{**settings, **changes})


def place_of(number: int, count: int = 24) -> int:
    """In the data set, which lists class after class."""
    return number // 2 + (count // 2) * (number % 2)


def epoch_of(data: KeyedDataModule, epoch: int = 0) -> list[Batch]:
    loader: Any = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def listed(folder: Path) -> list[str]:
    with (folder / LIST).open(newline="") as file:
        return sorted(Path(row["file"]).name for row in csv.DictReader(file))


def test_another_sample_stands_in_with_its_own_label_and_index(tmp_path: Path) -> None:
    data = images(image_set(tmp_path, bad=(3, 8)))
    batch = [
        row
        for batch in epoch_of(data)
        for row in zip(*batch.views, batch.label, batch.index, strict=True)
    ]
    indices = [int(index) for *_, index in batch]
    assert len(indices) == 24
    assert not {place_of(3), place_of(8)} & set(indices)
    shades = {place_of(number): SHADE * number / 255 for number in range(24)}
    mean, std = torch.tensor(data.mean).view(3, 1, 1), torch.tensor(data.std).view(3, 1, 1)
    for first, second, label, index in batch:
        assert int(label) == int(index) // 12
        for view in (first, second):
            torch.testing.assert_close(
                (view * std + mean).mean(), torch.tensor(shades[int(index)]), atol=1e-3, rtol=0
            )


def test_who_stands_in_depends_on_seed_epoch_and_index_alone() -> None:
    class Numbers:
        def __len__(self) -> int:
            return 500

        def __getitem__(self, index: int) -> tuple[int, int]:
            if index % 5 == 0:
                raise UnreadableSample(f"{index}.png", "bad")
            return index, index

    def stand_in(seed: int, epoch: int, index: int) -> int:
        views = KeyedViews(
            Numbers(), [torch.tensor], seed, unreadable=UnreadableSamples(Numbers(), 500)
        )
        return int(views[ViewKey(epoch, index)].index)

    first = stand_in(0, 0, 5)
    assert first == stand_in(0, 0, 5)
    assert first % 5
    others = [stand_in(1, 0, 5), stand_in(0, 1, 5), stand_in(0, 0, 10)]
    assert first not in others
    assert len(set(others)) == 3


def test_a_stand_in_is_augmented_by_the_place_that_it_fills() -> None:
    class Two:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[int, int]:
            if index == 0:
                raise UnreadableSample("0.png", "bad")
            return index, index

    views = KeyedViews(Two(), [lambda _: torch.rand(4)], 0, view_label=lambda *_: torch.rand(4))
    assert views[0].index == views[1].index == 1
    assert not torch.equal(views[0].views[0], views[1].views[0])
    for item in (views[0], views[1]):
        assert torch.equal(item.views[0], item.label)  # the label of the view, drawn as it is


def same_batches(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.index, b.index)
        and torch.equal(a.label, b.label)
        and all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
        for a, b in zip(first, second, strict=True)
    )


def test_neither_workers_nor_processes_nor_resuming_change_who_stands_in(tmp_path: Path) -> None:
    root = image_set(tmp_path, bad=(0, 3, 8, 15))
    alone = epoch_of(images(root), 2)
    assert same_batches(alone, epoch_of(images(root, num_workers=2), 2))
    assert not same_batches(alone, epoch_of(images(root), 3))
    resumed: Any = images(root).train_dataloader()
    resumed.load_state_dict({"epoch": 2, "batches_done": 2})
    resumed.sampler.set_epoch(2)
    assert same_batches(alone[2:], list(resumed))
    data = images(root)
    dataset = KeyedViews(
        data.pretraining_samples(),
        data._training_views(),
        3,
        unreadable=data._unreadable(range(24)),
    )
    for rank in range(2):
        sampler = KeyedSampler(dataset, 4, True, 3, 2, rank)
        sampler.set_epoch(2)
        rows = [dataset[key] for key in sampler]
        expected = [row for batch in alone for row in batch.index.tensor_split(2)[rank].tolist()]
        assert [int(row.index) for row in rows] == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_counts_once_however_often_and_by_whomever_it_is_met(
    tmp_path: Path, workers: int
) -> None:
    data = images(image_set(tmp_path / "data", bad=(3, 8, 15)), num_workers=workers, max_corrupt=3)
    data.list_unreadable_in(tmp_path)
    loader: Any = data.train_dataloader()
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        list(loader)
    assert listed(tmp_path) == ["03.png", "08.png", "15.png"]
    # as a resumed run
    again = images(tmp_path / "data", num_workers=workers, max_corrupt=3, batch_size=8, seed=9)
    again.list_unreadable_in(tmp_path)
    epoch_of(again)
    assert listed(tmp_path) == ["03.png", "08.png", "15.png"]
    told = f"3 samples could not be read and were replaced by others: {tmp_path / LIST}"
    assert data.unreadable_told() == again.unreadable_told() == told


@pytest.mark.parametrize("workers", [0, 2])
def test_one_too_many_is_one_line_that_says_all(tmp_path: Path, workers: int) -> None:
    data = images(image_set(tmp_path / "data", bad=(3, 8, 15)), num_workers=workers, max_corrupt=2)
    data.list_unreadable_in(tmp_path)
    loader: Any = data.train_dataloader()
    with pytest.raises(UserError) as caught:
        list(loader)
    assert caught.type is UserError  # loader processes hand it on by its name
    message = str(caught.value).strip().splitlines()[-1]
    for part in (
        f"data: cannot read the image {tmp_path}/data/train/",
        ".png: image file is truncated",
        f"; 3 of 24 samples cannot be read, listed in {tmp_path / LIST}, and 2 may be; mend or "
        "remove them, and delete the list, or raise --data.max_corrupt",
    ):
        assert part in message
    assert len(listed(tmp_path)) == 3
    if not workers:
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match="3 of 24 samples cannot be read"):
            epoch_of(data)  # asking again does not help
    # Torch waits 5 seconds for each process of a loader that is garbage in a cycle.
    if loader.num_workers:
        loader._iterator._shutdown_workers()


def test_the_count_goes_on_from_that_of_other_processes_and_of_the_run_before(
    tmp_path: Path,
) -> None:
    root = image_set(tmp_path / "data", bad=(3, 8))
    files = images(root).pretraining_samples().paths  # pyright: ignore[reportAttributeAccessIssue]
    first, second = (
        UnreadableSamples(images(root).pretraining_samples(), 1, tmp_path) for _ in range(2)
    )
    first.note(UnreadableSample(files[place_of(3)], "bad"))
    second.note(UnreadableSample(files[place_of(3)], "bad"))
    with pytest.raises(UserError, match="2 of 24 samples cannot be read"):
        second.note(UnreadableSample(files[place_of(8)], "bad"))


def test_files_of_the_other_part_do_not_count(tmp_path: Path) -> None:
    data = images(image_set(tmp_path / "data", bad=(3, 8), bad_test=(1, 2)), max_corrupt=2)
    data.list_unreadable_in(tmp_path)
    epoch_of(data)
    assert len(list(data.test_dataloader())) == 3
    assert listed(tmp_path) == ["01.png", "02.png", "03.png", "08.png"]
    assert str(data.unreadable_told()).startswith("4 samples")
    tested = images(tmp_path / "data", max_corrupt=2)
    tested.list_unreadable_in(tmp_path)
    list(tested.test_dataloader())
    assert str(tested.unreadable_told()).startswith("2 samples")


def test_of_a_part_of_the_labels_its_own_files_count(tmp_path: Path) -> None:
    data = images(image_set(tmp_path / "data", bad=(3, 8, 10, 14)), max_corrupt=4)
    data.list_unreadable_in(tmp_path)
    epoch_of(data)
    assert len(listed(tmp_path)) == 4
    part = stratified_part(data.pretraining_samples(), 0.5, 3)
    own = {path.name for path in part.paths or []} & {"03.png", "08.png", "10.png", "14.png"}
    assert 0 < len(own) < 4
    found = UnreadableSamples(part, folder=tmp_path).found()
    assert {Path(name).name for name in found} == own


def test_all_loaders_of_a_data_set_share_a_count(tmp_path: Path) -> None:
    data = images(image_set(tmp_path, bad=(3,)), max_corrupt=1)
    epoch_of(data)
    image_set(tmp_path, bad=(8,))
    with pytest.raises(UserError, match="2 of 24 samples cannot be read"):
        list(data.probe_dataloader(4))


def test_by_default_a_thousandth_may_be_unreadable_and_at_least_one() -> None:
    assert [UnreadableSamples(range(count)).allowed for count in (1, 1999, 2000, 1_281_167)] == [
        1,
        1,
        2,
        1281,
    ]


@pytest.mark.parametrize("resident", [False, True])
def test_none_may_be_where_none_is_allowed(tmp_path: Path, resident: bool) -> None:
    with pytest.raises(
        UserError,
        match="1 of 24 samples cannot be read, and 0 may be; mend or remove them, or raise",
    ):
        epoch_of(images(image_set(tmp_path, bad=(3,)), max_corrupt=0, resident=resident))


def test_every_loader_replaces_and_none_falls_silent_about_it(tmp_path: Path) -> None:
    root = image_set(tmp_path, bad=(3,), bad_test=(1,))
    for make in (
        lambda data: data.train_dataloader(),
        lambda data: data.val_dataloader(),
        lambda data: data.every_training_view(),
        lambda data: data.probe_dataloader(4),
        lambda data: data.probe_dataloader(4, augment=False, labelled_part=0.99),
        lambda data: data.test_dataloader(),
        lambda data: data.predict_dataloader(),
    ):
        data = images(root)
        data.predict_split = "test"
        assert data.unreadable_told() is None
        batches = list(make(data))
        assert sum(len(batch.index) for batch in batches) in (12, 24)
        assert str(data.unreadable_told()).startswith(
            "1 sample could not be read and was replaced by another: /"
        )


@pytest.mark.parametrize("resident", [False, True])
def test_images_on_the_device_and_all_training_views_keep_the_stand_in_in_the_place(
    tmp_path: Path, resident: bool
) -> None:
    data = images(image_set(tmp_path, bad=(0, 8)), resident=resident, fixed_views=True)
    batches = list(data.every_training_view())
    index = torch.cat([batch.index for batch in batches])
    assert (index != torch.arange(24)).nonzero().flatten().tolist() == [place_of(0), place_of(8)]
    assert torch.equal(torch.cat([batch.label for batch in batches]), index // 12)
    for batch in epoch_of(data, 5):
        assert not {place_of(0), place_of(8)} & set(batch.index.tolist())


def trained(
    folder: Path, data: Any, resume: Path | None = None, **changes: Any
) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = small_network(
        schedule=SequentialSchedule(), optimizer=partial(torch.optim.SGD, lr=0.1)
    )
    trainer = small_trainer(folder, **{"max_epochs": 4, **changes})
    trainer.fit(network, datamodule=data, ckpt_path=resume, weights_only=True)
    return weights(network)


def test_the_cache_of_frozen_blocks_holds_the_stand_in(tmp_path: Path) -> None:
    root = image_set(tmp_path / "data", bad=(3, 8), count=16)

    def data() -> ImageFolder:
        return images(root, fixed_views=True, image_size=32)

    plain = trained(tmp_path / "plain", data())
    kept: list[torch.Tensor] = []

    class Watch(CacheFrozenBlocks):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_epoch_start(trainer, pl_module)
            if pl_module.entry:
                stored = StoredViews(
                    tmp_path / "cached" / "frozen_features" / f"behind_block{pl_module.entry}"
                )
                kept.extend(view.flatten(1).abs().sum(1) for view in stored.views)

    cached = trained(tmp_path / "cached", data(), callbacks=[Watch()])
    assert same_weights(plain, cached)
    assert kept
    assert all((view > 0).all() for view in kept)


def test_a_run_that_is_resumed_has_the_weights_of_one_that_was_not_and_one_list(
    tmp_path: Path,
) -> None:
    root = image_set(tmp_path / "data", bad=(3, 8, 15))
    make = partial(images, root, image_size=32, max_corrupt=3)
    whole = trained(tmp_path / "whole", make())
    assert listed(tmp_path / "whole") == ["03.png", "08.png", "15.png"]
    path = tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        trained(tmp_path / "run", make(), callbacks=[StopAt(8, path)])
    assert same_weights(whole, trained(tmp_path / "run", make(num_workers=2), resume=path))
    assert listed(tmp_path / "run") == ["03.png", "08.png", "15.png"]


def test_resuming_with_other_data_or_another_batch_is_refused(tmp_path: Path) -> None:
    root, path = image_set(tmp_path / "data"), tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        trained(tmp_path, images(root, image_size=32), callbacks=[StopAt(2, path)])
    with pytest.raises(
        UserError, match="batch_size of 8, the checkpoint's run had 4; set --data.batch_size 4"
    ):
        trained(tmp_path, images(root, image_size=32, batch_size=8), resume=path)
    (root / "train" / "a" / "00.png").unlink()
    with pytest.raises(
        UserError,
        match="data has 23 samples, the checkpoint's run had 24; go on with the same data",
    ):
        trained(tmp_path, images(root, image_size=32), resume=path)


def test_a_set_of_nothing_but_broken_files_is_given_up(tmp_path: Path) -> None:
    root = image_set(tmp_path, bad=tuple(range(24)))
    with pytest.raises(
        UserError, match="cannot read the image .*; nor can the 19 samples before it"
    ):
        epoch_of(images(root, max_corrupt=24))


def test_other_errors_still_stop(tmp_path: Path) -> None:
    class Wrong:
        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> tuple[int, int]:
            raise UserError("labels are another's")

    with pytest.raises(UserError, match="labels are another's"):
        KeyedViews(Wrong(), [], 0)[0]


def test_samples_that_can_be_read_touch_no_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UnreadableSamples, "note", lambda *_: pytest.fail("noted"))
    data = images(image_set(tmp_path / "data"))
    data.list_unreadable_in(tmp_path)
    epoch_of(data)
    assert not (tmp_path / LIST).exists()
    assert data.unreadable_told() is None


@pytest.mark.parametrize("place", ["link", "no folder"])
def test_where_the_list_cannot_be_written_the_process_counts_for_itself(
    tmp_path: Path, place: str
) -> None:
    root = image_set(tmp_path / "data", bad=(3, 8, 15))
    folder = tmp_path / "run"
    if place == "link":
        folder.mkdir()
        (folder / LIST).symlink_to(tmp_path / "victim")
    else:
        folder.write_text("a file where the run's folder should be")
    fine, few = images(root, max_corrupt=3), images(root, max_corrupt=2)
    for data in (fine, few):
        data.list_unreadable_in(folder)
    epoch_of(fine)
    assert str(fine.unreadable_told()).startswith("3 samples could not be read")
    with pytest.raises(UserError, match="3 of 24 samples cannot be read"):
        epoch_of(few)
    assert not (tmp_path / "victim").exists()


def test_an_unreadable_sample_can_be_sent_between_processes_and_is_one_line() -> None:
    error = UnreadableSample("a\n\udcff.png", "first\nsecond", "image")
    sent = pickle.loads(pickle.dumps(error))
    assert (sent.file, sent.reason, str(sent)) == (error.file, "first", str(error))
    assert (
        str(error)
        == r"data: cannot read the image a\n\udcff.png: first; mend, fetch anew or remove it"
    )
    assert in_one_line("a\rb c").isprintable()


def spoken(root: Path, **changes: Any) -> SpokenDigits:
    recipe = partial(WindowViews, window=800, hop=80)
    return SpokenDigits(
        root, **{"batch_size": 4, "num_workers": 0, "seed": 3, "recipe": recipe, **changes}
    )


DAMAGE = {
    "truncated": lambda whole: whole[:900],
    "empty": lambda whole: b"",
    "text": lambda whole: b"no sound\n" * 9,
    "header": lambda whole: whole[200:],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_recording_is_replaced(tmp_path: Path, damage: str, workers: int) -> None:
    bad = write_spoken_digits(tmp_path / "data") / "recordings" / "1_bea_5.wav"
    bad.write_bytes(DAMAGE[damage](bad.read_bytes()))
    data = spoken(tmp_path / "data", num_workers=workers)
    data.list_unreadable_in(tmp_path)
    data.setup("fit")
    batches = epoch_of(data)
    assert sum(len(batch.index) for batch in batches) == 12
    samples: Any = data.pretraining_samples()
    assert samples.files.index(bad) not in torch.cat([batch.index for batch in batches]).tolist()
    assert listed(tmp_path) == ["1_bea_5.wav"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_utterance_is_replaced_when_its_end_is_missed_too(
    tmp_path: Path, damage: str
) -> None:
    write_librispeech(tmp_path / "data", seconds=3.0)
    bad = tmp_path / "data/LibriSpeech/train-clean-100/90/7/90-7-0001.flac"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else DAMAGE[damage](whole))
    recipe = partial(WindowViews, window=4000)
    data = LibriSpeech(tmp_path / "data", "phone", recipe, batch_size=2, num_workers=0, seed=3)
    data.list_unreadable_in(tmp_path)
    data.setup("fit")
    for batch in data.probe_dataloader(1):  # whole utterances with their own labels
        assert batch.label.shape == (1, 300)
        assert int(batch.index) != 1
    assert listed(tmp_path) == ["90-7-0001.flac"]
    assert np.isfinite([float(batch.views[0].sum()) for batch in epoch_of(data)]).all()


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_whatever_of_a_recording_is_cut_or_flipped_nothing_else_comes_out(
    tmp_path: Path, kind: str
) -> None:
    import random

    import soundfile

    from blocklearn.data.sound.recording import open_recording

    path, draw, refused = tmp_path / f"a.{kind}", random.Random(0), 0
    soundfile.write(path, 0.3 * np.sin(np.arange(3000) / 9), 8000)
    whole = path.read_bytes()
    for number in range(120):
        damaged = bytearray(whole[: draw.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(draw.randrange(1, 6)):
            if damaged:
                damaged[draw.randrange(min(len(damaged), 44 if number % 2 else len(damaged)))] = (
                    draw.randrange(256)
                )
        path.write_bytes(damaged)
        try:
            recording = open_recording(path, 8000)
            if recording.file_rate == 8000:
                recording.read(recording.frames // 2, 100)
                recording.read(0, min(recording.frames, 10_000))
        except UnreadableSample:
            refused += 1
    assert refused > 30
