"""What a network expects of its input, from the configuration of the run that trained it."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from blocklearn.data.images.image_datamodule import ImageDataModule
from blocklearn.data.images.image_spec import ImageSpec
from blocklearn.data.sound.speech import SpeechDataModule
from blocklearn.old_paths import new_path


def input_facts(recipe: Mapping[str, Any]) -> str | None:
    """Channels, range and statistics of what is fed, of sound its sampling rate too, in one
    sentence. None where the data or the way its views are made are not blocklearn's own, whose
    normalisation is known.

    Args:
        recipe: the run's configuration.
    """
    data, arguments, _ = _data_of(recipe)
    if data is None:
        return None
    if issubclass(data, SpeechDataModule):
        rate = arguments.get("sample_rate")
        at = f" at {rate} Hz" if rate else ""
        return (
            f"sound `(B, 1, L)`{at}, samples in [-1, 1] less the mean {data.mean:g}, divided by "
            f"{data.std:g}"
        )
    spec = image_spec(recipe)
    if spec is None:
        return None
    pixels = f"of {spec.size} x {spec.size} pixels " if arguments.get("image_size") else ""
    grey = len(spec.mean) == 1
    kind = "in grey `(B, 1, H, W)`" if grey else "in red, green and blue `(B, 3, H, W)`"
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (spec.mean, spec.std))
    return f"images {pixels}{kind}, values in [0, 1] less the mean ({mean}), divided by ({std})"


def image_spec(recipe: Mapping[str, Any]) -> ImageSpec | None:
    """What images are fed as; None where the data are no images, or not blocklearn's own. The size
    is 1 where it is not known."""
    data, arguments, views = _data_of(recipe)
    if data is None or not issubclass(data, ImageDataModule):
        return None
    spec = ImageSpec(arguments.get("image_size") or 1, data.mean, data.std, data.grey)
    crops = str(views.get("class_path")).endswith(".CropViews")
    grey = crops and bool((views.get("init_args") or {}).get("greyscale"))
    return spec.in_grey() if grey else spec


def _data_of(recipe: Mapping[str, Any]) -> tuple[type | None, dict[str, Any], dict[str, Any]]:
    """Class and arguments of the data, and its recipe for views; no class where one of the two is a
    stranger's."""
    chosen = recipe.get("data") or {}
    data, arguments = _own_class(chosen.get("class_path")), chosen.get("init_args") or {}
    views = arguments.get("recipe")
    # where it is not a class with its arguments it is the data's own default
    views = dict(views) if isinstance(views, Mapping) else {}
    if views and _own_class(views.get("class_path")) is None:
        data = None
    return data, dict(arguments), views


def _own_class(path: str | None) -> type | None:
    """The class of blocklearn's data that a configuration names; for a stranger's nothing is
    imported."""
    room, _, name = new_path(path or "").rpartition(".")
    if room.split(".")[:2] != ["blocklearn", "data"]:
        return None
    try:
        found = getattr(import_module(room), name, None)
    except ModuleNotFoundError:  # of another version
        return None
    return found if isinstance(found, type) else None
