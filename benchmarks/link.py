"""How fast gloo hands tensors from one process of this machine to another."""

import os
import socket
import time
from datetime import timedelta
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

LARGE = 64 * 2**20
TURNS = 9


def measured_link() -> str:
    """Bandwidth of large messages and latency of small ones, medians of nine turns."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = mp.get_context("spawn").SimpleQueue()
    mp.spawn(_end, (port, found), nprocs=2)
    seconds, small = found.get()
    return (
        f"gloo between two processes of this machine: {LARGE / seconds / 1e9:.2f} GB/s in messages "
        f"of {LARGE / 2**20:.0f} MiB, {1e6 * small:.0f} us a message of 8 bytes"
    )


def _end(rank: int, port: int, found: "mp.SimpleQueue") -> None:  # pyright: ignore
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    times = []
    for size in (LARGE, 8):
        message = torch.zeros(size, dtype=torch.uint8)
        turns = []
        for _ in range(TURNS + 1):
            start = time.perf_counter()
            for sender in (0, 1):  # there and back
                dist.send(message, 1) if rank == sender == 0 else None
                dist.send(message, 0) if rank == sender == 1 else None
                dist.recv(message, sender) if rank != sender else None
            turns.append((time.perf_counter() - start) / 2)
        times.append(median(turns[1:]))
    if rank == 0:
        found.put(times)
    dist.destroy_process_group()
