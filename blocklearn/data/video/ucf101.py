"""UCF101: 13,320 videos of 101 actions."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from blocklearn.data.labelled_part import stratified_part
from blocklearn.data.video.clip_views import ClipViews
from blocklearn.data.video.video_datamodule import VideoRecipeFactory
from blocklearn.data.video.video_files import VideoFiles
from blocklearn.data.video.videos_of_files import VideosOfFiles
from blocklearn.errors import UserError

SOURCE = "https://www.crcv.ucf.edu/data/UCF101.php"
LISTS = "ucfTrainTestlist"
LINE = re.compile(r"(?P<name>(?P<action>[^/\\]+)[/\\][^/\\]+\.avi)(\s+\d+)?")


class UCF101(VideosOfFiles):
    """13,320 videos of 101 human actions, 320 x 240 pixels at 25 frames a second, in the official
    splits of their authors (arXiv 1212.0402).

    They lie as the two archives unpack them: the videos in `root/UCF-101/ACTION` (or
    `root/ACTION`), the split lists in `root/ucfTrainTestlist` (or `root`).

    Args:
        root: folder of the data.
        recipe: makes the views.
        fold: which of the three official splits.
        test_part: part of the test videos that is used, in (0, 1]: the same part of every action,
            drawn once and for all. The blockwise video transformers (arXiv 2601.09040) are tested
            on 0.3; which videos these are, and whether the part is the same of every action, is
            not published.
        batch_size: samples of a batch, over all processes.
        kwargs: the arguments of `VideosOfFiles`.

    Raises:
        UserError: for values out of range; when the data is asked for, where lists or videos are
            missing, by name.
    """

    title = "UCF101"

    def __init__(
        self,
        root: str | Path = "data/ucf101",
        recipe: VideoRecipeFactory = ClipViews,
        fold: Literal[1, 2, 3] = 1,
        test_part: float = 1.0,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(recipe, root, batch_size=batch_size, **kwargs)
        if fold not in (1, 2, 3) or not 0 < test_part <= 1:
            raise UserError(
                "data: fold must be 1, 2 or 3, and test_part above 0 and at most 1, got "
                f"{fold} and {test_part}"
            )
        self.fold, self.test_part = fold, test_part

    @cached_property
    def classes(self) -> list[str]:
        """Names of the actions, by label: the order of `classInd.txt`."""
        return [line.split()[-1] for line in self._lines("classInd.txt")]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def files(self) -> tuple[Sequence[tuple[Path, int]], Sequence[tuple[Path, int]]]:
        train, test = (
            self._listed(f"{split}list{self.fold:02}.txt") for split in ("train", "test")
        )
        if self.test_part < 1:
            kept = stratified_part(VideoFiles(test), self.test_part, seed=0).positions
            test = [test[position] for position in kept]
        return train, test

    def _listed(self, name: str) -> list[tuple[Path, int]]:
        labels = {action: label for label, action in enumerate(self.classes)}
        listed = []
        for line in self._lines(name):
            entry = LINE.fullmatch(line)
            if entry is None or entry["action"] not in labels:
                raise UserError(
                    f"data: {self._lists / name} has the line {line!r}, which is no video of one "
                    f"of the actions in classInd.txt; fetch the split lists anew from {SOURCE}"
                )
            path = self._videos.joinpath(*re.split(r"[/\\]", entry["name"]))
            listed.append((path, labels[entry["action"]]))
        self._require_there(listed, name)
        return listed

    def _require_there(self, listed: Sequence[tuple[Path, int]], name: str) -> None:
        missing = [path for path, _ in listed if not path.is_file()]
        if missing:
            raise UserError(
                f"data: {len(missing)} of the {len(listed)} videos in {name} are not there, "
                f"{missing[0].absolute()} first; unpack UCF101.rar of {SOURCE} in "
                f"{self.root.resolve()}, or name another folder with --data.root"
            )

    def _lines(self, name: str) -> list[str]:
        path = self._lists / name
        try:
            lines = [line.strip() for line in path.read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"data: cannot read the split list {path.absolute()}; unpack "
                f"UCF101TrainTestSplits-RecognitionTask.zip of {SOURCE} in {self.root.resolve()}, "
                "or name another folder with --data.root"
            ) from error
        if not any(lines):
            raise UserError(
                f"data: the split list {path.absolute()} is empty; fetch it anew from {SOURCE}"
            )
        return [line for line in lines if line]

    @property
    def _lists(self) -> Path:
        inner = self.root / LISTS
        return inner if inner.is_dir() else self.root

    @property
    def _videos(self) -> Path:
        inner = self.root / "UCF-101"
        return inner if inner.is_dir() else self.root
