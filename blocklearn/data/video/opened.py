"""A video file, open for reading."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from blocklearn.errors import UnreadableSample, UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# a file that is a list of addresses must not make the reader fetch them
OPTIONS = {"protocol_whitelist": "file"}


@contextmanager
def opened(path: Path) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """The container and its first video stream, decoded by one thread: the loader's processes are
    the parallelism. A still picture in a sound file is no video.

    PyAV reads, because its wheels bring FFmpeg with them; torchcodec needs FFmpeg's libraries
    installed beside it, and refuses to decode without them.

    Raises:
        UnreadableSample: whatever is wrong with the file, in here or in the body, by name.
        UserError: where PyAV is missing.
    """
    av = _import_av()
    try:
        with av.open(
            f"file:{path.absolute()}", container_options=OPTIONS, metadata_errors="replace"
        ) as container:
            stream = next((s for s in container.streams.video if not _is_cover(s)), None)
            if stream is None:
                raise unreadable(path, "it holds no video")
            if stream.codec_context is None:
                raise unreadable(path, "its codec is not known")
            stream.codec_context.thread_count = 1
            yield container, stream
    except UserError:
        raise
    except Exception as error:  # what FFmpeg makes of damaged files is of every kind
        raise unreadable(path, _reason(path, error)) from error


def unreadable(path: Path, reason: object) -> UnreadableSample:
    """The error that names a video."""
    return UnreadableSample(path, reason, "video")


def _import_av() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise UserError(
            "data: PyAV, which reads video files, is not installed: pip install 'blocklearn[video]'"
        ) from error
    return av


def _is_cover(stream: "VideoStream") -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _reason(path: Path, error: Exception) -> str:
    with suppress(OSError):
        if path.stat().st_size == 0:
            return "it is empty"
    told = getattr(error, "strerror", None) or str(error)
    return told or f"it is damaged ({type(error).__name__})"
