"""MoCo: tell a slowly moving teacher's view of a sample from its views of others."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import first_row, gather_batch, sum_over_processes
from blocklearn.errors import UserError
from blocklearn.heads.plain_projector import PlainProjector
from blocklearn.heads.pooling import GlobalPooling, Pooling
from blocklearn.objectives.objective import LocalBatch, ObjectiveOutput
from blocklearn.objectives.taught import Taught


def as_wide_then_128(width: int) -> PlainProjector:
    """The projector of v2 on features of that width."""
    return PlainProjector(width, [width, 128])


class MoCo(Taught):
    """Momentum contrast (arXiv 1911.05722; v2, 2003.04297; v3, 2104.02057), block by block.

    With `q` the student's embedding of view 1, `k` the teacher's of view 2, both of length 1, and
    `k_i` those in a queue, the loss is InfoNCE (eq. 1 of the first):
    `mean -log(exp(q k / t) / (exp(q k / t) + sum_i exp(q k_i / t)))`.

    The queue holds the latest keys of all processes, in the order of the batch, and goes round; it
    begins with random directions. With `queue_size=0` the negatives are the other keys of the
    batch, and the loss is the mean over both orders of the views, as v3 has it (without its factor
    `2 t`, which scales the gradient alone).

    BatchNorm: student and teacher normalise over the whole batch, of all processes. Keys are not
    shuffled among processes, as the released code does so that a batch's statistics do not tell its
    positives; the larger the batch, the less they tell.

    Metrics:
        contrastive_top1: share of queries, in [0, 1], nearer to their own key than to all others.
            1 is good.
        positive_similarity: mean cosine of query and key, in [-1, 1]. High is good.
        negative_similarity: mean cosine of queries and other samples' keys. Near 1: collapse.

    Args:
        spec: the block's last stage.
        pooling: features to a vector; built from the `StageSpec`.
        projector: the MLP behind the pooling; built from the pooled width. v2's is published: as
            wide as the features, then 128. v3 has `Projector`, `[4096, 4096, 256]`, `last_norm`.
        predictor: behind the student's projector alone, built from its width; null for none. v3 has
            `Projector`, `[4096, 256]`, `last_norm`.
        temperature: `t`, > 0; 0.2 published for v2, 0.07 for the first.
        queue_size: keys in the queue, >= 0; 65536 published.
        momentum: of the teacher at the beginning, in [0, 1]; 0.999 published, 0.99 for v3.
        final_momentum: at the end; 0.999 published, 1 for v3.
        feed_teacher: the teacher of block k + 1 gets the output of block k's teacher.

    Raises:
        ValueError: for a value out of range.
        UserError: for another number of views than two; where teachers feed one another across a
            shared stage.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling] = GlobalPooling,
        projector: Callable[[int], nn.Module] = as_wide_then_128,
        predictor: Callable[[int], nn.Module] | None = None,
        temperature: float = 0.2,
        queue_size: int = 65536,
        momentum: float = 0.999,
        final_momentum: float = 0.999,
        feed_teacher: bool = False,
    ) -> None:
        super().__init__(spec, pooling, projector, momentum, feed_teacher, final_momentum)
        if not 0 < temperature < math.inf or queue_size < 0:
            raise ValueError(
                "MoCo needs a finite temperature > 0 and queue_size >= 0, got "
                f"{temperature} and {queue_size}"
            )
        self.temperature, self.queue_size = temperature, queue_size
        self.predictor = predictor(self.width) if predictor else nn.Identity()
        self.register_buffer("queue", normalize(torch.randn(queue_size, self.width), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, one per view, to the loss."""
        self.begin(local)
        taught = self.teach(local)
        orders = [(0, 1)] if self.queue_size else [(0, 1), (1, 0)]
        keys = {w: _unit(self.teacher_head(taught[w])) for _, w in orders}
        queries = {v: _unit(self.predictor(self.project(local.features[v]))) for v, _ in orders}
        with torch.autocast(keys[1].device.type, enabled=False):
            sums = torch.stack([self._compare(queries[v], keys[w]) for v, w in orders]).sum(dim=0)
            loss, top1, positive, negative, count, others = sum_over_processes(sums).unbind()
        if self.training and self.queue_size:
            self._put(keys[1])
        metrics = {
            "contrastive_top1": (top1 / count).detach(),
            "positive_similarity": (positive / count).detach(),
            "negative_similarity": (negative / others.clamp(min=1)).detach(),
        }
        return ObjectiveOutput(loss / count.detach(), metrics, self.handed(taught))

    def require_number(self, num_views: int) -> None:
        """Refuse another number of views than two."""
        if num_views != 2:
            raise UserError(
                f"MoCo compares two views, the data recipe makes {num_views}: change --data.recipe "
                "or --model.objective"
            )

    def _compare(self, query: Tensor, key: Tensor) -> Tensor:
        """The sums over this process' queries: loss, hits, cosines of positives and negatives; and
        how many positives and negatives there are."""
        cosine, target = (
            self._against_queue(query, key)
            if self.queue_size
            else _others(query, key, self.training)
        )
        row = torch.arange(len(query), device=query.device)
        positive = cosine[row, target].detach()
        sums = [
            cross_entropy(cosine / self.temperature, target, reduction="sum"),
            (cosine.detach().argmax(dim=1) == target).sum(),
            positive.sum(),
            (cosine.detach().sum(dim=1) - positive).sum(),
        ]
        counts = [cosine.new_full((), n) for n in (len(query), cosine.numel() - len(query))]
        return torch.stack([value.to(cosine.dtype) for value in [*sums, *counts]])

    def _against_queue(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines `(b, 1 + queue_size)`, the positive first."""
        own = (query * key).sum(dim=1, keepdim=True)
        negatives = self.queue.to(query.dtype, copy=True)  # the queue moves on before backward
        return torch.cat([own, query @ negatives.T], dim=1), own.new_zeros(len(own)).long()

    @torch.no_grad()
    def _put(self, key: Tensor) -> None:
        """The keys of the whole batch in the place of the oldest; what is not finite is 0."""
        every = gather_batch(key)[-self.queue_size :].nan_to_num().to(self.queue.dtype)
        place = (self.pointer + torch.arange(len(every), device=key.device)) % self.queue_size
        self.queue.index_copy_(0, place, every)
        self.pointer.add_(len(every)).remainder_(self.queue_size)

    def extra_repr(self) -> str:
        shown = f"temperature={self.temperature}, queue_size={self.queue_size}"
        return f"{super().extra_repr()}, {shown}"


def _unit(x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return normalize(at_least_float32(x), dim=1)


def _others(query: Tensor, key: Tensor, even: bool) -> tuple[Tensor, Tensor]:
    """Cosines `(b, B)` with the keys of all processes, and where the own ones are."""
    target = torch.arange(len(query), device=query.device) + first_row(key, even)
    return query @ gather_batch(key, even).T, target
