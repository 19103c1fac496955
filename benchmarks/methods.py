"""`python -m benchmarks.methods`: a training step of every local method, on the network of
`bt_digits.yaml`.

Baseline: Barlow Twins end to end, on the same network and batch, in the same process. The methods
take turns, so that a machine that slows down slows all of them. `EveryNthEndToEnd` is left out: a
step of it is one of two kinds.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.rows import Row, in_turns, run_rows
from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.cli.config_files import locate_configs
from blocklearn.cli.parse_trials import parser_of_fit
from blocklearn.data import Digits
from blocklearn.runs.run_folder import shipped_configs
from blocklearn.training.contract import Carried, Clock

BASELINE, LEFT_OUT = "end_to_end", "barlow_twins_mixed"


def names() -> list[str]:
    """Of all methods but the baseline."""
    found = sorted(path.stem for path in (shipped_configs() / "methods").glob("*.yaml"))
    return [name for name in found if name not in (BASELINE, LEFT_OUT)]


def network_of(name: str, parser: Any) -> BlockwiseModule:
    """The method on the digits' recipe."""
    files = ["--config", "bt_digits.yaml", "--config", f"methods/{name}.yaml"]
    config = parser.parse_args(locate_configs(["fit", *files]).args)
    return parser.instantiate(config).fit.model


def step_of(network: BlockwiseModule, batch: Batch) -> Callable[[], None]:
    """A step as the walk makes it."""
    rule = network.rule
    size = len(batch.index)
    optimizers = [rule.build_optimizer(block.parameters(), size) for block in network.walked]
    network.train()
    count = iter(range(10**9))

    def step() -> None:
        clock, carried = Clock(next(count), 1000), Carried(batch.views)
        for block, optimizer in zip(network.walked, optimizers, strict=True):
            output = block.local_step(carried, batch, clock)
            output.loss.backward()
            rule.apply(optimizer)
            block.objective.after_update(clock)
            carried = output.carried

    return step


def measure(settings: argparse.Namespace) -> list[Row]:
    torch.manual_seed(0)
    parser = parser_of_fit()
    data = Digits()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    every = [BASELINE, *(settings.methods or names())]
    found = in_turns(
        {name: step_of(network_of(name, parser), batch) for name in every}, settings.turns
    )
    return [Row("methods", name, BASELINE, "s", found[name], found[BASELINE]) for name in every[1:]]


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(turns=9)
    parser.add_argument("--methods", nargs="+", help="names of configs/methods; all by default")


if __name__ == "__main__":
    run_rows(measure, __doc__, {"methods": ["supervised", "simclr"]}, more_arguments)
