"""The SimCLR criterion."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from blocklearn.criteria.criterion import Criterion, CriterionOutput, at_least_float32
from blocklearn.distributed.collectives import first_row, gather_batch, sum_over_processes


class SimCLR(Criterion):
    """Tell the other view of a sample from all other samples' views: NT-Xent (arXiv 2002.05709, eq.
    1).

    With the cosine similarity `s` among all `2B` embeddings, and `j` the other view of `i`:
    `loss = mean_i -log(exp(s_ij / t) / sum_{k != i} exp(s_ik / t))`.

    Metrics:
        contrastive_top1: share of embeddings, in [0, 1], that are nearer to their other view than
            to any other sample's. 1 is good; `1 / (2B - 1)` is chance.
        positive_similarity: mean cosine of the two views of a sample, in [-1, 1]. High is good.
        negative_similarity: mean cosine of different samples. Near 1: collapse.

    Over several processes `B` is the whole batch: every sample is a negative of every other, and
    gradients flow to all.

    Args:
        width: of the embeddings; it does not matter here.
        temperature: `t`, > 0.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, width: int | None = None, temperature: float = 0.5) -> None:
        super().__init__(width)
        if not 0 < temperature < math.inf:
            raise ValueError(f"SimCLR needs a finite temperature > 0, got {temperature}")
        self.temperature = temperature

    def forward(self, z: Sequence[Tensor], label: Tensor | None = None) -> CriterionOutput:
        """Two embeddings `(B, D)` to a scalar. Computed in float32 at least, whatever the
        autocast."""
        z1, z2 = z
        with torch.autocast(z1.device.type, enabled=False):
            own = normalize(torch.stack([at_least_float32(z1), at_least_float32(z2)], dim=1), dim=2)
            # A pair travels as one row. Outside training the processes' shares may be uneven.
            pairs = gather_batch(own, even=self.training)
            return self._judge(
                own.flatten(0, 1), pairs.flatten(0, 1), 2 * first_row(own, even=self.training)
            )

    def _judge(self, own: Tensor, everyone: Tensor, first: int) -> CriterionOutput:
        """Unit vectors `(2b, D)` of this process and `(2B, D)` of all, the two views of a sample
        one after the other. `own` starts at row `first` of `everyone`."""
        row = torch.arange(len(own), device=own.device)
        itself, partner = row + first, (row ^ 1) + first
        cosine = own @ everyone.T
        logits = (cosine / self.temperature).index_put(
            (row, itself), cosine.new_full((), -torch.inf)
        )
        sums = sum_over_processes(
            torch.stack(
                [
                    cross_entropy(logits, partner, reduction="sum"),
                    (logits.argmax(dim=1) == partner).sum(),
                    cosine[row, partner].detach().sum(),
                    cosine.detach().sum() - cosine[row, itself].detach().sum(),
                ]
            )
        )
        count = len(everyone)
        loss, correct, positive, others = sums.unbind()
        metrics = {
            "contrastive_top1": correct.detach() / count,
            "positive_similarity": positive.detach() / count,
            "negative_similarity": (others - positive).detach() / max(count * (count - 2), 1),
        }
        return CriterionOutput(loss / count, metrics)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"
