"""Video files: the right frames, and one line for what is none."""

import shutil
import socket
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from blocklearn.data.video.video import open_video
from blocklearn.errors import UnreadableSample, UserError
from tests.videos import WITH_B_FRAMES, WITHOUT, every_frame, write_sound, write_video

OPEN_GOP = {"bf": "2", "x264-params": "open-gop=1:keyint=10:min-keyint=10"}
KINDS = {  # file name: codec, its options, and whether a clip is sought
    "h264 with B-frames.mp4": ("libx264", WITH_B_FRAMES, True),
    "open groups.mkv": ("libx264", OPEN_GOP, True),
    "mpeg4 with B-frames.mov": ("mpeg4", WITH_B_FRAMES, True),
    "as UCF101.avi": ("mpeg4", WITHOUT, True),
    "B-frames.avi": ("mpeg4", WITH_B_FRAMES, False),
    "h264 in.avi": ("libx264", WITH_B_FRAMES, False),
    "vp8.webm": ("libvpx", {"g": "10", "deadline": "realtime"}, False),
    "vp9.webm": ("libvpx-vp9", {"g": "10", "deadline": "realtime", "cpu-used": "8"}, True),
    "transport.mts": ("libx264", WITH_B_FRAMES, False),
    "mpeg2.mpg": ("mpeg2video", WITH_B_FRAMES, False),
    "wmv2.wmv": ("wmv2", {"g": "10"}, False),
}


def refused(path: Path) -> str:
    """What is said of a file that cannot be opened or read to its end."""
    with pytest.raises(UnreadableSample) as told:
        open_video(path).read()
    assert f"cannot read the video {path}" in str(told.value)
    assert "\n" not in str(told.value)
    return told.value.reason


@pytest.mark.parametrize("name", KINDS)
def test_the_frames_of_a_clip_are_those_of_decoding_the_whole_file(tmp_path: Path, name: str):
    codec, options, sought = KINDS[name]
    expected = every_frame(write_video(tmp_path / name, 35, codec, options))
    video = open_video(tmp_path / name)
    assert (video.frames, video.height, video.width, video.fps) == (35, 48, 64, 25)
    assert (video.index.times is not None) == sought
    for start in range(0, 29, 4):
        assert np.array_equal(video.read(start, 3, 3), expected[start : start + 7 : 3])
    assert np.array_equal(video.read(), expected)


def test_of_a_clip_only_what_lies_between_its_keyframe_and_its_end_is_decoded(tmp_path: Path):
    path = write_video(tmp_path / "a.avi", 40, "mpeg4", WITHOUT)
    expected = every_frame(path)
    content = bytearray(path.read_bytes())
    for number, place in enumerate(_places(content, b"00dc")[:40]):
        if not 20 <= number <= 28:
            content[place + 8 : place + 20] = b"\xff" * 12
    path.write_bytes(content)
    assert np.array_equal(open_video(path).read(23, 2, 5), expected[[23, 28]])
    refused(path)


def _places(content: bytes, chunk: bytes) -> list[int]:
    places, at = [], content.index(b"movi")
    while (at := content.find(chunk, at + 1)) >= 0:
        places.append(at)
    return places


@pytest.mark.parametrize(
    ("name", "codec", "header"),
    [("lies.avi", "mpeg4", b"avih"), ("lies.avi", "mpeg4", b"strh")],
)
@pytest.mark.parametrize("claimed", [0, 7, 5000])
def test_a_header_that_lies_about_the_number_of_frames_is_not_believed(
    tmp_path: Path, name: str, codec: str, header: bytes, claimed: int
):
    path = write_video(tmp_path / name, 30, codec, WITHOUT)
    content = bytearray(path.read_bytes())
    place = content.index(header) + 8 + {b"avih": 16, b"strh": 32}[header]
    assert struct.unpack("<I", content[place : place + 4]) == (30,)
    content[place : place + 4] = struct.pack("<I", claimed)
    path.write_bytes(content)
    assert open_video(path).frames == 30
    assert len(open_video(path).read(10)) == 20


