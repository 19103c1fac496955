import random
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blocklearn.data.images.decoding import as_seen, read_image
from blocklearn.errors import UnreadableSample


def picture(size: int = 24) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] / size
    return np.stack([rows, columns, np.sin(9 * rows * columns) ** 2], -1)


def saved(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_ordinary_images_are_as_pil_converts_them(mode: str) -> None:
    image = Image.fromarray((picture() * 255).astype(np.uint8))
    image = image.convert("RGB").convert("L" if mode in ("LA", "1") else "RGB")
    image = image if mode == "LAB" else image.convert(mode)
    assert as_seen(image).tobytes() == image.convert("RGB").tobytes()
    assert as_seen(image).mode == "RGB"


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_white_is_65535_in_16_bits(mode: str) -> None:
    values = np.array([[0, 128, 129, 257, 30000, 65406, 65407, 65535]])
    image = Image.frombytes(
        mode, (8, 1), values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    )
    assert np.asarray(as_seen(image))[0, :, 0].tolist() == [0, 0, 1, 1, 117, 254, 255, 255]


def test_16_bits_of_a_png_are_those_of_its_8_bits(tmp_path: Path) -> None:
    grey = (picture()[..., 0] * 255).astype(np.uint16)
    image = read_image(saved(tmp_path / "a.png", grey * 257))
    assert np.array_equal(np.asarray(image), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 7, 255], [0, 7, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([300, 25700, 51400], [1, 100, 200]),
        ([-100, 0, 155], [0, 100, 255]),
        ([0, 50000, 100000], [0, 128, 255]),
        ([70000, 70000, 70000], [0, 0, 0]),
    ],
)
def test_integers_and_floats_are_converted_by_their_range(
    tmp_path: Path, kind: type, values: list[int], expected: list[int]
) -> None:
    image = read_image(saved(tmp_path / "a.tiff", np.array([values], kind)))
    assert np.asarray(image)[0, :, 0].tolist() == expected


def test_floats_up_to_1_are_parts_of_white_and_the_same_integers_are_not(tmp_path: Path) -> None:
    floats = read_image(saved(tmp_path / "a.tiff", np.array([[0, 0.25, 1]], np.float32)))
    assert np.asarray(floats)[0, :, 0].tolist() == [0, 64, 255]
    integers = read_image(saved(tmp_path / "b.tiff", np.array([[0, 1, 1]], np.int32)))
    assert np.asarray(integers)[0, :, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers_cannot_be_read(tmp_path: Path, value: float) -> None:
    path = saved(tmp_path / "a.tiff", np.array([[0.5, value]], np.float32))
    with pytest.raises(
        UnreadableSample, match=f"cannot read the image {path}: it holds values that are not finite"
    ):
        read_image(path)


def test_the_largest_floats_do_not_overflow(tmp_path: Path) -> None:
    image = read_image(saved(tmp_path / "a.tiff", np.array([[-3e38, 0, 3e38]], np.float32)))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 128, 255]


def broken(path: Path, kind: str) -> Path:
    """A file that is no image in one of the ways in which files are broken."""
    whole = saved(path, (picture() * 255).astype(np.uint8)).read_bytes()
    path.unlink()
    if kind == "link":
        path.symlink_to("nowhere.jpg")
    elif kind == "folder":
        path.mkdir()
    else:
        content = {
            "truncated": whole[: len(whole) * 9 // 10],
            "empty": b"",
            "text": b"no picture\n" * 9,
            "head": whole[:30],
        }
        path.write_bytes(content[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated", "truncated"),
        ("head", "cannot read the image"),
        ("empty", "it is empty"),
        ("text", "it is no image that PIL knows"),
        ("link", "No such file or directory"),
        ("folder", "Is a directory"),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff"])
def test_a_broken_file_is_told_with_its_reason(
    tmp_path: Path, kind: str, reason: str, suffix: str
) -> None:
    path = broken(tmp_path / f"a{suffix}", kind)
    warnings.simplefilter("ignore")  # for this test: pytest puts the filters back
    with pytest.raises(UnreadableSample, match=reason) as caught:
        read_image(path)
    assert caught.value.file == path
    assert "\n" not in str(caught.value)
    assert caught.value.reason


@pytest.mark.parametrize(("side", "told"), [(45, "45 x 45 pixels"), (200, "40000 pixels")])
def test_an_image_of_too_many_pixels_is_not_decoded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
    side: int,
    told: str,
) -> None:
    path = saved(tmp_path / "a.png", np.zeros((side, side), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UnreadableSample, match=f": {told} are more than the 1600 that PIL takes"):
        read_image(path)
    assert not recwarn.list


def test_an_image_of_just_as_many_pixels_as_pil_takes_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40)
    assert read_image(saved(tmp_path / "a.png", np.zeros((40, 40), np.uint8))).size == (40, 40)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", {}),
        (".jpg", {"progressive": True}),
        (".png", {}),
        (".tiff", {}),
        (".webp", {}),
        (".bmp", {}),
        (".ppm", {}),
    ],
)
def test_whatever_is_cut_or_flipped_nothing_but_an_unreadable_sample_comes_out(
    tmp_path: Path, suffix: str, options: dict[str, bool]
) -> None:
    buffer = BytesIO()
    kind = {".jpg": "jpeg", ".tiff": "tiff"}.get(suffix, suffix[1:])
    Image.fromarray((picture() * 255).astype(np.uint8)).save(buffer, kind, **options)
    whole, draw, path = buffer.getvalue(), random.Random(0), tmp_path / f"a{suffix}"
    refused = 0
    for number in range(150):
        damaged = bytearray(whole[: draw.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(draw.randrange(1, 6)):
            if damaged:
                place = draw.randrange(min(len(damaged), 200 if number % 2 else len(damaged)))
                damaged[place] = draw.randrange(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read_image(path).mode == "RGB"
            except UnreadableSample:
                refused += 1
    assert refused > 30
