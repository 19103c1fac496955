"""Read checkpoints: tensors and plain data only, nothing in the file is ever executed."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from blocklearn.errors import UserError
from blocklearn.weights.file_names import EXPORTED, EXPORTED_HEADS
from blocklearn.weights.hub import local_copy
from blocklearn.weights.structure import NetworkStructure, no_larger_than

STRUCTURE = "blocklearn"  # the checkpoint's key that says what network it holds
PUBLISHED = "blocklearn_published"  # where in its weights the modules are that exports keep


def read_checkpoint(path: str | Path, weights_suffice: bool = False) -> dict[str, Any]:
    """The content of a checkpoint that `blocklearn fit` wrote. Tensors stay on disk until they are
    used.

    Args:
        path: of the file.
        weights_suffice: whether one without the optimizers' states will do.

    Raises:
        UserError: as `read_weights`, and for a file that another program wrote.
    """
    content = read_weights(path)
    if not is_checkpoint(content):
        raise UserError(f"checkpoint: {path} was not written by blocklearn fit")
    if "optimizer_states" not in content and not weights_suffice:
        raise UserError(
            f"checkpoint: {path} holds weights alone (save_weights_only) and no run goes on from "
            "them; take checkpoints/last.ckpt, or begin a new run from it with --model.checkpoint"
        )
    content = {"optimizer_states": [], **content}
    kinds = {
        "state_dict": Mapping,
        "epoch": int,
        "global_step": int,
        "loops": Mapping,
        "optimizer_states": list,
    }
    for name, kind in {**kinds, "callbacks": Mapping}.items():
        if not isinstance(content.get(name, {} if name == "callbacks" else None), kind):
            raise UserError(
                f"checkpoint: {path} is damaged: its {name} is a {type(content.get(name)).__name__}"
            )
    return content


def is_checkpoint(content: Mapping[str, Any]) -> bool:
    """Whether `blocklearn fit` wrote it, rather than another program."""
    return STRUCTURE in content and "state_dict" in content


def read_weights(path: str | Path) -> dict[str, Any]:
    """The content of any file of weights: one that `torch.save` wrote, or safetensors; for a folder
    that `blocklearn export` wrote, the weights in it; `hf-hub:OWNER/NAME` fetches such a folder.

    Raises:
        UserError: for a missing file, one that holds no weights, or one that holds anything but
            tensors and plain data.
    """
    path = local_copy(path)
    if (path / EXPORTED).is_file():
        heads = path / EXPORTED_HEADS
        return read_weights(path / EXPORTED) | (read_weights(heads) if heads.is_file() else {})
    if not path.is_file():
        raise UserError(
            f"checkpoint: there is no file {path}; a run keeps its own in "
            "RUN_FOLDER/checkpoints/last.ckpt"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # of pickles in another form, which are read or refused all the same
            warnings.simplefilter("ignore")
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it names {named[1]}" if named else str(error).splitlines()[0]
        raise UserError(
            f"checkpoint: {path} is damaged or holds more than tensors and plain data, refused "
            f"({reason})"
        ) from error
    except (RuntimeError, EOFError, KeyError, OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"checkpoint: {path} cannot be read, it may be cut short: {error}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"checkpoint: {path} was not written by blocklearn fit, and holds no weights by name"
        )
    if is_checkpoint(content):
        content[STRUCTURE] = NetworkStructure.checked(content[STRUCTURE], path)
        if not isinstance(content["state_dict"], Mapping) or not all(
            isinstance(name, str) and isinstance(value, Tensor)
            for name, value in content["state_dict"].items()
        ):
            raise UserError(
                f"checkpoint: {path} is damaged: its state_dict holds more than tensors by name"
            )
    return content


def as_large_as(content: Mapping[str, Any], path: str | Path) -> AbstractContextManager[None]:
    """Inside, a network is built for the weights of a checkpoint, and no larger: twice as many
    parameters, for what is replaced on the way, and as many numbers as the file has bytes."""
    tensors = content["state_dict"] if is_checkpoint(content) else content
    return no_larger_than(2 * len(tensors) + 1000, Path(path).stat().st_size + 1_000_000, path)


def load_weights(module: nn.Module, state_dict: Mapping[str, Tensor], path: str | Path) -> None:
    """Load all weights, strictly.

    Raises:
        UserError: naming the first weights that are missing, unexpected or of another shape.
    """
    advice = "Use the configuration it was trained with (config.yaml in its run folder)"
    check_fit(
        module.state_dict(), state_dict, f"checkpoint: {path} does not fit this network", advice
    )
    module.load_state_dict(state_dict)


def check_fit(
    own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], problem: str, advice: str
) -> None:
    """Names and shapes are the same on both sides.

    Raises:
        UserError: `problem`, the first weights that are missing, unexpected or of another shape,
            and `advice`.
    """
    complaints = [
        f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (
            ("other shapes:", other_shapes(own, theirs)),
            ("it lacks", [name for name in own if name not in theirs]),
            ("it also holds", [name for name in theirs if name not in own]),
        )
        if names
    ]
    if complaints:
        raise UserError(f"{problem}: {'; '.join(complaints)}. {advice}")


def other_shapes(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[str]:
    """One sentence for each weight that both sides have, in different shapes."""
    return [
        f"{name} is {tuple(theirs[name].shape)} there and {tuple(own[name].shape)} here"
        for name in own
        if name in theirs and own[name].shape != theirs[name].shape
    ]
