"""InfoNCE with negatives that are named by their index, never copied."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.kernels.indexed_products import indexed_products
from blocklearn.objectives.objective import ObjectiveOutput


class Contrast(NamedTuple):
    """What the anchors of a step make of their positives and negatives.

    Attributes:
        loss: scalar with graph, the mean over the anchors of all processes.
        accuracy: share of them, in [0, 1], whose positive has the largest product; ties count as
            wrong.
    """

    loss: Tensor
    accuracy: Tensor


def summarise(results: Sequence[Sequence[Contrast]]) -> ObjectiveOutput:
    """The mean over the steps, each first averaged over what was predicted apart (views,
    directions). Metrics: `accuracy`, and the loss of every step, `step1`, `step2`, ..."""
    by_step = torch.stack([torch.stack([step.loss for step in steps]) for steps in results]).mean(
        dim=0
    )
    accuracy = torch.stack([step.accuracy for steps in results for step in steps]).mean()
    metrics = {f"step{number}": loss for number, loss in enumerate(by_step.detach(), start=1)}
    return ObjectiveOutput(by_step.mean(), {"accuracy": accuracy, **metrics})


def contrast(
    anchors: Sequence[Tensor],
    positives: Sequence[Tensor],
    pool: Tensor,
    negatives: Sequence[Tensor],
) -> list[Contrast]:
    """Tell each anchor's positive from its negatives: `-log(exp(a.p) / (exp(a.p) + sum_j
    exp(a.n_j)))`, mean over the anchors of a step (arXiv 1807.03748, eq. 4). Computed in float32 at
    least, whatever the autocast, and for all steps at once.

    Args:
        anchors: `(N_k, D)` for each step.
        positives: `(N_k, D)` for each step.
        pool: `(M, D)`, vectors that negatives are chosen from.
        negatives: `(N_k, n)` rows of the pool for each step.
    """
    counts = [len(step) for step in anchors]
    every, target, pool = (
        at_least_float32(x) for x in (torch.cat(list(anchors)), torch.cat(list(positives)), pool)
    )
    with torch.autocast(pool.device.type, enabled=False):
        positive = (every * target).sum(dim=1, keepdim=True)
        negative = indexed_products(every, pool, torch.cat(list(negatives)))
        logits = torch.cat([positive, negative], dim=1)
        losses = cross_entropy(
            logits, logits.new_zeros(len(logits), dtype=torch.int64), reduction="none"
        )
        right = (positive > negative.max(dim=1, keepdim=True).values).squeeze(1)
        sums = [
            torch.stack([loss.sum(), hits.sum(), loss.new_full((), len(loss))])
            for loss, hits in zip(losses.split(counts), right.split(counts), strict=True)
        ]
        loss, hits, count = sum_over_processes(torch.stack(sums)).unbind(dim=1)
    return [
        Contrast(*step) for step in zip(loss / count.detach(), (hits / count).detach(), strict=True)
    ]


def own_generator(device: torch.device) -> torch.Generator:
    """For draws on `device`, seeded by torch's CPU stream, which the block keys to (seed, step,
    block)."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))
