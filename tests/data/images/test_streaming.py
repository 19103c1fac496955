"""Packed images are those of the folder that was packed, to the last bit, and damage is told."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from litdata import StreamingDataset
from packed import image_folder

from blocklearn import UserError
from blocklearn.batch import Batch
from blocklearn.data import ImageFolder, SmallImageViews, Streaming, UnreadableSample
from blocklearn.data.images.packed_index import INDEX
from blocklearn.data.images.packing import pack
from blocklearn.data.loader import KeyedSampler

CHUNK = 8000  # bytes, so that there are several
SETTINGS: dict[str, Any] = {
    "batch_size": 4,
    "num_workers": 0,
    "image_size": 16,
    "recipe": SmallImageViews,
    "seed": 3,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "source", {"train": 14, "val": 3})


@pytest.fixture
def packed(source: Path, tmp_path: Path) -> Path:
    pack(source, tmp_path / "packed", CHUNK)
    return tmp_path / "packed"


def as_folder(root: Path, **changes: Any) -> ImageFolder:
    return ImageFolder(root, **{**SETTINGS, **changes})


def streamed(root: Path | str, **changes: Any) -> Streaming:
    return Streaming(root, **{**SETTINGS, **changes})


def epoch_of(data: ImageFolder, epoch: int = 0) -> list[Batch]:
    loader: Any = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) > 0 and all(
        torch.equal(a.index, b.index)
        and torch.equal(a.label, b.label)
        and all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
        for a, b in zip(first, second, strict=True)
    )


def told(data: ImageFolder, index: int) -> UnreadableSample | None:
    """Why a training sample cannot be read; None where it can."""
    try:
        data.pretraining_samples()[index]
    except UnreadableSample as error:
        return error
    return None


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_bitwise_that_of_the_folder_whatever_the_number_of_workers(
    source: Path, packed: Path, workers: int
) -> None:
    for epoch in (0, 2):
        expected = epoch_of(as_folder(source), epoch)
        assert same(epoch_of(streamed(packed, num_workers=workers), epoch), expected)
    assert not same(expected, epoch_of(streamed(packed), 1))
    tested = list(streamed(packed, num_workers=workers).val_dataloader())
    assert same(tested, list(as_folder(source).val_dataloader()))


@pytest.mark.parametrize("splits", [{"train": 6}, {"train": 6, "val": 2}, {"train": 6, "test": 2}])
def test_every_split_has_the_samples_of_the_folder_in_their_order(
    tmp_path: Path, splits: dict[str, int]
) -> None:
    source, target = image_folder(tmp_path / "images" / "set", splits), tmp_path / "packed" / "set"
    pack(source, target, CHUNK)
    folder, packed = as_folder(source), streamed(target)
    assert packed.title == folder.title
    assert packed.num_classes == folder.num_classes == 2
    for ours, theirs in zip(packed.splits().items(), folder.splits().items(), strict=True):
        assert ours[0] == theirs[0]
        found: Any = ours[1]
        expected: Any = theirs[1]
        assert found.labels == expected.labels
        inside = [path.relative_to(source) for path in expected.paths]
        assert [path.relative_to(target) for path in found.paths] == inside
        for index in range(len(expected)):
            assert found.content(index) == expected.paths[index].read_bytes()
            assert found[index][0].tobytes() == expected[index][0].tobytes()


def test_images_without_class_folders_have_no_label_and_their_probes_may_lie_elsewhere(
    source: Path, packed: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (source / "train" / "cat").iterdir():
        shutil.copy(path, flat)
    pack(flat, tmp_path / "unlabelled", CHUNK)
    data = streamed(tmp_path / "unlabelled", probe_root=packed)
    assert set(data.pretraining_samples().labels) == {-1}
    assert data.probe_samples().labels == as_folder(source).probe_samples().labels
    assert list(data.splits()) == list(as_folder(flat, probe_root=source).splits())


def test_a_damaged_image_is_unreadable_as_in_the_folder_and_the_same_one_stands_in(
    tmp_path: Path,
) -> None:
    source = image_folder(tmp_path / "source", {"train": 14, "val": 1}, bad=(0, 1, 6))
    (source / "train" / "cat" / "03.webp").write_bytes(b"")
    pack(source, tmp_path / "packed", CHUNK)
    folder, packed = (
        as_folder(source, max_corrupt=28),
        streamed(tmp_path / "packed", max_corrupt=28),
    )
    refused = [told(folder, index) for index in range(28)]
    assert sum(error is not None for error in refused) >= 5
    for index, expected in enumerate(refused):
        found = told(packed, index)
        assert (found is None) == (expected is None)
        if found and expected:
            assert found.reason == expected.reason
            assert found.file == tmp_path / "packed" / expected.file.relative_to(source)
    assert same(epoch_of(packed), epoch_of(folder))
    few = streamed(tmp_path / "packed", max_corrupt=1)
    with pytest.raises(UserError, match="samples cannot be read, and 1 may be"):
        epoch_of(few)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_run_that_resumes_in_mid_epoch_sees_the_rest_of_it_on_any_number_of_processes(
    source: Path, packed: Path, processes: int
) -> None:
    whole = epoch_of(as_folder(source), 2)
    rest = []
    for rank in range(processes):
        data = streamed(packed)
        loader: Any = data.train_dataloader()
        loader.load_state_dict({"epoch": 2, "batches_done": 3, "samples": 28, "batch_size": 4})
        sampler = KeyedSampler(loader.dataset, 4, True, 3, processes, rank)
        sampler.resumed = loader.keyed_sampler.resumed
        sampler.set_epoch(2)
        rest.append([loader.dataset[key] for key in sampler])
    share = 4 // processes
    for step, batch in enumerate(whole[3:]):
        parts = [row for rank in rest for row in rank[step * share : (step + 1) * share]]
        assert torch.equal(torch.stack([row.index for row in parts]), batch.index)
        assert torch.equal(torch.stack([row.label for row in parts]), batch.label)
        for view, expected in enumerate(batch.views):
            assert torch.equal(torch.stack([row.views[view] for row in parts]), expected)
    assert all(len(rank) == share * (len(whole) - 3) for rank in rest)


def test_litdatas_own_reader_finds_the_same_bytes_and_labels(packed: Path) -> None:
    samples = streamed(packed).pretraining_samples()
    theirs = StreamingDataset(str(packed / "train"))
    assert len(samples.chunks.split.chunks) > 1
    assert len(theirs) == len(samples) == 28
    for index in range(28):
        assert tuple(theirs[index]) == (samples.content(index), samples.labels[index])


def test_chunks_on_this_machine_are_read_without_litdata_and_nothing_is_written(
    packed: Path, tmp_path: Path
) -> None:
    before = sorted(path for path in packed.rglob("*"))
    code = (
        "import sys; sys.modules['litdata'] = None\n"
        "from blocklearn.data import SmallImageViews, Streaming\n"
        "own = {'image_size': 16, 'batch_size': 4, 'num_workers': 0}\n"
        f"data = Streaming({str(packed)!r}, SmallImageViews, **own)\n"
        "print(len(list(data.train_dataloader())))"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "fonts")},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert not list(home.iterdir())
    assert sorted(path for path in packed.rglob("*")) == before


def test_without_litdata_an_address_in_a_cloud_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "litdata", None)
    data = streamed("s3://bucket/set", cache_dir=tmp_path / "cache")
    with pytest.raises(UserError, match=r"pip install 'blocklearn\[streaming\]'"):
        data.pretraining_samples()


@pytest.mark.parametrize("workers", [0, 2])
def test_from_elsewhere_each_chunk_is_fetched_once_and_kept(
    source: Path, packed: Path, tmp_path: Path, workers: int
) -> None:
    cache = tmp_path / "cache"
    data = streamed(f"local:{packed}", cache_dir=cache, num_workers=workers)
    assert same(epoch_of(data), epoch_of(as_folder(source)))
    (folder,) = cache.iterdir()
    chunks = sorted(path.name for path in (packed / "train").glob("*.bin"))
    assert sorted(path.name for path in folder.rglob("*.bin")) == chunks
    assert not list(cache.rglob("*.unfinished*"))
    for path in (packed / "train").glob("*.bin"):
        path.unlink()  # so that it can only come from the cache
    again = streamed(f"local:{packed}", cache_dir=cache, num_workers=workers)
    assert same(epoch_of(again), epoch_of(as_folder(source)))


def test_what_was_fetched_of_other_content_is_not_used(tmp_path: Path) -> None:
    one = image_folder(tmp_path / "one", {"train": 6})
    two = image_folder(tmp_path / "two", {"train": 6}, classes=("ant", "bee", "cow"))
    for source in (one, two):
        shutil.rmtree(tmp_path / "packed", ignore_errors=True)
        pack(source, tmp_path / "packed", CHUNK)
        data = streamed(f"local:{tmp_path / 'packed'}", cache_dir=tmp_path / "cache")
        assert same(epoch_of(data), epoch_of(as_folder(source)))


def test_a_chunk_that_arrives_damaged_is_refused_and_not_kept(packed: Path, tmp_path: Path) -> None:
    chunk = packed / "train" / "chunk-0-0.bin"
    content = bytearray(chunk.read_bytes())
    content[-30] ^= 1
    chunk.write_bytes(content)
    data = streamed(f"local:{packed}", cache_dir=tmp_path / "cache")
    with pytest.raises(UserError, match=r"train/chunk-0-0\.bin is damaged: its checksum is not"):
        data.pretraining_samples()[0]
    assert not list((tmp_path / "cache").rglob("*.bin"))


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("local:/nowhere/set", f"cannot fetch local:/nowhere/set/{INDEX}: "),
        ("ftp://host/set", "cannot fetch from ftp://host/set; --data.root is a folder, or begins"),
        ("/nowhere/set", "there is no folder /nowhere/set; name one with --data.root"),
    ],
)
def test_an_address_where_nothing_is_is_told_in_one_line(
    address: str, told: str, tmp_path: Path
) -> None:
    data = streamed(address, cache_dir=tmp_path / "cache")
    with pytest.raises(UserError) as caught:
        data.pretraining_samples()
    assert str(caught.value).startswith(f"data: {told}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_that_is_not_packed_is_told_both_ways_out(source: Path) -> None:
    with pytest.raises(UserError, match="is no packed folder, .* blocklearn pack .* ImageFolder"):
        streamed(source).pretraining_samples()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (Path.unlink, "it is missing"),
        (cut, r"it has \d+ bytes of \d+"),
    ],
)
def test_a_chunk_that_is_missing_or_cut_is_told_before_training(
    packed: Path, harm: Callable[[Path], None], told: str
) -> None:
    harm(packed / "train" / "chunk-0-1.bin")
    with pytest.raises(UserError, match=rf"chunk-0-1\.bin is damaged: {told}; copy it anew"):
        streamed(packed).pretraining_samples()


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (0, 0, "its table of samples cannot be"),  # the number of samples
        (1, 0, "its table of samples cannot be"),  # the beginning of the first
        (2, 2**32 - 1, "its table of samples cannot be"),  # the beginning of the second
        (-1, 2**32 - 1, "its table of samples cannot be"),  # the end of the last
        ("head", 7, "sample 0 is cut off or out of place"),
        ("label", 1, "the label of sample 0 is not that of the index"),
    ],
)
def test_a_damaged_chunk_of_the_right_size_is_told_when_it_is_read(
    packed: Path, place: int | str, value: int, told: str
) -> None:
    samples = streamed(packed).pretraining_samples()
    path = packed / "train" / "chunk-0-0.bin"
    content = bytearray(path.read_bytes())
    count = int.from_bytes(content[:4], "little")
    table = [int.from_bytes(content[4 * i : 4 * i + 4], "little") for i in range(count + 2)]
    at = {"head": table[1], "label": table[2] - 8, -1: 4 * (count + 1)}.get(place)
    at = 4 * int(place) if at is None else at
    content[at : at + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"chunk-0-0\.bin is damaged: {told}"):
        samples[0]


def test_a_chunk_that_goes_while_it_is_used_is_told_and_no_other_image_stands_in(
    packed: Path,
) -> None:
    data = streamed(packed)
    loader = data.train_dataloader()
    for path in (packed / "train").glob("*.bin"):
        path.unlink()
    with pytest.raises(UserError, match=r"\.bin is damaged: it is missing"):
        list(loader)


def test_a_sample_that_the_disk_cannot_read_is_one_unreadable_sample(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = streamed(packed).pretraining_samples()
    path = packed / "train" / "chunk-0-0.bin"
    path.unlink()
    path.mkdir()  # opening it is an OSError, as a bad sector is
    with pytest.raises(UnreadableSample, match="cannot read the image .*00.jpeg: Is a directory"):
        samples[0]


def in_chunk(key: str, value: Any) -> Callable[[Any], None]:
    return lambda index: index["splits"]["train"]["chunks"][0].update({key: value})


def in_split(key: str, value: Any) -> Callable[[Any], None]:
    return lambda index: index["splits"]["train"].update({key: value})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda index: index.update(kind="pickles"), "it is of another kind"),
        (lambda index: index.update(version=2), "version 2 and this blocklearn reads up to 1"),
        (lambda index: index.update(version=True), "its version is none"),
        (lambda index: index.pop("version"), "it says nothing of version"),
        (lambda index: index.update(classes="cat"), "its classes are no names"),
        (lambda index: index.update(classes=["dog", "cat"]), "its classes are no names"),
        (lambda index: index.update(splits=[]), "it has no splits"),
        (lambda index: index["splits"].update({"../x": {}}), "its splits are others"),
        (lambda index: index["splits"].pop("train"), "its splits are others"),
        (in_split("chunks", {}), "its chunks are no list"),
        (in_split("chunks", [3]), "a part of it is of another type"),
        (in_split("paths", ["a"]), "its lists differ in length"),
        (in_split("paths", ["../../etc/passwd"] * 28), "its paths lead elsewhere"),
        (in_split("paths", ["/etc/passwd"] * 28), "its paths lead elsewhere"),
        (in_split("paths", [7] * 28), "its paths lead elsewhere"),
        (in_split("labels", [0.5] * 28), "its labels are no integers"),
        (in_split("labels", [True] * 28), "its labels are no integers"),
        (in_split("labels", [2] * 28), "a label is of no class"),
        (in_split("labels", [-1] * 28), "a label is of no class"),
        (in_chunk("file", "../../../etc/passwd"), "a chunk is named as none"),
        (in_chunk("file", "/etc/chunk-0-0.bin"), "a chunk is named as none"),
        (in_chunk("file", "chunk-0-0.bin\n"), "a chunk is named as none"),
        (in_chunk("file", "chunk-0-1.bin"), "a chunk is listed twice"),
        (in_chunk("file", 3), "a chunk is named as none"),
        (in_chunk("samples", 10**12), "the sizes of a chunk cannot be"),
        (in_chunk("samples", -1), "the sizes of a chunk cannot be"),
        (in_chunk("size", 2**40), "the sizes of a chunk cannot be"),
        (in_chunk("size", "3"), "the sizes of a chunk are no integers"),
        (in_chunk("sha256", ""), "a chunk has no checksum"),
        (in_chunk("code", "print()"), "a part of it is of another type"),
    ],
)
def test_an_index_of_a_stranger_is_refused_where_it_is_not_what_is_packed(
    packed: Path, change: Callable[[Any], None], told: str
) -> None:
    content = json.loads((packed / INDEX).read_text())
    change(content)
    (packed / INDEX).write_text(json.dumps(content))
    with pytest.raises(UserError, match=told) as caught:
        streamed(packed).pretraining_samples()
    assert str(packed / INDEX) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b'{"kind": 1', b"[]"])
def test_an_index_that_is_no_json_of_its_kind_is_one_line(packed: Path, content: bytes) -> None:
    (packed / INDEX).write_bytes(content)
    with pytest.raises(UserError, match="is damaged, or not written by blocklearn pack") as caught:
        streamed(packed).pretraining_samples()
    assert len(str(caught.value).splitlines()) == 1


def test_where_the_cache_has_no_room_nothing_is_fetched(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = streamed(f"local:{packed}", cache_dir=tmp_path / "cache")
    samples = data.pretraining_samples()
    none = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: none)
    with pytest.raises(UserError, match="the disk is full"):
        samples[0]


def test_a_cache_that_cannot_be_written_is_told_with_the_setting(
    packed: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match="File exists; name another folder with --data.cache_dir"):
        streamed(f"local:{packed}", cache_dir=tmp_path / "cache").pretraining_samples()


def test_a_chunk_that_cannot_be_kept_is_told_and_is_no_unreadable_sample(
    packed: Path, tmp_path: Path
) -> None:
    samples = streamed(f"local:{packed}", cache_dir=tmp_path / "cache").pretraining_samples()
    (tmp_path / "cache").rmdir()
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match=r"cannot write .*chunk-0-0\.bin") as caught:
        samples[0]
    assert not isinstance(caught.value, UnreadableSample)
