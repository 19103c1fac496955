"""What data modules of video files share: videos that are too short are left out."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from blocklearn.data.loader import LabelledSamples
from blocklearn.data.unreadable import LIST
from blocklearn.data.unreadable_list import LEFT_OUT, UnreadableList
from blocklearn.data.video.clip_views import ClipViews
from blocklearn.data.video.video_datamodule import VideoDataModule, VideoRecipeFactory
from blocklearn.data.video.video_files import VideoFiles, short_ones
from blocklearn.distributed.launch import is_first_process, say
from blocklearn.errors import UserError, in_one_line

NAMED = 3  # of those left out


class VideosOfFiles(VideoDataModule):
    """Subclass it and write `files`.

    Args:
        recipe: builds the views from the `VideoSpec`.
        root: folder of the data.
        frames: of a clip.
        image_size: height and width of a clip in pixels.
        leave_out_short: read the headers of all videos before training (half a millisecond of a
            core for an avi, two for an mp4), and leave those out that have fewer frames than a clip
            spans. They are told in one line, and listed in `unreadable_samples.csv`. If false,
            nothing is read, and such a video is one that cannot be read once it is met.
        kwargs: the arguments of `KeyedDataModule`.

    Raises:
        UserError: in `setup`, where there are no videos of enough frames, or more than
            `max_corrupt` that cannot be opened.
    """

    def __init__(
        self,
        recipe: VideoRecipeFactory = ClipViews,
        root: str | Path = "data",
        frames: int = 16,
        image_size: int = 128,
        leave_out_short: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(recipe, root, frames, image_size, **kwargs)
        self.leave_out_short = leave_out_short

    @abstractmethod
    def files(self) -> tuple[Sequence[tuple[Path, int]], Sequence[tuple[Path, int]]]:
        """Path and label of every video for training, and of every one for testing."""

    def setup(self, stage: str | None = None) -> None:
        """Look for every video, so that what is missing is told before training."""
        super().setup(stage)
        _ = self._train, self._test

    def pretraining_samples(self) -> LabelledSamples:
        return self._train

    def test_samples(self) -> LabelledSamples:
        return self._test

    @cached_property
    def _files(self) -> tuple[Sequence[tuple[Path, int]], Sequence[tuple[Path, int]]]:
        return self.files()

    @cached_property
    def _train(self) -> VideoFiles:
        return self._long_enough(self._files[0], "training")

    @cached_property
    def _test(self) -> VideoFiles:
        return self._long_enough(self._files[1], "testing")

    def _long_enough(self, files: Sequence[tuple[Path, int]], use: str) -> VideoFiles:
        enough = getattr(self.recipe, "min_frames", 1)
        if not self.leave_out_short:
            return VideoFiles(files)
        short, damaged = short_ones([path for path, _ in files], enough)
        kept = VideoFiles([(path, label) for path, label in files if path not in short])
        if short:
            say(f"data: {_told(short, len(files), enough, use)}")
            self._list(short, enough)
        if short and not len(kept):
            raise UserError(
                f"data: no video for {use} in {self.root.resolve()} has the {enough} frames of a "
                "clip; lower --data.frames or --data.recipe.stride"
            )
        unreadable = self._unreadable(kept)
        for error in damaged:
            unreadable.note(error)
        return kept

    def _list(self, short: Mapping[Path, int], enough: int) -> None:
        folder = self.folder_of_list()
        if folder and is_first_process():
            with suppress(OSError):  # a full disk is no reason to stop
                reasons = {
                    in_one_line(path.absolute()): f"{LEFT_OUT}{count} frames, fewer than {enough}"
                    for path, count in short.items()
                }
                UnreadableList(folder / LIST).add_all(reasons)


def _told(short: Mapping[Path, int], count: int, enough: int, use: str) -> str:
    names = ", ".join(in_one_line(path) for path in list(short)[:NAMED])
    more = f" and {len(short) - NAMED} more" if len(short) > NAMED else ""
    has = "has" if len(short) == 1 else "have"
    left = "is" if len(short) == 1 else "are"
    return (
        f"{len(short)} of {count} videos for {use} {has} fewer than the {enough} frames of a clip "
        f"and {left} left out: {names}{more}"
    )
