"""One block in a DistributedDataParallel of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from blocklearn.distributed.groups import data_group
from blocklearn.errors import UserError

UNUSED = "Expected to have finished reduction in the prior iteration"


class BlockReplica:
    """A block whose gradients are averaged over the processes. The averaging begins while the
    block's backward pass is under way and goes on beside whatever is computed next; `finish` waits
    for it.

    DistributedDataParallel itself waits at the end of the backward pass. So its communication hook
    here returns at once, and what was begun is waited for in `finish`: gradients are views of the
    buckets that are averaged in place.

    A stage that two blocks share belongs here to the later of them: its gradients are whole when
    both backward passes are done. The earlier, whose optimizer steps it, waits for `lent_to` too.

    Args:
        block: a `LocalBlock` with parameters, on its device.
        is_bad: whether its loss of this batch, or of one before that waits with it, was not finite;
            then every process is to see a gradient that is no number.
        hook: how a bucket is averaged, as DistributedDataParallel's `register_comm_hook` takes it;
            null for a plain all-reduce.
        state: for the hook; null for the group of processes.
        options: further arguments of DistributedDataParallel.
    """

    def __init__(
        self,
        block: Any,
        is_bad: Callable[[], bool],
        hook: Callable[[Any, Any], Any] | None = None,
        state: Any = None,
        **options: Any,
    ) -> None:
        self.name, self._is_bad = block.name, is_bad
        self._hook = hook or allreduce_hook
        self._state = data_group() if state is None else state
        self.lent_to: BlockReplica | None = None
        self._under_way: list[tuple[Tensor, Any]] = []
        module = _LocalStep(block)
        lent = _lent(block)
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            module,
            [
                *(name for name, p in module.named_parameters() if id(p) in lent),
                # all norms see all samples, so they are the same everywhere
                *(name for name, _ in module.named_buffers()),
            ],
        )
        # the command line names every argument of DistributedDataParallel, these two too
        own = {"process_group": data_group(), "gradient_as_bucket_view": True}
        self._replica = DistributedDataParallel(module, **{**options, **own})
        self._replica.register_comm_hook(None, self._begin)

    def local_step(self, carried: Any, batch: Any, clock: Any) -> Any:
        """The block's own; with `clock.updates` its backward pass begins the averaging.

        Raises:
            UserError: where parameters got no gradient in the batch before.
        """
        with nullcontext() if clock.updates else self._replica.no_sync(), self._explained():
            return self._replica(carried, batch, clock)

    def finish(self) -> None:
        """Wait until the gradients are averages over the processes."""
        if self.lent_to is not None:
            self.lent_to.finish()
        under_way, self._under_way = self._under_way, []
        for buffer, future in under_way:
            averaged = future.wait()
            averaged = averaged[0] if isinstance(averaged, list) else averaged
            if averaged.data_ptr() != buffer.data_ptr():
                buffer.copy_(averaged)

    def _begin(self, _: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        buffer = bucket.buffer()
        if self._is_bad():
            buffer[:1] = float("nan")
        self._under_way.append((buffer, self._hook(self._state, bucket)))
        begun: torch.futures.Future[Tensor] = torch.futures.Future(
            devices=[buffer.device] if buffer.is_cuda else None
        )
        begun.set_result(buffer)
        return begun

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if UNUSED not in str(error):
                raise
            raise UserError(
                f"{self.name}: some of its parameters get no gradient from its loss, and the "
                "processes would wait for them; freeze them (requires_grad = False), or set "
                "--trainer.strategy.find_unused_parameters true, which costs a little time"
            ) from error


class _LocalStep(nn.Module):
    """A block as DistributedDataParallel takes it, with the stages that it borrows."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block
        self.borrowed = nn.ModuleList(block.borrowed)

    def forward(self, carried: Any, batch: Any, clock: Any) -> Any:
        return self.block.local_step(carried, batch, clock)


def _lent(block: Any) -> set[int]:
    """The identities of the parameters of the stages that the next block borrows."""
    stages = list(block.stages)[-block.lends :] if block.lends else []
    return {id(p) for stage in stages for p in stage.parameters()}


def has_own_gradients(block: Any) -> bool:
    """Whether there is anything to average."""
    lent = _lent(block)
    borrowed = [p for stage in block.borrowed for p in stage.parameters()]
    return any(p.requires_grad and id(p) not in lent for p in (*block.parameters(), *borrowed))
