"""Videos in folders, one folder a class."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from blocklearn.data.class_folders import ClassFolders
from blocklearn.data.folder_content import FolderContent
from blocklearn.data.images.decoding import SUFFIXES as IMAGE_SUFFIXES
from blocklearn.data.listing import list_files, list_here
from blocklearn.data.loader import LabelledSamples
from blocklearn.data.video.clip_views import ClipViews
from blocklearn.data.video.video_datamodule import VideoRecipeFactory
from blocklearn.data.video.video_files import SUFFIXES
from blocklearn.data.video.videos_of_files import VideosOfFiles
from blocklearn.errors import UserError


class VideoFolder(VideosOfFiles):
    """`root/train/CLASS/VIDEO` and `root/val/CLASS/VIDEO` (or `root/test/...`). A video is a file,
    or a folder of images, `root/train/CLASS/VIDEO/FRAME`, in the order of their names.

    Where there is neither `val` nor `test`, `held_out` of the training videos, drawn once and for
    all, are kept for testing and out of training. Video files that lie in `root/train` itself have
    no label.

    Args:
        root: folder of the videos.
        recipe: makes the views.
        held_out: part of the training videos kept for testing where the folder has no test videos,
            in (0, 1).
        kwargs: the arguments of `VideosOfFiles`.

    Raises:
        UserError: when the data is asked for and is not there; it names the folder.
    """

    def __init__(
        self,
        root: str | Path = "data/videos",
        recipe: VideoRecipeFactory = ClipViews,
        held_out: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(recipe, root, **kwargs)
        if not 0 < held_out < 1:
            raise UserError(f"data: held_out must lie between 0 and 1, got {held_out}")
        self.held_out = held_out

    @cached_property
    def _parts(self) -> ClassFolders:
        return ClassFolders(self.root, self.held_out, VIDEOS)

    @property
    def title(self) -> str:
        """Name of the folder, and whether its test videos are held out of its training videos."""
        name = self.root.resolve().name
        return f"{name}, {self.held_out:.0%} held out" if self._parts.split_here else name

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""
        return self._parts.classes

    @property
    def num_classes(self) -> int:
        return len(self._parts.classes)

    def files(self) -> tuple[Sequence[tuple[Path, int]], Sequence[tuple[Path, int]]]:
        return self._parts.learnt, self._parts.tested

    def probe_samples(self) -> LabelledSamples:
        if not self.classes:
            raise UserError(
                f"data: {self.root} has no class folders to probe; put its videos into one folder "
                "a class"
            )
        return super().probe_samples()


def list_videos(folder: Path, others: Counter[str]) -> list[Path]:
    """The video files below a class folder, and the folders in it that hold images and no video
    file, each of which is a video.

    Args:
        folder: of a class.
        others: counts files that are neither, by suffix, and images that are no frames.
    """
    found = list_files(folder, (*SUFFIXES, *IMAGE_SUFFIXES), others)
    videos = [path for path in found if path.suffix.lower() in SUFFIXES]
    no_frames = {folder, *(path.parent for path in videos)}
    images = [path for path in found if path.suffix.lower() not in SUFFIXES]
    others.update(path.suffix.lower() for path in images if path.parent in no_frames)
    return sorted({*videos, *(path.parent for path in images if path.parent not in no_frames)})


VIDEOS = FolderContent(
    "video",
    "a VIDEO is a file, or a folder of its frames as images",
    list_videos,
    lambda folder, others: list_here(folder, SUFFIXES, others),
)
