"""Real processes that connect to one another."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch


def run_ranks(
    script: str, argument: Path, results: Path, count: int, timeout: int = 300
) -> list[Any]:
    """Start `python SCRIPT ARGUMENT` so many times, each as a rank, and wait.

    Returns:
        What they left in `RESULTS/RANK.pt`, in rank order.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    about = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(argument)],
            env={**os.environ, **about, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    try:
        assert [process.wait(timeout=timeout) for process in processes] == [0] * count
    finally:
        for process in processes:
            process.kill()
    return [torch.load(results / f"{rank}.pt") for rank in range(count)]
