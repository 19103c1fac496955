"""Every local method whose blocks share nothing, in one process or with its blocks on several:
`python methods_on_ranks.py FOLDER` as a rank leaves the weights that lie there."""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from several_ranks import QUIET
from small import small_trainer, weights
from test_methods import METHODS, data, method

from blocklearn import BlockParallelStrategy, BlockwiseModule

SHARING = {"loco"}  # neighbouring blocks share a stage


def shares_nothing(network: BlockwiseModule) -> bool:
    one_after_another = type(network.execution).__name__ == "InTurn"
    reading = any(block.objective.reads_others for block in network.walked)
    return len(network.walked) > 1 and one_after_another and not reading


def train(
    folder: Path, several: Callable[[], dict[str, Any]] = dict
) -> dict[str, dict[str, torch.Tensor]]:
    """Two epochs of two batches of every method, and the weights that lie here."""
    found, environment = {}, dict(os.environ)  # of which Lightning drops some after a run
    for path in METHODS:
        network = method(path)
        if path.stem in SHARING or not shares_nothing(network):
            continue
        os.environ.update(environment)
        small_trainer(folder, max_epochs=2, **several()).fit(network, datamodule=data())
        here = {name: t for name, t in weights(network).items() if not t.is_meta}
        found[path.stem] = {name: tensor for name, tensor in here.items() if tensor.numel()}
    return found


if __name__ == "__main__":
    warnings.simplefilter("error")
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])

    def several() -> dict[str, Any]:
        return {"devices": int(os.environ["WORLD_SIZE"]), "strategy": BlockParallelStrategy()}

    torch.save(train(folder, several), folder / f"{os.environ['RANK']}.pt")
