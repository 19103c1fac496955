"""Folders of images that were corrupted beforehand, as ImageNet-C ships."""

from collections.abc import Sequence
from pathlib import Path

from blocklearn.data.images.corruptions.corrupted_images import Case
from blocklearn.data.images.decoding import SUFFIXES
from blocklearn.data.images.folder_parts import ImageFiles
from blocklearn.errors import UserError


def ready_files(folder: Path, case: Case, classes: Sequence[str]) -> ImageFiles:
    """The images in `FOLDER/CORRUPTION/SEVERITY/CLASS/`, in the order of their names.

    Args:
        folder: of the whole set; the four families' folders of ImageNet-C belong into one.
        case: (corruption, severity).
        classes: names of the class folders, in the order of the labels.

    Raises:
        UserError: where a folder is not there, holds another class, or no image.
    """
    place = folder / case[0] / str(case[1])
    if not place.is_dir():
        raise UserError(
            f"evaluation.folder: {place} is not there; images belong into "
            "FOLDER/CORRUPTION/SEVERITY/CLASS/"
        )
    labels = {name: label for label, name in enumerate(classes)}
    files = []
    for part in sorted(path for path in place.iterdir() if path.is_dir()):
        if part.name not in labels:
            raise UserError(
                f"evaluation.folder: {part} is none of the {len(labels)} classes of the data"
            )
        images = sorted(path for path in part.iterdir() if path.suffix.lower() in SUFFIXES)
        files += [(path, labels[part.name]) for path in images]
    if not files:
        raise UserError(f"evaluation.folder: {place} holds no images in class folders")
    return ImageFiles(files)


def class_names(folder: Path, case: Case, known: Sequence[str] | None, count: int) -> list[str]:
    """Of the class folders, in the order of the labels: those of the data where it has names, else
    the folders' in order, numbers by their value.

    Raises:
        UserError: where the data has no names and the folders are not as many as its classes.
    """
    if known is not None:
        return list(known)
    place = folder / case[0] / str(case[1])
    found = [path.name for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
    if place.is_dir() and len(found) != count:
        raise UserError(
            f"evaluation.folder: {place} has {len(found)} class folders, the data has {count} "
            "classes"
        )
    numbers = all(name.isdecimal() for name in found)
    return sorted(found, key=lambda name: (int(name) if numbers else 0, name))
