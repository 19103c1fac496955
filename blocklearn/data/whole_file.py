"""Whether a sound or video file is as long as it says of itself."""

from pathlib import Path
from typing import BinaryIO

# from here on the size in a RIFF header stands for "not known", as of sound that was piped
UNKNOWN_SIZE = 0x7FFF0000
HEADER_SLACK = 8  # bytes; some writers count the RIFF header's own eight in
BOXES = {
    b"ftyp",
    b"moov",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"styp",
    b"pnot",
}  # that may be first
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def cut_short(path: Path) -> str | None:
    """Why a file is not whole: its container (RIFF: wav and avi; MP4 and QuickTime; Matroska and
    WebM) promises more bytes than there are. Null for a whole one, and for any other container.

    Args:
        path: of the file; only headers are read.

    Raises:
        OSError: for a file that cannot be read.
    """
    there = path.stat().st_size
    with path.open("rb") as file:
        promised = _promised(file, there)
    if promised > there + HEADER_SLACK:
        return f"it is cut short, {there} bytes of {promised}"
    return None


def _promised(file: BinaryIO, there: int) -> int:
    """Bytes; 0 where nothing is promised."""
    start = file.read(12)
    if start[:4] == b"RIFF":
        size = int.from_bytes(start[4:8], "little") + 8
        return size if size < UNKNOWN_SIZE else 0
    if start[:4] == EBML:
        return _of_segment(file)
    return _of_boxes(file, there) if start[4:8] in BOXES else 0


def _of_boxes(file: BinaryIO, there: int) -> int:
    """Where the last box on the outermost level ends."""
    end = 0
    while end < there:
        file.seek(end)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # it reaches to the end of the file, or is no box
            return 0
        end += size
    return end


def _of_segment(file: BinaryIO) -> int:
    """Where the segment behind the header ends."""
    file.seek(4)
    header = _read_size(file)
    if header is None:
        return 0
    file.seek(header, 1)
    if file.read(4) != SEGMENT:
        return 0
    size = _read_size(file)
    return 0 if size is None else file.tell() + size


def _read_size(file: BinaryIO) -> int | None:
    """A number of variable length; null for one that stands for "not known"."""
    first = (file.read(1) or b"\0")[0]
    length = 9 - first.bit_length()
    if not 1 <= length <= 8:
        return None
    value = int.from_bytes(bytes([first]) + file.read(length - 1), "big")
    value -= 1 << (7 * length)
    return None if value == (1 << (7 * length)) - 1 else value
