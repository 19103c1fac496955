"""Consecutive blocks on consecutive processes, as a strategy of Lightning's Trainer."""

import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.utilities.device_dtype_mixin import (
    _DeviceDtypeModuleMixin,
    _update_properties,
)
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import StrategyRegistry
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from blocklearn.distributed.borders import Borders
from blocklearn.distributed.channel import END, Channel, Inbox
from blocklearn.distributed.groups import data_group, data_rank, use_data_group, world_size
from blocklearn.distributed.late_rows import LateRows
from blocklearn.distributed.lost import tell_peers_blocks
from blocklearn.distributed.sharding import whole
from blocklearn.distributed.strategy import BlockwiseDDPStrategy
from blocklearn.errors import UserError

ACTIVATIONS, PARTS = 0, 1  # tags
_runs = itertools.count()


class BlockParallelStrategy(BlockwiseDDPStrategy):
    """Block parallel: consecutive blocks on consecutive processes. Each process trains its own
    blocks and sends what the last of them hands on, with labels, to the next process; nothing comes
    back, so nobody waits for a later block, and the weights are those of one process, to the last
    bit on a CPU.

    Every process knows the structure of the whole network; the blocks of others lie on the meta
    device, where they take no memory. Checkpoints are those of one process: the first process
    writes them, the others send it their parts.

    With `data_parallel` the processes form a mesh of blocks by data: `devices` processes are
    `devices / data_parallel` groups of consecutive blocks, each held by `data_parallel` processes,
    which divide every batch and average their gradients as `BlockwiseDDPStrategy` does.

    In Python: `Trainer(devices=2, strategy="block_parallel")`.

    Args:
        data_parallel: processes that hold the same blocks, >= 1.
        blocks_per_rank: how many blocks each of them has, in order; null for the grouping that
            `blocklearn plan` shows.
        lead: batches that a process may be ahead of the next, above the one that waits there, >= 1.
        kwargs: the arguments of `BlockwiseDDPStrategy`.

    Raises:
        UserError: for values out of range.
    """

    strategy_name = "block_parallel"

    def __init__(
        self,
        data_parallel: int = 1,
        blocks_per_rank: Sequence[int] | None = None,
        lead: int = 2,
        **kwargs: Any,
    ) -> None:
        for name, value in (("data_parallel", data_parallel), ("lead", lead)):
            if value < 1:
                raise UserError(f"trainer.strategy: {name} must be at least 1, got {value}")
        super().__init__(**kwargs)
        self.data_parallel, self.lead = data_parallel, lead
        self.blocks_per_rank = blocks_per_rank
        self.groups: list[range] = []  # the blocks of each place in the chain
        self.inbox: Inbox | None = None
        self.outbox: Channel | None = None
        self.borders: Borders | None = None
        self.mesh: DeviceMesh | None = None
        self._meetings = 0

    @property
    def place(self) -> int:
        """Of this process in the chain, from 0."""
        return self.global_rank // self.data_parallel

    @property
    def own_indices(self) -> range:
        return self.groups[self.place]

    def setup_environment(self) -> None:
        super().setup_environment()
        size = dist.get_world_size()
        require_whole_chains(size, self.data_parallel)
        ranks = torch.arange(size).view(-1, self.data_parallel)
        data: Any
        data, _ = dist.new_subgroups_by_enumeration(ranks.tolist(), timeout=self._timeout)
        chain: Any
        chain, _ = dist.new_subgroups_by_enumeration(ranks.T.tolist(), timeout=self._timeout)
        self._heads: Any = chain
        if self.root_device.type != "cpu":
            self._heads, _ = dist.new_subgroups_by_enumeration(
                ranks.T.tolist(), timeout=self._timeout, backend="gloo"
            )
        self.mesh = DeviceMesh.from_group(
            [chain, data],  # pyright: ignore
            self.root_device.type,
            ranks,
            mesh_dim_names=("block", "data"),
        )
        use_data_group(data)
        self._chain = chain

    def setup(self, trainer: Trainer) -> None:
        walk: Any = self.lightning_module
        places = dist.get_world_size() // self.data_parallel
        if not self.groups:
            self.groups = walk.parts.grouping(places, self.blocks_per_rank)
        for block in walk.walked:
            if block.index not in self.own_indices:
                block.to("meta")
        gc.collect()
        self._connect(places)
        names = [[walk.walked[index].name for index in group] for group in self.groups]
        tell_peers_blocks([group for group in names for _ in range(self.data_parallel)])
        super().setup(trainer)

    def _connect(self, places: int) -> None:
        def border(source: int) -> Channel:
            groups, device = (self._heads, self._chain), self.root_device
            return Channel(*groups, source, source + 1, device, ACTIVATIONS, self.lead)

        if self.place > 0:
            self.inbox = Inbox(border(self.place - 1), self.timeout_s)
        if self.place < places - 1:
            self.outbox = border(self.place)
        host = torch.device("cpu")
        self._parts = [
            Channel(self._heads, self._heads, source, 0, host, PARTS, 1)
            for source in range(1, places)
        ]
        # a process may train several times, and names are used once
        store = dist.distributed_c10d._get_default_store()
        self.store = dist.PrefixStore(f"blocks/{next(_runs)}", store)
        self.borders = Borders(self.store, self.global_rank == 0)

    def rows(self, write: Any) -> LateRows:
        """Joins the metrics of all blocks in the first process."""
        ranks = range(0, dist.get_world_size(), self.data_parallel)
        return LateRows(self.store, self.global_rank, ranks, write, self.timeout_s)

    def share(self, values: dict[str, Any]) -> dict[str, Any]:
        """All that the processes of a chain have, on each of them."""
        gathered: list[Any] = [None] * len(self.groups)
        dist.all_gather_object(gathered, values, group=self._heads)
        return {name: value for part in gathered for name, value in part.items()}

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Of all processes, not only those among which a batch is divided."""
        votes = torch.tensor(int(decision), device=self.root_device)
        dist.all_reduce(votes)
        return int(votes) == dist.get_world_size() if all else bool(votes)

    def model_to_device(self) -> None:
        walk: Any = self.lightning_module
        for block in self.own_blocks(walk):
            block.to(self.root_device)
        if isinstance(walk, _DeviceDtypeModuleMixin):
            _update_properties(walk, device=self.root_device)

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int]:
        return {"num_replicas": world_size(), "rank": data_rank()}

    def process_dataloader(self, dataloader: Any) -> Any:
        """Images are read by the first process of a chain, and where an objective looks at them."""
        walk: Any = self.lightning_module
        looks = any(block.objective.needs_images for block in self.own_blocks(walk))
        if self.place == 0 or looks or not hasattr(dataloader, "without_samples"):
            return super().process_dataloader(dataloader)
        return super().process_dataloader(dataloader.without_samples())

    def save_checkpoint(self, checkpoint: Any, filepath: Any, storage_options: Any = None) -> None:
        """The first process gets the parts of the others, and writes the whole."""
        walk: Any = self.lightning_module
        for part in self._to_first(lambda: walk.parts.take(checkpoint, self.own_indices)):
            walk.parts.put(checkpoint, part)
        super().save_checkpoint(checkpoint, filepath, storage_options)

    def _data_mesh(self) -> DeviceMesh:
        assert self.mesh is not None
        return self.mesh["data"]

    def in_step(self) -> None:
        """Let the first processes of several chains begin a batch together, so that none comes to
        its end before the first process has said what happens there."""
        if self.place == 0 and self.data_parallel > 1:
            dist.barrier(group=data_group())

    def joined(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """On the first process, the tensors of all; every process must call it."""
        here = {name: tensor for name, tensor in tensors.items() if not tensor.is_meta}
        own = whole(here)
        joined = dict(own)
        for part in self._to_first(lambda: own):
            joined |= part
        self._meet()
        return {name: joined[name] for name in tensors if name in joined}

    def _to_first(self, part: Callable[[], Any]) -> Iterator[Any]:
        """What the other places of the chain have, one after the other, on the first process; those
        send it."""
        speaks = self.global_rank % self.data_parallel == 0  # for those with the same blocks
        if speaks and self.place > 0:
            channel = self._parts[self.place - 1]
            channel.send(part())
            channel.settle()
        elif speaks:
            for channel in self._parts:
                yield channel.receive()

    def finish(self) -> None:
        """Say that nothing follows, and wait until all has arrived."""
        if self.outbox is not None:
            self.outbox.send(END)
            self.outbox.settle()
        self._meet()

    def _meet(self) -> None:
        """Wait for all processes at a point behind which one may end. What an ended process has
        sent may be lost, so nobody sends anything: all count in the store, and the first process,
        whose store it is, leaves last."""
        self._meetings += 1
        size = dist.get_world_size()
        self._count(f"here/{self._meetings}", 1, size)
        self._count(f"gone/{self._meetings}", 1, size if self.global_rank == 0 else 0)

    def _count(self, key: str, number: int, until: int) -> None:
        count, limit = self.store.add(key, number), time.monotonic() + self.timeout_s
        while count < until:
            if time.monotonic() > limit:
                raise RuntimeError(
                    "gloo: timed out waiting for the other processes to come to the end"
                )
            time.sleep(0.005)
            count = self.store.add(key, 0)

    def teardown(self) -> None:
        use_data_group(None)
        walk, self._lightning_module = self._lightning_module, None  # it would move all blocks
        super().teardown()
        self._lightning_module = walk
        for block in self.own_blocks(walk) if self.groups else ():
            block.cpu()


def require_whole_chains(processes: int, data_parallel: int) -> None:
    """Raises:
    UserError: where the processes do not form whole chains of at least two.
    """
    if processes % data_parallel or processes // data_parallel < 2:
        raise UserError(
            f"trainer.strategy: block_parallel with data_parallel {data_parallel} needs 2, 3, ... "
            f"times as many processes, there are {processes}; change --trainer.devices, or take "
            "blockwise_ddp, in which every process has all blocks"
        )


StrategyRegistry.register(
    BlockParallelStrategy.strategy_name,
    BlockParallelStrategy,
    description=str(BlockParallelStrategy.__doc__).partition(".")[0],
)
