"""The SwAV criterion."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from blocklearn.criteria.criterion import Criterion, CriterionOutput
from blocklearn.distributed.collectives import all_reduce, sum_over_processes
from blocklearn.kernels.prototypes import Prototypes


class SwAV(Criterion):
    """Predict a view's cluster from another view: swapped assignments (arXiv 2006.09882).

    With `s` the cosine similarities of an embedding and the prototypes, and `q` a code, the loss is
    the mean over each of the first `code_views` views, and over all other views, of
    `-q log softmax(s / t)` (eq. 1, 2 and 6): `q` from the one, `s` from the other. Codes spread the
    samples of the batch evenly over the prototypes, by `iterations` of Sinkhorn's algorithm on
    `exp(s / epsilon)` (eq. 3 to 5), and get no gradient. Views may be any number from two on.

    Metrics:
        swapped_top1: share of predictions, in [0, 1], whose likeliest prototype is the code's.
        prototype_use: entropy of the mean prediction over that of the uniform one, in [0, 1]. Near
            0: collapse to one prototype.

    Over several processes the batch is that of all.

    Args:
        width: of the embeddings; needed.
        prototypes: their number, >= 2; 3000 published.
        temperature: `t`, > 0; 0.1 published.
        epsilon: > 0; 0.05 published.
        iterations: >= 0; 3 published.
        code_views: how many views, the first, give codes, >= 1; 2 published.
        frozen_batches: in which the prototypes stand still, at the beginning; 313 published for
            long runs at batch 4096, which is an epoch.

    Raises:
        ValueError: for a value out of range, or without a width.
    """

    num_views = None
    fewest_views = 2
    batches: Tensor

    def __init__(
        self,
        width: int | None = None,
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        code_views: int = 2,
        frozen_batches: int = 0,
    ) -> None:
        super().__init__(width)
        sound = 0 < temperature < math.inf and 0 < epsilon < math.inf
        if width is None or not sound or min(iterations, code_views - 1, frozen_batches) < 0:
            raise ValueError(
                "SwAV needs a width, finite temperature and epsilon > 0, code_views >= 1, "
                f"iterations and frozen_batches >= 0, got {width}, {temperature}, {epsilon}, "
                f"{code_views}, {iterations} and {frozen_batches}"
            )
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.code_views, self.frozen_batches = code_views, frozen_batches
        self.fewest_views = max(2, code_views)
        self.prototypes = Prototypes(width, prototypes)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Sequence[Tensor], label: Tensor | None = None) -> CriterionOutput:
        """Embeddings `(B, D)`, one per view, to a scalar. Computed in float32 at least, whatever
        the autocast."""
        learns = self.batches >= self.frozen_batches
        scores = [self.prototypes(view, learns) for view in z]
        with torch.autocast(scores[0].device.type, enabled=False):
            codes = [self._codes(score.detach()) for score in scores[: self.code_views]]
            logs = [(score / self.temperature).log_softmax(dim=1) for score in scores]
            output = _judge(codes, logs)
        if self.training:
            self.batches.add_(1)
        return output

    @torch.no_grad()
    def _codes(self, scores: Tensor) -> Tensor:
        """Of this process' samples, `(b, K)`; each sums to 1. Cosines are at most 1, so that
        nothing overflows."""
        q = ((scores - 1) / self.epsilon).exp()
        q /= all_reduce(q.sum())
        for _ in range(self.iterations):
            q /= all_reduce(q.sum(dim=0)).clamp(min=torch.finfo(q.dtype).tiny)
            q /= q.sum(dim=1, keepdim=True)
        return q / q.sum(dim=1, keepdim=True)

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, epsilon={self.epsilon}, "
            f"iterations={self.iterations}, code_views={self.code_views}"
        )


def _judge(codes: Sequence[Tensor], logs: Sequence[Tensor]) -> CriterionOutput:
    """Of codes and log-probabilities `(b, K)` of this process' samples."""
    pairs = [(c, v) for c in range(len(codes)) for v in range(len(logs)) if c != v]
    losses = torch.stack([-(codes[c] * logs[v]).sum() for c, v in pairs])
    likeliest = [[x.detach().argmax(dim=1) for x in of] for of in (codes, logs)]
    same = torch.stack([(likeliest[0][c] == likeliest[1][v]).sum() for c, v in pairs])
    count = losses.new_full((), len(codes[0]))
    sums = torch.stack([losses.sum(), same.sum().to(losses.dtype), count])
    loss, hits, count = sum_over_processes(sums).unbind()
    number = count.detach() * len(pairs)
    metrics = {
        "swapped_top1": (hits / number).detach(),
        "prototype_use": _use([log.detach() for log in logs], count.detach()),
    }
    return CriterionOutput(loss / number, metrics)


def _use(logs: Sequence[Tensor], count: Tensor) -> Tensor:
    """The metric `prototype_use`."""
    mean = all_reduce(torch.stack([log.exp().sum(dim=0) for log in logs]).mean(dim=0)) / count
    return torch.special.entr(mean).sum() / math.log(len(mean))
