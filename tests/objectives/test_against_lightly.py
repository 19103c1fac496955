"""The losses beside those of lightly (PyPI), where it is installed."""

from functools import partial

import pytest
import torch
from small import small_batch
from torch import Tensor
from torch.nn.functional import normalize

from blocklearn import DINO, DINOHead, MoCo, PlainProjector, Projector, SimSiam, StageSpec, SwAV
from blocklearn.objectives.objective import LocalBatch, Objective

lightly = pytest.importorskip("lightly.loss")
SPEC = StageSpec("layer1", channels=3, stride=4)
EXACT = {"rtol": 1e-9, "atol": 1e-12}


def draw(views: int = 2) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(6, 3, 2, 2, dtype=torch.float64) for _ in range(views)]


def loss_of(objective: Objective, views: list[Tensor]) -> Tensor:
    return objective(LocalBatch(views, small_batch(), views)).loss


def pooled(views: list[Tensor]) -> list[Tensor]:
    return [view.mean(dim=(2, 3)) for view in views]


def test_simsiam() -> None:
    views = draw()
    own = SimSiam(SPEC, projector=partial(Projector, widths=[6, 24], last_norm=True)).double()
    z = [own.projector(x) for x in pooled(views)]
    p = [own.predictor(x) for x in z]
    theirs = lightly.NegativeCosineSimilarity()
    expected = (theirs(p[0], z[1].detach()) + theirs(p[1], z[0].detach())) / 2
    torch.testing.assert_close(loss_of(own, views), expected, **EXACT)


def test_moco_with_a_queue() -> None:
    views = draw()
    own = MoCo(SPEC, projector=partial(PlainProjector, widths=[6, 5]), queue_size=10).double()
    own.bind(())
    theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(10, 5)).double()
    theirs.memory_bank.bank = own.queue.clone()
    theirs.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.int64)
    query, key = (own.projector(x) for x in pooled(views))
    expected = theirs(query, key.detach())
    torch.testing.assert_close(loss_of(own, views), expected, **EXACT)
    torch.testing.assert_close(own.queue, theirs.memory_bank.bank, **EXACT)


@pytest.mark.parametrize("views", [2, 5])
def test_dino(views: int) -> None:
    made = draw(views)
    head = partial(DINOHead, hidden=7, bottleneck=4, prototypes=6)
    own = DINO(SPEC, head=head, frozen_epochs=0).double()
    own.bind(())
    theirs = lightly.DINOLoss(output_dim=6).double()
    start = torch.linspace(-0.1, 0.1, 6, dtype=torch.float64)
    own.centre.copy_(start)
    theirs.center.copy_(start.reshape(1, 1, 6))
    outputs = [own.projector(x) for x in pooled(made)]
    expected = theirs([x.detach() for x in outputs[:2]], outputs)
    torch.testing.assert_close(loss_of(own, made), expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(own.centre, theirs.center.flatten(), **EXACT)


def test_swav() -> None:
    torch.manual_seed(0)
    own = SwAV(4, prototypes=6).double()
    z = [torch.randn(7, 4, dtype=torch.float64) for _ in range(5)]
    scores = [normalize(x, dim=1) @ normalize(own.prototypes.weight, dim=1).T for x in z]
    expected = lightly.SwaVLoss()(scores[:2], scores[2:])
    torch.testing.assert_close(own(z).loss, expected[0], **EXACT)
