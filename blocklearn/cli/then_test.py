"""`fit --then_test true`: what `blocklearn test` finds of a run, in the run itself, so that a sweep
can rank runs by their accuracy.

The test is a process of its own, which belongs to no group of processes: so a run of several
processes, on whichever devices, can be tested too."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.callbacks.stop_on_signal import SIGNALS, Stopped, requeue
from blocklearn.errors import UserError
from blocklearn.evaluation.evaluation import Row
from blocklearn.machine import PARENT
from blocklearn.reporting.loggers import log_probe
from blocklearn.reporting.results import Results, read_results
from blocklearn.runs.command_of_test import command_of_test
from blocklearn.runs.run_folder import RESULTS, RunFolder

OF_A_GROUP = {  # variables that would make the test one process of several, or another trial
    "BLOCKLEARN_RUN_FOLDER",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "NODE_RANK",
    "RANK",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "WANDB_RUN_ID",
    "WANDB_SERVICE",
    "WANDB_SWEEP_ID",
    "WORLD_SIZE",
}
OF_A_CLUSTER = ("MASTER_", "OMPI_", "PMI", "SLURM_", "TORCHELASTIC_")
LAST = "probe/last"


class Place(NamedTuple):
    """Where a block's accuracy is read off.

    Attributes:
        block: its name.
        stage: the last that it reaches.
        published: the features that its objective publishes, where the block has no stage of its
            own.
    """

    block: str
    stage: str
    published: Sequence[str] = ()


def places(network: BlockwiseModule) -> list[Place]:
    """Of every block."""
    return [
        Place(
            block.name,
            block.spec.name,
            () if block.trained_stages else [p.kind for p in block.objective.published()],
        )
        for block in network.walked
    ]


def figures(results: Results, blocks: Sequence[Place]) -> dict[str, float]:
    """All values by the names under which `blocklearn test` logs them,
    `probe/STAGE/FEATURE/VALUE`; the one that comparisons show of every block as `probe/BLOCK`: of
    the global average of its last stage, or else of the first feature there is; and that of the
    last block again as `probe/last`."""
    found = {
        f"probe/{row.stage}/{row.feature}/{name}": value
        for row in results.rows
        for name, value in row.values.items()
    }
    rows = [row for row in results.rows if results.compared in row.values]
    of_blocks = {
        f"probe/{place.block}": row.values[results.compared]
        for place in blocks
        if (row := _row_of(place, rows)) is not None
    }
    last = {LAST: list(of_blocks.values())[-1]} if of_blocks else {}
    return {**found, **of_blocks, **last}


def _row_of(place: Place, rows: Sequence[Row]) -> Row | None:
    own = [row for row in rows if row.stage == f"{place.stage}.{place.block}"]
    there = own or [row for row in rows if row.stage == place.stage]
    wanted = [row for row in there if row.feature in (place.published or ("raw",))]
    return next(iter([*wanted, *there]), None)


class ThenTest:
    """The test of a run that has come to its end.

    Args:
        folder: of the run.
        evaluation: the folder in it for the results.
        network: in training.
        arguments: of the Trainer.

    Raises:
        UserError: for a run that keeps no checkpoint.
    """

    def __init__(
        self,
        folder: RunFolder,
        evaluation: Path,
        network: BlockwiseModule,
        arguments: Mapping[str, Any],
    ) -> None:
        if arguments["enable_checkpointing"] is False:
            raise UserError(
                "--then_test true needs the checkpoint that --trainer.enable_checkpointing false "
                "does not write; leave one of them out"
            )
        self.folder, self.results, self.places = folder, evaluation / RESULTS, places(network)

    def run(self, trainer: Any) -> None:
        """Test the last checkpoint, unless that was done before, and hand what was found to the
        run's loggers. To be called in the first process.

        Raises:
            UserError: where the test fails.
            Stopped: where a signal asks it to end.
        """
        checkpoint = self.folder.last_checkpoint
        if not checkpoint.exists():
            print("Nothing to test: this run leaves no checkpoint.")
            return
        if self._is_done():
            print(f"Tested before: {self.results}")
        else:
            torch.cuda.empty_cache()  # the test is another process on the same device
            _carry_out(
                [sys.executable, "-m", "blocklearn", *command_of_test(self.folder)], checkpoint
            )
        results = read_results(self.results)
        found = figures(results, self.places)
        for logger in trainer.loggers:
            logger.log_metrics(found, step=trainer.global_step)
            logger.save()
        log_probe(trainer.loggers, results.rows, sorted(self.results.parent.glob("*.png")))
        told = {name: value for name, value in found.items() if name.count("/") == 1}
        print(", ".join(f"{name} {value:.4g}" for name, value in told.items()))

    def _is_done(self) -> bool:
        """Whether there are results, no older than the state that they are of."""
        if not self.results.exists():
            return False
        return self.results.stat().st_mtime >= self.folder.last_checkpoint.stat().st_mtime


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is one of several, for one that is not."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in OF_A_GROUP and not name.startswith(OF_A_CLUSTER)
    }
    return {**kept, "WANDB_MODE": "disabled", PARENT: str(os.getpid())}


def _carry_out(command: list[str], checkpoint: Path) -> None:
    sys.stdout.flush()
    process = subprocess.Popen(
        command, env=alone(os.environ), stdin=subprocess.DEVNULL, process_group=0
    )
    with _ending_with(process) as received:
        status = process.wait()
    if received:
        if received[0] == getattr(signal, "SIGUSR1", None):
            requeue()
        raise Stopped(received[0], saved=False)
    if status:
        raise UserError(
            f"the test after training ended with status {status}; the trained network is kept: "
            f"repeat the command with --resume auto, or blocklearn test --model.checkpoint "
            f"{checkpoint}"
        )


@contextmanager
def _ending_with(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Hand a signal on to a process: the first asks it to end, the second ends it. Yields the
    numbers of those that came."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        received.append(number)
        process.send_signal(signal.SIGTERM if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
