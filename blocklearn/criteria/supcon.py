"""The supervised contrastive criterion."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from blocklearn.criteria.criterion import Criterion, CriterionOutput, at_least_float32
from blocklearn.distributed.collectives import first_row, gather_batch, sum_over_processes
from blocklearn.errors import UserError


class SupCon(Criterion):
    """Tell the views of samples of the same class from all others: supervised contrastive learning
    (arXiv 2004.11362, eq. 2, `L_out`).

    With the cosine similarity `s` among the `N` embeddings of all views, and `P(i)` the positives
    of `i`, which are the other embeddings of its class, whatever their view:
    `loss = mean_i mean_{p in P(i)} -log(exp(s_ip / t) / sum_{k != i} exp(s_ik / t))`.

    Of a sample without a label (-1) the positives are its own other views alone. Embeddings without
    any positive are no anchors, but negatives of the others. Where every sample has a label of its
    own, it is `SimCLR`. The authors' code multiplies the loss by `t / 0.07`; this is the paper's.

    Metrics:
        contrastive_top1: share of anchors, in [0, 1], that are nearest to a positive. 1 is good.
        positive_similarity: mean cosine of an anchor and its positives, in [-1, 1]. High is good.
        negative_similarity: mean cosine of those that are not of a class. Near 1: collapse.

    Over several processes it is the loss of the whole batch, and gradients flow to all.

    Args:
        width: of the embeddings; it does not matter here.
        temperature: `t`, > 0; 0.07 is the default of the authors' code, 0.1 what they give it.

    Raises:
        ValueError: for a value out of range.
    """

    num_views = None
    labels = "sample"

    def __init__(self, width: int | None = None, temperature: float = 0.07) -> None:
        super().__init__(width)
        if not 0 < temperature < math.inf:
            raise ValueError(f"SupCon needs a finite temperature > 0, got {temperature}")
        self.temperature = temperature

    def forward(self, z: Sequence[Tensor], label: Tensor | None = None) -> CriterionOutput:
        """Embeddings `(B, D)`, one per view, and `(B,)` labels, null for a label of its own for
        every sample, to a scalar. Computed in float32 at least, whatever the autocast.

        Raises:
            UserError: where no sample of the whole batch has a label.
        """
        given = label is not None
        label = label if given else torch.full((len(z[0]),), -1, device=z[0].device)
        with torch.autocast(z[0].device.type, enabled=False):
            own = normalize(torch.stack([at_least_float32(view) for view in z], dim=1), dim=2)
            # The views of a sample travel as one row; outside training shares may be uneven.
            everyone = gather_batch(own, even=self.training)
            labels = gather_batch(label, even=self.training)
            _require_labels(labels, given)
            first = first_row(own, even=self.training)
            sample = torch.arange(len(own), device=own.device) + first
            positive = _same_class(labels, sample).repeat_interleave(len(z), 0)
            return self._judge(
                own.flatten(0, 1),
                everyone.flatten(0, 1),
                positive.repeat_interleave(len(z), 1),
                first * len(z),
            )

    def _judge(
        self, own: Tensor, everyone: Tensor, positive: Tensor, first: int
    ) -> CriterionOutput:
        """Unit vectors `(n, D)` of this process, which start at row `first` of those of all, `(N,
        D)`, and which of them are of a class, `(n, N)`."""
        row = torch.arange(len(own), device=own.device)
        itself = torch.zeros_like(positive).index_put((row, row + first), positive.new_ones(()))
        cosine = own @ everyone.T
        logits = cosine / self.temperature
        others = logits.masked_fill(itself, -torch.inf)
        likelihood = logits - others.logsumexp(dim=1, keepdim=True)
        positive = positive & ~itself
        negative = ~positive & ~itself
        count = positive.sum(dim=1)
        is_anchor = count > 0
        nearest = positive[row, others.argmax(dim=1)]
        seen = cosine.detach()
        sums = torch.stack(
            [
                -_mean_where(positive, likelihood, count).sum(),
                (nearest & is_anchor).sum(),
                _mean_where(positive, seen, count).sum(),
                (seen * negative).sum(),
                is_anchor.sum(),
                negative.sum(),
            ]
        )
        loss, right, alike, unlike, anchors, pairs = sum_over_processes(sums).unbind()
        anchors, pairs = anchors.detach().clamp(min=1), pairs.detach().clamp(min=1)
        metrics = {
            "contrastive_top1": right.detach() / anchors,
            "positive_similarity": alike.detach() / anchors,
            "negative_similarity": unlike.detach() / pairs,
        }
        return CriterionOutput(loss / anchors, metrics)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


def _same_class(labels: Tensor, sample: Tensor) -> Tensor:
    """Which of all `(B,)` samples are of the class of each of this process' `(b,)`, itself
    included."""
    own = labels[sample].unsqueeze(1)
    itself = sample.unsqueeze(1) == torch.arange(len(labels), device=labels.device)
    return itself | ((own == labels) & (own >= 0))


def _mean_where(chosen: Tensor, values: Tensor, count: Tensor) -> Tensor:
    """The mean of the chosen ones of each row, 0 where there are none."""
    return (values * chosen).sum(dim=1) / count.clamp(min=1)


def _require_labels(labels: Tensor, given: bool) -> None:
    if given and bool((labels < 0).all()):
        raise UserError(
            "SupCon: no sample of this batch has a label; take labelled data, or SimCLR as "
            "--model.objective.criterion"
        )
