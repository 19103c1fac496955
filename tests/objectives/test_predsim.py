from functools import partial
from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient, small_batch, small_network
from torch import Tensor

from blocklearn import GlobalPooling, Patches, PredSim, StageSpec, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives import LocalBatch

SPEC = StageSpec("layer2", channels=5, stride=8)


def cosines(rows: list[Tensor]) -> Tensor:
    centred = [row - row.sum() / len(row) for row in rows]
    unit = [row / ((row @ row).sqrt() + 1e-8) for row in centred]  # as the authors' code
    return torch.stack([torch.stack([a @ b for b in unit]) for a in unit])


def spreads(sample: Tensor) -> Tensor:
    """Of each channel of a map, over its positions."""
    return torch.stack([((c - c.mean()) ** 2).sum().div(c.numel() - 1).sqrt() for c in sample])


def convolved(objective: PredSim, view: Tensor) -> list[Tensor]:
    padded = torch.nn.functional.pad(view, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
    return list(torch.einsum("bchwij,ocij->bohw", padded, objective.conv.weight))


def made(**changes: Any) -> PredSim:
    objective = PredSim(SPEC, **changes).double()
    if objective.prediction:
        torch.nn.init.normal_(objective.prediction.classifier.weight)
    return objective


@pytest.mark.parametrize("views", [1, 2])
def test_value_and_gradients_equal_the_plain_formula(views: int) -> None:
    objective = made(num_classes=3, beta=0.7, pooling=GlobalPooling)
    batch = small_batch(6)
    features = [torch.randn(6, 5, 3, 3).double().requires_grad_() for _ in range(views)]
    loss = objective(LocalBatch(features, batch)).loss
    wanted = cosines([torch.eye(3, dtype=torch.float64)[label] for label in batch.label])
    expected = torch.zeros((), dtype=torch.float64)
    assert objective.prediction
    for view in features:
        found = cosines([spreads(sample) for sample in convolved(objective, view)])
        logits = objective.prediction.classifier(view.mean((2, 3)))
        entropy = (logits.logsumexp(1) - logits[torch.arange(6), batch.label]).mean()
        expected = expected + 0.3 * entropy + 0.7 * (found - wanted).pow(2).mean()
    assert_same_value_and_gradient(
        loss,
        expected / views,
        [*features, *objective.parameters()],
        value=(1e-9, 0),
        gradient=(1e-9, 1e-12),
    )


@pytest.mark.parametrize("shape", [(3, 4, 4), (7, 2, 2)])
@pytest.mark.parametrize("first", [True, False])
def test_without_labels_it_matches_the_similarities_of_its_input(
    first: bool, shape: tuple[int, int, int]
) -> None:
    objective = made(labels=False)
    x, given = torch.randn(4, 5, 3, 3).double().requires_grad_(), torch.randn(4, *shape).double()
    objective.join(0 if first else 1, [])
    batch = small_batch(4)
    batch.label[:] = -1
    loss = objective(LocalBatch([x], batch, [given])).loss
    rows = [g.flatten() if first or shape[0] <= 3 else spreads(g) for g in given]
    found = cosines([spreads(sample) for sample in convolved(objective, x)])
    expected = (found - cosines(rows)).pow(2).mean()
    assert_same_value_and_gradient(
        loss, expected, [x, objective.conv.weight], value=(1e-9, 0), gradient=(1e-9, 1e-12)
    )
    assert objective.labels == "none"


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(
    "backbone",
    [
        {},
        {"backbone": "vit_tiny_patch16_224", "backbone_kwargs": {"img_size": 32, "depth": 4}},
        {"patches": Patches(size=16, stride=16, grid=2)},
    ],
    ids=["maps", "tokens", "patches"],
)
def test_blocks_are_isolated(labels: bool, backbone: dict[str, Any]) -> None:
    objective = partial(PredSim, num_classes=3, labels=labels, beta=0.9)
    network = small_network(objective=objective, **backbone)
    rows = measure_reach(network, small_batch())
    assert not any(row.leaks_into or row.unreached for row in rows)


def test_similarities_are_computed_in_float32_under_autocast() -> None:
    objective = PredSim(SPEC, labels=False)
    x, given = torch.randn(4, 5, 3, 3), torch.randn(4, 5, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(LocalBatch([x], small_batch(4), [given])).loss
    assert loss.dtype == torch.float32


def test_labels_out_of_range_and_a_missing_number_of_classes_are_refused() -> None:
    batch = small_batch(6)
    batch.label[0] = -1
    with pytest.raises(UserError, match="1 samples of this batch have labels outside 0 to 2"):
        PredSim(SPEC, num_classes=3)(LocalBatch([torch.randn(6, 5, 3, 3)], batch))
    wrongs: list[dict[str, Any]] = [{}, {"num_classes": 3, "beta": 2}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="PredSim needs"):
            PredSim(SPEC, **wrong)
