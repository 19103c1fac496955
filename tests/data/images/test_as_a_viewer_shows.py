"""Whatever mode, depth and format an image is stored in, the network gets the picture that a person
sees."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import png, tiff
from PIL import Image, ImageCms

from blocklearn.data.images.decoding import BACKGROUND, read_image
from blocklearn.errors import UnreadableSample

MODES = (
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "La",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "I;16",
    "I;16B",
    "F",
)
FORMATS = {
    "PNG": {},
    "TIFF": {},
    "BMP": {},
    "PPM": {},
    "TGA": {},
    "GIF": {},
    "DIB": {},
    "JPEG2000": {"irreversible": False},
    "WEBP": {"lossless": True, "exact": True},
    "JPEG": {"quality": 98, "subsampling": 0},
    "AVIF": {"quality": 98},
}
SUFFIXES = {"JPEG": ".jpg", "JPEG2000": ".jp2", "TIFF": ".tiff"}
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "F"}
DEEP = {"I", "I;16", "I;16B", "F"}
TRANSPARENT = {"LA", "La", "PA", "RGBA", "RGBa"}


def picture(size: int = 32) -> np.ndarray:
    """Smooth colours in [0, 1], another in every corner."""
    rows, columns = np.mgrid[:size, :size] / (size - 1)
    return np.stack([0.1 + 0.8 * rows, 0.9 - 0.7 * columns, 0.2 + 0.6 * rows * columns], -1)


def luminance(colours: np.ndarray) -> np.ndarray:
    return np.repeat((colours @ np.array([0.299, 0.587, 0.114]))[..., None], 3, -1)


def opacity(size: int = 32) -> np.ndarray:
    return np.where(np.mgrid[:size, :size][1] < size // 2, 1.0, 0.25)[..., None]


def stored(mode: str) -> Image.Image:
    """The picture in that mode."""
    rgb = Image.fromarray(np.rint(picture() * 255).astype(np.uint8))
    grey = np.rint(luminance(picture())[..., 0] * 65535)
    if mode in ("I;16", "I;16B"):
        return Image.frombytes(
            mode, rgb.size, grey.astype("<u2" if mode == "I;16" else ">u2").tobytes()
        )
    if mode in ("I", "F"):
        return Image.fromarray(
            grey.astype(np.int32) if mode == "I" else (grey / 65535).astype(np.float32)
        )
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        )
        found = ImageCms.applyTransform(rgb, to_lab)
        assert found is not None
        return found
    if mode not in TRANSPARENT:
        return rgb.convert(mode)
    rgb.putalpha(Image.fromarray(np.rint(opacity()[..., 0] * 255).astype(np.uint8)))
    if mode == "PA":
        return rgb.convert("RGB").convert("P").convert("PA")
    return rgb.convert("LA").convert("La") if mode == "La" else rgb.convert(mode)


def seen(mode: str) -> np.ndarray:
    """What a person sees of it, from the picture alone."""
    colours = luminance(picture()) if mode in GREY else picture()
    if mode not in TRANSPARENT - {"PA"}:
        return colours
    return colours * opacity() + np.array(BACKGROUND) / 255 * (1 - opacity())


def difference(image: Image.Image, expected: np.ndarray) -> float:
    """Mean over 4 x 4 pixels, so that dithering and palettes do not count; the largest there is, in
    parts of white."""
    assert image.mode == "RGB"
    errors = np.asarray(image) / 255 - expected
    return float(np.abs(errors.reshape(8, 4, 8, 4, 3).mean((1, 3))).max())


def files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Every mode in every format that Pillow writes it in, with the mode that the file has."""
    for mode in MODES:
        for name, options in FORMATS.items():
            path = (
                folder / f"{mode.replace(';', '_')}_{name}{SUFFIXES.get(name, f'.{name.lower()}')}"
            )
            try:
                stored(mode).save(path, name, **options)
            except (OSError, KeyError, ValueError):
                path.unlink(missing_ok=True)
                continue
            with Image.open(path) as reopened:
                kept = reopened.mode
            # by the writer
            clipped = (mode in DEEP and kept not in DEEP) or (mode, name) == (
                "I;16B",
                "JPEG2000",
            )
            # which knows no half transparency
            if not clipped and not (mode in TRANSPARENT and name == "GIF"):
                yield mode, kept, path


