"""The isolated walk over several processes, as a strategy of Lightning's Trainer."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from blocklearn.distributed.block_replica import BlockReplica, has_own_gradients
from blocklearn.distributed.collectives import broadcast_state
from blocklearn.distributed.groups import data_group, world_size
from blocklearn.distributed.lost import WatchedLauncher, know_peers
from blocklearn.distributed.meeting import START, meet
from blocklearn.distributed.sharding import divided_state, shard, whole
from blocklearn.distributed.sync_norm import synchronise_norms
from blocklearn.errors import UserError


class BlockwiseDDPStrategy(DDPStrategy):
    """Data parallel: every process has all blocks and a part of every batch. Each learning block
    lies in a DistributedDataParallel of its own, so that its gradients are averaged while the next
    block is computed; the network as a whole lies in none, which would expect one backward pass per
    step. Weights and buffers start as rank 0's, and every BatchNorm is synchronised, always, so
    `sync_batchnorm` has nothing left to do.

    The command line chooses it for several devices; in Python: `Trainer(devices=2,
    strategy="blockwise_ddp")`.

    Args:
        timeout_s: seconds that a process waits for the others before the run ends with an error.
            More than the longest time that one of them works alone, such as writing a checkpoint.
        shard: divide every block's parameters, gradients and optimizer state among the processes
            (FSDP2, `torch.distributed.fsdp.fully_shard`), for networks of which one device cannot
            hold a block, from ViT-L up; otherwise every process has them whole.
        kwargs: the arguments of Lightning's `DDPStrategy`, `ddp_comm_hook` among them, and of
            `DistributedDataParallel`, such as `bucket_cap_mb` and `find_unused_parameters`.

    Raises:
        UserError: for a timeout that is not positive.
    """

    strategy_name = "blockwise_ddp"

    def __init__(self, timeout_s: float = 120.0, shard: bool = False, **kwargs: Any) -> None:
        if not timeout_s > 0:
            raise UserError(f"trainer.strategy: timeout_s must be positive, got {timeout_s}")
        kwargs["timeout"] = timedelta(seconds=timeout_s)  # the command line names its default too
        super().__init__(**kwargs)
        self.timeout_s, self.shard = timeout_s, shard
        self._replicas: dict[int, BlockReplica] = {}

    def setup(self, trainer: Trainer) -> None:
        # torch's converter would drop the activation inside timm's BatchNormAct2d
        self._layer_sync = None
        super().setup(trainer)

    def replica(self, block: Any) -> BlockReplica | None:
        """What averages a block's gradients; None where there is nothing to average."""
        return self._replicas.get(block.index)

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        return super().reduce(tensor, data_group() if group is None else group, reduce_op)

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _SubprocessScriptLauncher):
            self._launcher = WatchedLauncher(
                self.cluster_environment,  # pyright: ignore
                self.num_processes,
                self.num_nodes,  # pyright: ignore
            )  # pyright: ignore

    def setup_environment(self) -> None:
        self._join()
        super().setup_environment()
        know_peers()

    def _join(self) -> None:
        """Connect the processes once all are there: some take longer to start than `timeout_s`.
        Where torchrun started them anew, its store may still hold the addresses of those that died,
        and gloo would call there, so every start has names of its own in it. Lightning takes a
        group that is there already."""
        if dist.is_initialized():
            return
        environment: Any = self.cluster_environment
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
        self.set_world_ranks()
        store, rank, size = next(
            dist.rendezvous("env://", self.global_rank, self.world_size, timeout=START)
        )
        store = dist.PrefixStore(f"start_{meet(store, rank, size)}", store)
        dist.init_process_group(
            self._process_group_backend or self._get_process_group_backend(),
            store=store,
            rank=rank,
            world_size=size,
            timeout=self._timeout,
        )

    def configure_ddp(self) -> None:
        walk: Any = self.lightning_module
        for block in self.own_blocks(walk):
            broadcast_state(block)
            synchronise_norms(block)
            if self.shard and world_size() > 1:
                shard(block, self._data_mesh())
        if world_size() > 1 and not self.shard:
            self._replicas = {
                block.index: self._replicate(walk, block)
                for block in self.own_blocks(walk)
                if has_own_gradients(block)
            }
        for index, replica in self._replicas.items():
            if walk.walked[index].lends:
                replica.lent_to = self._replicas.get(index + 1)

    def _data_mesh(self) -> DeviceMesh:
        return DeviceMesh.from_group(dist.group.WORLD, self.root_device.type)  # pyright: ignore

    def lightning_module_state_dict(self) -> dict[str, Any]:
        state = super().lightning_module_state_dict()
        state.update(whole(state) if self.shard else {})
        return state

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        state = super().optimizer_state(optimizer)
        return whole(state) if self.shard else state

    def load_optimizer_state_dict(self, checkpoint: Any) -> None:
        for index in self.own_indices:
            optimizer, state = self.optimizers[index], checkpoint["optimizer_states"][index]
            optimizer.load_state_dict(divided_state(optimizer, state))

    @property
    def own_indices(self) -> range:
        """Of the blocks that this process trains."""
        walk: Any = self.lightning_module
        return range(len(walk.walked))

    def joined(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors that are divided among processes, on the first of them; every process must call
        it."""
        return whole(tensors)

    def own_blocks(self, walk: Any) -> list[Any]:
        """The blocks that this process trains."""
        return [walk.walked[index] for index in self.own_indices]

    def _replicate(self, walk: Any, block: Any) -> BlockReplica:
        hook, wrapper = self._ddp_comm_hook, self._ddp_comm_wrapper
        return BlockReplica(
            block,
            lambda: walk.watch.is_bad(block.name),
            wrapper(hook) if hook and wrapper else hook,  # pyright: ignore
            self._ddp_comm_state,
            **self._ddp_kwargs,
        )


IsolatedStrategy = BlockwiseDDPStrategy  # its name before 0.2

StrategyRegistry.register(
    BlockwiseDDPStrategy.strategy_name,
    BlockwiseDDPStrategy,
    description=str(BlockwiseDDPStrategy.__doc__).partition(".")[0],
)
