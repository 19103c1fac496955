"""Whether a run's folder takes what the run is going to write."""

from pathlib import Path

from torch import nn

from blocklearn.runs.run_folder import will_be_made
from blocklearn.weights.atomic_write import replacing

PROBE = ".room"


def require_room(model: nn.Module, folder: Path) -> None:
    """Try it with one byte, where the disk has room for the weights at least.

    Raises:
        UserError: for a full or read-only disk, and a folder that may not be written.
    """
    will_be_made(folder)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    with replacing(folder / PROBE, needed=weights) as probe:
        probe.write_bytes(b"\0")
    (folder / PROBE).unlink()
