"""Read checkpoints: tensors and plain data only, nothing in the file is ever executed."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blocklearn.errors import UserError

STRUCTURE = "blocklearn"  # the checkpoint's key that says what network it holds


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint that `blocklearn fit` wrote. Tensors stay on disk until they are used.

    Raises:
        UserError: for a missing file, one that is no checkpoint, one that holds anything but tensors and plain data, or
            one that another program wrote.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint: there is no file {path}; a run keeps its own in RUN_FOLDER/checkpoints/last.ckpt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"checkpoint: {path} is damaged or holds more than tensors and plain data, refused ({reason})"
        ) from error
    except (RuntimeError, EOFError, KeyError, OSError, ValueError) as error:
        raise UserError(f"checkpoint: {path} cannot be read, it may be cut short: {error}") from error
    if not isinstance(content, dict) or STRUCTURE not in content or "state_dict" not in content:
        raise UserError(f"checkpoint: {path} was not written by blocklearn fit")
    return content


def load_weights(module: nn.Module, state_dict: dict[str, Tensor], path: str | Path) -> None:
    """Load all weights, strictly.

    Raises:
        UserError: naming the first weights that are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state_dict]
    unexpected = [name for name in state_dict if name not in own]
    reshaped = [
        f"{name} is {tuple(state_dict[name].shape)} there and {tuple(own[name].shape)} here"
        for name in own
        if name in state_dict and own[name].shape != state_dict[name].shape
    ]
    complaints = [
        f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (("other shapes:", reshaped), ("it lacks", missing), ("it also holds", unexpected))
        if names
    ]
    if complaints:
        raise UserError(
            f"checkpoint: {path} does not fit this network: {'; '.join(complaints)}. Use the configuration it was trained "
            "with (config.yaml in its run folder)"
        )
    module.load_state_dict(state_dict)
