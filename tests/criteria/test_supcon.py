from functools import partial

import pytest
import torch
from small import OBJECTIVE, assert_same_value_and_gradient, small_batch, small_network
from torch import Tensor

from blocklearn import SimCLR, StageSpec, SupCon, UserError
from blocklearn.training.contract import Carried


def plain_supcon(z: list[Tensor], label: list[int], temperature: float) -> Tensor:
    """Eq. 2 of arXiv 2004.11362, one pair at a time; -1 is a class of its own."""
    rows = [(s, label[s], view[s]) for view in z for s in range(len(label))]
    losses = []
    for i, (sample, own, a) in enumerate(rows):
        others = [rows[k] for k in range(len(rows)) if k != i]
        every = sum(torch.exp(a @ b / (a.norm() * b.norm()) / temperature) for _, _, b in others)
        terms = [
            -torch.log(torch.exp(a @ b / (a.norm() * b.norm()) / temperature) / every)
            for s, other, b in others
            if s == sample or (own == other and own >= 0)
        ]
        if terms:
            losses.append(torch.stack(terms).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("label", [[0, 1, 0, 2, 1, 0], [0, -1, 0, -1, 3, 0]])
def test_value_and_gradient_equal_the_plain_formula(views: int, label: list[int]) -> None:
    z = [torch.randn(6, 4, dtype=torch.float64, requires_grad=True) for _ in range(views)]
    loss = SupCon(temperature=0.3)(z, torch.tensor(label)).loss
    assert_same_value_and_gradient(loss, plain_supcon(z, label, 0.3), z)


def test_with_a_label_of_its_own_for_every_sample_it_is_simclr() -> None:
    z = [torch.randn(7, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    found, known = SupCon(temperature=0.2)(z, torch.arange(7)), SimCLR(temperature=0.2)(z)
    assert_same_value_and_gradient(found.loss, known.loss, z)
    torch.testing.assert_close(found.metrics, known.metrics)
    assert torch.equal(SupCon(temperature=0.2)(z).loss, found.loss)


def test_metrics_of_classes_that_are_points() -> None:
    label = torch.tensor([0, 1, 1, 2])
    z = torch.eye(4)[label]
    metrics = {n: float(v) for n, v in SupCon()([z, z], label).metrics.items()}
    assert metrics == pytest.approx(
        {"contrastive_top1": 1, "positive_similarity": 1, "negative_similarity": 0}
    )


def test_a_batch_without_positives_costs_nothing() -> None:
    z = torch.randn(3, 4, requires_grad=True)
    loss = SupCon()([z], torch.tensor([0, 1, -1])).loss
    loss.backward()
    assert float(loss.detach()) == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_the_loss_is_computed_in_float32_under_autocast() -> None:
    z, label = [torch.randn(8, 6), torch.randn(8, 6)], torch.arange(8) % 3
    expected = SupCon()(z, label).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(SupCon()(z, label).loss, expected)


def test_data_without_labels_are_refused() -> None:
    network = small_network(objective=partial(OBJECTIVE, criterion=SupCon))
    assert network.walked[0].objective.labels == "sample"
    assert OBJECTIVE(StageSpec("layer1", 4, 4)).labels == "none"
    batch = small_batch()
    batch.label[:] = -1
    with pytest.raises(UserError, match="SupCon: no sample of this batch has a label"):
        network.walked[0].local_step(Carried(batch.views), batch)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature > 0, got 0"):
        SupCon(temperature=0)