def test_every_mode_in_every_format_is_what_a_person_sees(tmp_path: Path) -> None:
    wrong, number = [], 0
    for mode, kept, path in files(tmp_path):
        number += 1
        opaque = mode in TRANSPARENT and kept not in (*TRANSPARENT, "P")
        error = difference(read_image(path), seen(kept if opaque else mode))
        if error > (0.13 if "P" in (mode, kept) or mode in ("1", "PA") else 0.03):
            wrong.append((path.name, kept, round(error, 3)))
    assert not wrong
    assert number >= 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a_turned_photo_is_shown_upright(tmp_path: Path, name: str, orientation: int) -> None:
    """Case 3. Stored as a camera held that way stores it."""
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = stored("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation in undone:
        image = image.transpose(undone[orientation])
    path = tmp_path / f"a{SUFFIXES.get(name, f'.{name.lower()}')}"
    image.save(path, name, exif=exif, **FORMATS[name])
    assert difference(read_image(path), seen("RGB")) < 0.03


def test_a_damaged_note_of_how_it_lies_leaves_it_as_it_lies(tmp_path: Path) -> None:
    stored("RGB").save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert difference(read_image(tmp_path / "a.png"), seen("RGB")) < 0.01


def test_damaged_notes_in_a_photo_are_not_complained_of(tmp_path: Path) -> None:
    """Warnings are errors in these tests; the second tag points beyond the end."""
    tags = struct.pack("<HHII", 0x0112, 3, 1, 3) + struct.pack("<HHII", 271, 2, 255, 65520)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + tags + bytes(4)
    stored("RGB").transpose(Image.Transpose.ROTATE_180).save(
        tmp_path / "a.jpg", exif=exif, quality=98, subsampling=0
    )
    assert difference(read_image(tmp_path / "a.jpg"), seen("RGB")) < 0.03


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
def test_a_colour_that_is_called_transparent_is_the_background(tmp_path: Path, mode: str) -> None:
    """PNG's tRNS: one colour of the palette, or of all pixels."""
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:, 4:] = 1
    image = Image.fromarray(pixels * 255)
    key: Any = 255
    if mode == "RGB":
        image, key = image.convert("RGB"), (255, 255, 255)
    elif mode == "P":
        image, key = Image.fromarray(pixels, "P"), 1
        image.putpalette([0, 0, 0, 255, 255, 255])
    elif mode == "I;16":
        image, key = Image.frombytes("I;16", (8, 8), (pixels.astype("<u2") * 4000).tobytes()), 4000
    elif mode == "1":
        image = image.convert("1")
    image.save(tmp_path / "a.png", transparency=key)
    found = np.asarray(read_image(tmp_path / "a.png"))
    assert found[:, :4].max() == 0
    assert (found[:, 4:] == BACKGROUND).all()


@pytest.mark.parametrize(
    ("bits", "white", "kind", "photometric"),
    [
        (12, 4095, 1, 1),
        (16, 65535, 1, 1),
        (16, 65535, 1, 0),
        (32, 65535, 1, 1),
        (32, 1.0, 3, 1),
        (32, 1.0, 3, 0),
    ],
)
def test_a_tiffs_bits_and_what_it_calls_white_are_heeded(
    tmp_path: Path, bits: int, white: float, kind: int, photometric: int
) -> None:
    """Case 1, beyond 16 bits: 12 are the usual depth of microscopes, and 0 is white on some
    scanners."""
    grey = luminance(picture())[..., 0]
    values = (grey if photometric else 1 - grey) * white
    (tmp_path / "a.tiff").write_bytes(
        tiff(values if kind == 3 else np.rint(values), bits, photometric, kind)
    )
    assert difference(read_image(tmp_path / "a.tiff"), seen("L")) < 0.01


