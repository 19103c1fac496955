import pytest
import torch
from small import small_batch
from torch import nn

from blocklearn import (
    BarlowTwins,
    ExpandPooling,
    GlobalPooling,
    JointEmbedding,
    Projector,
    StageSpec,
    UserError,
)
from blocklearn.objectives.objective import LocalBatch

SPEC = StageSpec("layer2", channels=6, stride=8)


def test_the_published_projector() -> None:
    projector = Projector(2048, widths=[16, 16, 8])
    kinds = [type(layer).__name__ for layer in projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert all(layer.bias is None for layer in projector if isinstance(layer, nn.Linear))
    assert projector(torch.randn(4, 2048)).shape == (4, 8)


def test_a_projector_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one width"):
        Projector(4, widths=[])


def test_each_block_has_a_criterion_of_its_own() -> None:
    criterion = BarlowTwins()
    assert JointEmbedding(SPEC, criterion=criterion).criterion is not criterion


def test_another_number_of_views_is_refused() -> None:
    objective = JointEmbedding(SPEC, GlobalPooling, lambda width: Projector(width, [4]))
    with pytest.raises(UserError, match="compares two views, the data recipe makes 1"):
        objective(LocalBatch([torch.randn(4, 6, 2, 2)], small_batch(4)))


def test_the_views_are_normalised_one_by_one() -> None:
    objective = JointEmbedding(
        SPEC, lambda spec: ExpandPooling(spec, width=8), lambda width: Projector(width, [4, 4])
    )
    first, second = torch.randn(4, 6, 2, 2), 5 + torch.randn(4, 6, 2, 2)
    judged: list[list[torch.Tensor]] = []
    objective.criterion.register_forward_pre_hook(lambda _, args: judged.append(args[0]))
    for views in ([first, second], [first, first]):
        objective(LocalBatch(views, small_batch(4)))
    (together, _), (alone, _) = judged
    assert torch.equal(together, alone)
