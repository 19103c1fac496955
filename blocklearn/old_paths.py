"""Modules that have moved: their old paths work for one version, in class paths and in imports."""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {  # within the package, since 0.2
    "Sequential": "SequentialSchedule",
    "Simultaneous": "SimultaneousSchedule",
    "blocks.schedule.Sequential": "training.schedule.SequentialSchedule",
    "blocks.schedule.Simultaneous": "training.schedule.SimultaneousSchedule",
    "arguments": "cli.parser",
    "blocks.backbone": "backbones.create",
    "blocks.bare": "blocks.without_objectives",
    "blocks.checkpoint": "weights.checkpoint",
    "blocks.early_stopping": "training.early_stopping",
    "blocks.families": "backbones.families",
    "blocks.finite": "training.finite",
    "blocks.grouping": "backbones.cut",
    "blocks.monitor_times": "training.monitor_times",
    "blocks.monitors": "training.monitors",
    "blocks.objective": "objectives.objective",
    "blocks.patches": "backbones.patches",
    "blocks.place": "training.place",
    "blocks.published": "weights.external",
    "blocks.schedule": "training.schedule",
    "blocks.stage": "backbones.stage",
    "blocks.structure": "weights.structure",
    "blocks.trainer_parts": "training.trainer_parts",
    "blocks.unfinished": "training.unfinished",
    "blocks.update": "training.update_rule",
    "blocks.walk": "training.lightning_walk",
    "compare_command": "cli.compare",
    "config_files": "cli.config_files",
    "data.colour": "data.images.colour",
    "data.colour_profile": "data.images.colour_profile",
    "data.colour_work": "data.images.colour_work",
    "data.crop_views": "data.images.crop_views",
    "data.decoding": "data.images.decoding",
    "data.digits": "data.images.digits",
    "data.folder_parts": "data.images.folder_parts",
    "data.folder_remarks": "data.images.folder_remarks",
    "data.image_datamodule": "data.images.image_datamodule",
    "data.image_folder": "data.images.image_folder",
    "data.librispeech": "data.sound.librispeech",
    "data.pixel_range": "data.images.pixel_range",
    "data.recording": "data.sound.recording",
    "data.resample": "data.sound.resample",
    "data.sound_views": "data.sound.sound_views",
    "data.speech": "data.sound.speech",
    "data.spoken_digits": "data.sound.spoken_digits",
    "data.synthetic": "data.images.synthetic",
    "data.torchvision_sets": "data.images.torchvision_sets",
    "data.views": "data.images.views",
    "data.views.GlyphViews": "data.images.glyph_views.GlyphViews",
    "data.window_length": "data.sound.window_length",
    "demo": "cli.demo",
    "encoders": "backbones",
    "encoders.preact_resnet": "backbones.preact_resnet",
    "encoders.speech": "backbones.speech_encoder",
    "export_command": "cli.export",
    "guard": "cli.error_exit",
    "interop.files": "weights.atomic_write",
    "interop.rebuild": "interop.loading_code",
    "interop.trained": "interop.trained_weights",
    "objectives.barlow_twins": "criteria.barlow_twins",
    "objectives.context": "heads.context",
    "objectives.contrast": "objectives.infonce",
    "objectives.criterion": "criteria.criterion",
    "objectives.expanded_mean": "kernels.expanded_mean",
    "objectives.gram": "kernels.product_norm",
    "objectives.packed_mask": "kernels.packed_mask",
    "objectives.pixel_cnn": "heads.pixel_cnn",
    "objectives.pooling": "heads.pooling",
    "objectives.projector": "heads.projector",
    "objectives.recomputed_mean": "kernels.recomputed_mean",
    "objectives.recurrent_context": "heads.recurrent_context",
    "objectives.simclr": "criteria.simclr",
    "objectives.vicreg": "criteria.vicreg",
    "run_command": "cli.run_command",
    "run_folder": "runs.run_folder",
    "trainer": "cli.trainer",
    "verbs": "cli.verbs",
}


def new_path(path: str) -> str:
    """Of a module, or of something in it, by its dotted path; any other path as it is."""
    package, _, rest = path.partition(".")
    words = rest.split(".")
    for count in range(len(words), 0, -1) if package == "blocklearn" else ():
        moved = MOVED.get(".".join(words[:count]))
        if moved:
            return ".".join([package, moved, *words[count:]])
    return path


class OldPaths(MetaPathFinder, Loader):
    """Imports a moved module in place of the one that was asked for."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname.removeprefix("blocklearn.") in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(new_path(module.__name__))


def follow_old_paths() -> None:
    """From now on; once."""
    if not any(isinstance(finder, OldPaths) for finder in sys.meta_path):
        sys.meta_path.append(OldPaths())