def test_what_pillow_has_no_reader_for_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.tiff").write_bytes(tiff(np.zeros((4, 4)), 12, 0))
    with pytest.raises(UnreadableSample, match="a.tiff"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize(("bits", "channels"), [(2, 1), (4, 1), (16, 3)])
def test_a_transparent_colour_is_that_of_the_files_own_depth(
    tmp_path: Path, bits: int, channels: int
) -> None:
    """PIL spreads the pixels over 8 bits and leaves the colour."""
    white = 2**bits - 1
    chosen = white if bits < 16 else 0xF00F
    values = np.array([[0, chosen, white // 3]])
    key = (b"tRNS", struct.pack(f">{channels}H", *[chosen] * channels))
    (tmp_path / "a.png").write_bytes(
        png(values if channels == 1 else np.repeat(values[..., None], 3, 2), bits, key)
    )
    assert np.asarray(read_image(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 128, 85]


def test_transparency_of_a_palette_of_four_channels_is_seen(tmp_path: Path) -> None:
    """A TGA with 32 bits a colour, every second of them transparent."""
    palette = b"".join(bytes([shade, shade, shade, 255 * (shade % 2)]) for shade in range(256))
    head = (
        bytes([0, 1, 1, 0, 0, 0, 1, 32, 0, 0, 0, 0]) + struct.pack("<HH", 4, 1) + bytes([8, 0x20])
    )
    (tmp_path / "a.tga").write_bytes(head + palette + bytes([0, 1, 200, 201]))
    assert np.asarray(read_image(tmp_path / "a.tga"))[0, :, 0].tolist() == [128, 1, 128, 201]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_picture_of_which_nothing_can_be_seen_is_refused_by_name(
    tmp_path: Path, mode: str
) -> None:
    image = stored("RGB").convert(mode)
    image.putalpha(0)
    image.save(tmp_path / "a.png")
    with pytest.raises(UnreadableSample, match=r"a.png: every pixel of it is transparent"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("gamma", [1.0, 1 / 2.2, 0.3])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_png_is_as_bright_as_its_gamma_says(tmp_path: Path, gamma: float, alpha: bool) -> None:
    light = picture() ** 2.2
    image = Image.fromarray(np.rint(light**gamma * 255).astype(np.uint8))
    if alpha:
        image.putalpha(255)
    image.save(tmp_path / "a.png")
    whole, chunk = (
        (tmp_path / "a.png").read_bytes(),
        b"gAMA" + struct.pack(">I", round(gamma * 100000)),
    )
    told = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(whole[:33] + told + whole[33:])  # behind the head
    assert difference(read_image(tmp_path / "a.png"), picture()) < 0.03


def test_colours_of_16_bits_are_those_of_8(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.rint(picture() * 65535), 16))
    assert difference(read_image(tmp_path / "a.png"), seen("RGB")) < 0.01


def linear_profile(space: bytes) -> bytes:
    """An ICC profile by hand, of sRGB's primaries and a straight tone curve."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    text = b"linear\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    tags = {b"desc": described, b"wtpt": xyz(0.9642, 1.0, 0.8249), b"cprt": b"text\0\0\0\0none\0"}
    if space == b"RGB ":
        tags |= {b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
        tags |= {
            b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
            b"rTRC": curve,
            b"gTRC": curve,
            b"bTRC": curve,
        }
    else:
        tags |= {b"kTRC": curve}
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    head = struct.pack(
        ">I4sI4s4s4s", start + len(data), b"none", 0x02100000, b"mntr", space, b"XYZ "
    ) + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + data


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("mode", "space"), [("RGB", b"RGB "), ("L", b"GRAY")])
def test_colours_are_those_that_the_profile_means(
    tmp_path: Path, mode: str, space: bytes, alpha: bool
) -> None:
    """A straight tone curve: half the light is a brighter grey than 128."""
    colours = luminance(picture()) if mode == "L" else picture()
    light = np.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
    pixels = np.rint(light * 255).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
    if alpha:
        image.putalpha(255)
    image.save(tmp_path / "a.png", icc_profile=linear_profile(space))
    assert difference(read_image(tmp_path / "a.png"), colours) < 0.03
    image.save(tmp_path / "b.png")
    assert difference(read_image(tmp_path / "b.png"), colours) > 0.1


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_profile_changes_the_picture_and_not_the_background(tmp_path: Path, mode: str) -> None:
    """Half the light is 188 in sRGB."""
    image, key = Image.fromarray(np.array([[128, 255]], np.uint8)), 255
    if mode == "RGB":
        image, key = image.convert("RGB"), (255, 255, 255)
    elif mode == "P":
        image, key = Image.fromarray(np.array([[0, 1]], np.uint8), "P"), 1
        image.putpalette([128] * 3 + [255] * 3)
    profile = linear_profile(b"GRAY" if mode == "L" else b"RGB ")
    image.save(tmp_path / "a.png", icc_profile=profile, transparency=key)
    assert np.asarray(read_image(tmp_path / "a.png"))[0, :, 1].tolist() == [188, BACKGROUND[1]]


@pytest.mark.parametrize(
    "profile", [b"no profile", linear_profile(b"GRAY"), linear_profile(b"RGB ")[:200]]
)
def test_a_profile_that_is_damaged_or_of_another_kind_changes_nothing(
    tmp_path: Path, profile: bytes
) -> None:
    stored("RGB").save(tmp_path / "a.png", icc_profile=profile)
    assert difference(read_image(tmp_path / "a.png"), seen("RGB")) < 0.01


def test_an_sRGB_profile_costs_no_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    stored("RGB").save(tmp_path / "a.png", icc_profile=profile)
    monkeypatch.setattr(ImageCms, "applyTransform", lambda *_: pytest.fail("converted"))
    assert difference(read_image(tmp_path / "a.png"), seen("RGB")) < 0.01


def test_a_plain_photo_is_decoded_as_pil_decodes_it(tmp_path: Path) -> None:
    buffer = BytesIO()
    stored("RGB").save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert read_image(tmp_path / "a.jpg").tobytes() == Image.open(buffer).convert("RGB").tobytes()
