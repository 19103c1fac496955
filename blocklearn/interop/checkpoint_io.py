"""How the Trainer's checkpoints reach the disk, leave it and come back."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from blocklearn.weights.atomic_write import replacing

PATHS = ("best_model_path", "last_model_path", "kth_best_model_path", "best_k_models", "dirpath")


class StreamingCheckpointIO(TorchCheckpointIO):
    """Writes straight to the file, whole or not at all, and flushed: the old one goes only when the
    new one is on the disk. Lightning's own first builds the file in memory, twice: 10 GB more than
    the training itself for the published recipe.

    A checkpoint may come from a stranger. What it says of paths on the disk is not believed, and
    nothing is removed but checkpoints in the run's own folders.

    Args:
        folders: says where the run's checkpoints may lie.
    """

    def __init__(self, folders: Callable[[], Iterable[Path]] = tuple) -> None:
        super().__init__()
        self.folders = folders

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with replacing(Path(path), needed=bytes_in(checkpoint)) as unfinished:
            torch.save(checkpoint, unfinished)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        checkpoint = super().load_checkpoint(path, *args, **kwargs)
        states = checkpoint.get("callbacks") or {}
        checkpoint["callbacks"] = {
            name: self._without_strange_paths(state) for name, state in states.items()
        }
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove one file of ours. Whatever else is asked for stays."""
        if self._is_ours(path):
            Path(path).unlink(missing_ok=True)

    def _is_ours(self, path: Any) -> bool:
        path = Path(path)
        inside = any(
            path.parent.resolve().is_relative_to(folder.resolve()) for folder in self.folders()
        )
        return inside and path.suffix == ".ckpt" and not path.is_symlink() and not path.is_dir()

    def _without_strange_paths(self, state: Any) -> Any:
        """A callback's state; what names a path outside of the run's folders is empty again."""
        if not isinstance(state, Mapping) or not set(PATHS) & state.keys():
            return state
        best = state.get("best_k_models")
        best = best if isinstance(best, Mapping) else {}
        kept = {key: value for key, value in best.items() if self._is_ours(key)}
        paths = {
            name: state[name] if self._is_ours(state.get(name) or "") else "" for name in PATHS[:3]
        }
        return {**state, **paths, "best_k_models": kept}


def bytes_in(value: Any) -> int:
    """Of all tensors in nested mappings and sequences."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(bytes_in, value.values()))
    return sum(map(bytes_in, value)) if isinstance(value, (list, tuple)) else 0
