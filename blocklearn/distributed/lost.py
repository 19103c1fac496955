"""Processes that die: who is gone, told in one line, and an end in place of a wait."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from blocklearn.errors import UserError

GO_ON = "start the same command again with --resume auto to go on from the last checkpoint"
# seconds in which the process that started a dead one may end by itself, with a better word
GRACE = 10.0
# words of torch's errors where the fault is another process'
COLLECTIVE = ("gloo", "NCCL", "Connection", "Socket", "store", "pair closure", "imed out")
_peers: list[tuple[str, int]] = []  # host and process number of each rank
_blocks: list[str] = []  # of each rank, where they differ


def know_peers() -> None:
    """Tell every process of the run where the others are; all must call it."""
    _peers[:] = [("", 0)] * dist.get_world_size()
    if len(_peers) > 1:
        dist.all_gather_object(_peers, (socket.gethostname(), os.getpid()))


def tell_peers_blocks(blocks: Sequence[Sequence[str]]) -> None:
    """Name the blocks of each rank, for what is said of it."""
    _blocks[:] = [", ".join(names) for names in blocks]


def gone_peers() -> list[int]:
    """The ranks on this machine whose processes have ended."""
    here = socket.gethostname()
    return [
        rank
        for rank, (host, process) in enumerate(_peers)
        if host == here and not _is_alive(process)
    ]


def note_batch(step: int) -> None:
    """Say which batch this process begins; where processes are at different batches, of those that
    do not answer the one that is furthest behind is the one that all wait for."""
    _store().set(f"at/{dist.get_rank()}", str(step))


def complain_of_lost_processes(trainer: Trainer, error: Exception) -> None:
    """Where an error of several processes comes from the end, or the silence, of one of them, say
    so. One that is silent on this machine is ended, where this run started it.

    Raises:
        UserError: naming the rank.
    """
    if trainer.world_size == 1 or isinstance(error, UserError) or not _from_a_collective(error):
        return
    ranks = [rank for rank in _silent_peers() if rank != trainer.global_rank]
    gone = [rank for rank in gone_peers() if rank != trainer.global_rank]
    if gone:
        who = f"{_named(gone)} ended before the run did"
    elif ranks:
        who = f"{_named(ranks)} no longer answered"
        if isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment):
            _end(ranks)  # nobody else would: torchrun and SLURM do
    else:
        who = "the connection to another process was lost"
    raise UserError(f"{_name(trainer.global_rank)}: {who}; {GO_ON}") from error


def _silent_peers() -> list[int]:
    """Those that wait for nobody, and have not ended: what the others wait for. All that wait tell
    it to the store; where the store does not answer either, it is the process whose store it is."""
    found: list[list[int]] = []

    def ask() -> None:
        with suppress(RuntimeError):  # the store's process has ended
            find()

    def find() -> None:
        store, rank = _store(), dist.get_rank()
        store.set(f"waits/{rank}", "1")
        until = time.monotonic() + GRACE / 2
        while not gone_peers() and time.monotonic() < until:
            time.sleep(0.1)  # one may be about to end
        silent = [n for n in range(len(_peers)) if not store.check([f"waits/{n}"])]
        found.append(_furthest_behind(store, silent))

    thread = threading.Thread(target=ask, daemon=True, name="blocklearn silent")
    thread.start()
    thread.join(GRACE)
    return found[0] if found else [0]


def _furthest_behind(store: Any, ranks: list[int]) -> list[int]:
    told = [rank for rank in ranks if store.check([f"at/{rank}"])]
    at = {rank: int(store.get(f"at/{rank}")) for rank in told}
    return [rank for rank in ranks if not at or at.get(rank, -1) == min(at.values())]


def _store() -> Any:
    return dist.PrefixStore("lost", dist.distributed_c10d._get_default_store())


def _end(ranks: Sequence[int]) -> None:
    here = socket.gethostname()
    for host, process in (_peers[rank] for rank in ranks):
        if host == here and _is_alive(process):
            os.kill(process, signal.SIGKILL)


def _named(ranks: Sequence[int]) -> str:
    processes = ", ".join(str(_peers[rank][1]) for rank in ranks)
    names = ", ".join(_name(rank) for rank in ranks)
    return f"{names} (process {processes} on {_peers[ranks[0]][0]})"


def _name(rank: int) -> str:
    return f"rank {rank}, which trains {_blocks[rank]}" if _blocks else f"rank {rank}"


def started_by_first_process(trainer: Trainer) -> bool:
    """Whether rank 0 started this process itself, as Lightning does, rather than torchrun or a
    cluster's scheduler."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return (
        trainer.world_size > 1
        and environment is not None
        and not environment.creates_processes_externally
    )


def _from_a_collective(error: Exception) -> bool:
    told = str(error)
    return isinstance(error, dist.DistError) or any(word in told for word in COLLECTIVE)


def _is_alive(process: int) -> bool:
    """A process that ended and that nobody has looked at yet still has a number."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return not Path("/proc").is_dir() and _answers(process)
    except OSError:
        return _answers(process)
    return state not in "ZX"


def _answers(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class WatchedLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher; where a process that it started dies, it says which, and ends the
    others. Lightning's own kills all without a word."""

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        self.cluster_environment.validate_settings(
            num_devices=self.num_processes, num_nodes=self.num_nodes
        )
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            first = self.cluster_environment.node_rank() * self.num_processes
            threading.Thread(
                target=_watch, args=(self.procs, first), daemon=True, name="children"
            ).start()
        return function(*args, **kwargs)


def _watch(children: Sequence["subprocess.Popen[bytes]"], first: int) -> None:
    """Until a child has failed and this process has had its time to end by itself, or all have
    ended well."""
    while True:
        time.sleep(0.5)
        statuses = [child.poll() for child in children]
        failed = next((number for number, status in enumerate(statuses, start=1) if status), None)
        if failed is not None:
            break
        if all(status == 0 for status in statuses):
            return
    time.sleep(GRACE)
    status = statuses[failed - 1] or 0
    how = (
        f"was ended by {signal.Signals(-status).name}"
        if status < 0
        else f"ended with status {status}"
    )
    for child in children:
        child.kill()
    print(
        f"blocklearn: error: {_name(first + failed)} (process {children[failed - 1].pid}), {how}; "
        f"{GO_ON}",
        file=sys.stderr,
    )
    sys.stderr.flush()
    os._exit(1)