@pytest.mark.parametrize(
    ("name", "codec", "muxing"),
    [
        ("a.avi", "mpeg4", {}),
        ("header behind.mp4", "libx264", {}),
        ("header in front.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mkv", "libx264", {}),
    ],
)
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_a_file_that_is_cut_short_is_named(
    tmp_path: Path, name: str, codec: str, muxing: dict[str, str], kept: float
):
    path = write_video(tmp_path / name, 40, codec, WITHOUT, muxing=muxing)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert refused(path)


def test_what_is_no_video_is_named(tmp_path: Path):
    path = tmp_path / "a.mp4"
    assert refused(path) == "No such file or directory"
    path.write_bytes(b"")
    assert refused(path) == "it is empty"
    path.write_bytes(b"\0" * 5000)
    assert "Invalid data" in refused(path)
    path.write_text("<html>404 not found</html>" * 100)
    assert "Invalid data" in refused(path)
    assert refused(write_sound(tmp_path / "sound.mp4")) == "it holds no video"
    assert refused(write_video(tmp_path / "none.avi", 0, "mpeg4", WITHOUT))
    (tmp_path / "folder.mp4").mkdir()
    assert refused(tmp_path / "folder.mp4") == "Is a directory"


def test_a_picture_of_a_record_is_no_video(tmp_path: Path):
    import av

    sound, picture = write_sound(tmp_path / "sound.mp4"), tmp_path / "cover.avi"
    write_video(picture, 1, "mjpeg", {})
    path = tmp_path / "record.mp4"
    with (
        av.open(str(sound)) as heard,
        av.open(str(picture)) as seen,
        av.open(str(path), "w") as out,
    ):
        streams = [out.add_stream_from_template(s.streams[0]) for s in (heard, seen)]
        streams[1].disposition = int(av.stream.Disposition.attached_pic)
        for source, stream in zip((heard, seen), streams, strict=True):
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    assert refused(path) == "it holds no video"


@pytest.mark.parametrize("name", ["a: b.mp4", "%03d #?.mp4", "Übung\n2.mp4", "b\udcff.mp4"])
def test_a_file_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    shutil.move(write_video(tmp_path / "a.mp4", 5), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(open_video(Path(name)).read()) == 5


def test_a_list_of_addresses_is_not_followed(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")
        assert refused(tmp_path / "list.mp4")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()


def test_a_video_that_was_filmed_upright_is_turned_as_the_file_says(tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", 5)
    expected = every_frame(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, 48 * one, 0, 1 << 30)
    content[place : place + 36] = matrix  # a quarter turn clockwise
    path.write_bytes(content)
    assert np.array_equal(open_video(path).read(), np.rot90(expected, -1, (1, 2)))


def test_frames_of_different_size_are_no_clip(tmp_path: Path):
    sizes, path = (64, 96), tmp_path / "both.m2v"
    parts = [tmp_path / f"{width}.m2v" for width in sizes]
    for width, part in zip(sizes, parts, strict=True):
        write_video(part, 5, "mpeg2video", WITHOUT, (width, 48))
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert refused(path) == "its frames are of different size"


def test_a_clip_beyond_the_end_is_refused(tmp_path: Path):
    video = open_video(write_video(tmp_path / "a.mp4", 10))
    assert len(video.read(0, 4, 3)) == 4
    with pytest.raises(UnreadableSample, match="it has 10 frames"):
        video.read(1, 4, 3)


def test_a_file_that_was_written_anew_is_looked_at_anew(tmp_path: Path):
    assert open_video(write_video(tmp_path / "a.mp4", 10)).frames == 10
    assert open_video(write_video(tmp_path / "a.mp4", 12)).frames == 12


def test_without_the_reader_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_video(tmp_path / "a.mp4", 5)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'blocklearn\[video\]'") as told:
        open_video(path)
    assert not isinstance(told.value, UnreadableSample)
