"""The isolated walk over several processes, as a strategy of Lightning's Trainer."""

import os

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from blocklearn.distributed.collectives import broadcast_state
from blocklearn.distributed.lost import WatchedLauncher, know_peers
from blocklearn.distributed.sync_norm import synchronise_norms


class IsolatedStrategy(DDPStrategy):
    """Launches and connects processes as `DDPStrategy` does, with its arguments, but wraps nothing
    in DistributedDataParallel, which expects one backward pass per step where the walk makes one
    per block. Instead:

    - weights and buffers start as rank 0's;
    - every BatchNorm is synchronised, always, so `sync_batchnorm` has nothing left to do;
    - a block's gradients are averaged right after its backward pass, before they are clipped
      (`UpdateRule.apply`). That this could overlap with the next block's forward pass is left for
      later.

    The command line chooses it for several devices; in Python: `Trainer(devices=2,
    strategy=IsolatedStrategy())`.
    """

    def setup(self, trainer: Trainer) -> None:
        self._layer_sync = (
            None  # torch's converter would drop the activation inside timm's BatchNormAct2d
        )
        super().setup(trainer)

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _SubprocessScriptLauncher):
            self._launcher = WatchedLauncher(
                self.cluster_environment,  # pyright: ignore
                self.num_processes,
                self.num_nodes,  # pyright: ignore
            )  # pyright: ignore

    def setup_environment(self) -> None:
        self._join_again()
        super().setup_environment()
        know_peers()

    def _join_again(self) -> None:
        """Where torchrun started all processes anew, its store still holds the addresses of those
        that died, and gloo would call there: so every start has names of its own in it. Lightning
        takes a group that is there already."""
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        if start != "0" and not dist.is_initialized():
            store, rank, world_size = next(dist.rendezvous("env://"))
            backend = self._process_group_backend or self._get_process_group_backend()
            dist.init_process_group(
                backend,
                store=dist.PrefixStore(f"start_{start}", store),
                rank=rank,
                world_size=world_size,
            )

    def configure_ddp(self) -> None:
        assert self.model is not None
        broadcast_state(self.model)
        synchronise_norms(self.model)
