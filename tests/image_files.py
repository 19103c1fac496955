"""Image files of depths that Pillow does not write, by hand."""

import struct
import zlib

import numpy as np


def tiff(values: np.ndarray, bits: int, photometric: int = 1, kind: int = 1) -> bytes:
    """A grey TIFF by hand: `kind` 1 for integers, 2 with signs, 3 for floats; of 12 bits two
    samples in three bytes."""
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        packed = [[a >> 4, (a & 15) << 4 | b >> 8, b & 255] for a, b in pairs]
        data = bytes(np.array(packed, np.uint8))
    else:
        data = values.astype(
            {8: "i1", 16: "<u2", 32: "<f4" if kind == 3 else "<u4"}[bits]
        ).tobytes()
    height, width = values.shape
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 8 + 2 + 12 * 10 + 4,
        277: 1,
        278: height,
    }
    tags |= {279: len(data), 339: kind}
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
        for tag, value in tags.items()
    )
    return (
        b"II*\0"
        + struct.pack("<I", 8)
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", 0)
        + data
    )


def png(values: np.ndarray, bits: int, *more: tuple[bytes, bytes]) -> bytes:
    """By hand, grey `(H, W)` of 2 or 4 bits or `(H, W, 3)` of 16, which Pillow does not write;
    `more` are its chunks."""
    height, width = values.shape[:2]
    if bits < 8:
        digits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., -bits:]
        packed = np.packbits(digits.reshape(height, -1), axis=1)
    else:
        packed = values.astype(">u2" if bits == 16 else np.uint8)
    kind = 2 if values.ndim == 3 else 0
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)),
        *more,
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d))
        for name, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
