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
        objective([torch.randn(4, 6, 2, 2)], small_batch(4))


def test_the_views_are_normalised_one_by_one() -> None:
    objective = JointEmbedding(
        SPEC, lambda spec: ExpandPooling(spec, width=8), lambda width: Projector(width, [4, 4])
    )
    first, second = torch.randn(4, 6, 2, 2), 5 + torch.randn(4, 6, 2, 2)
    z1, _ = objective([first, second], small_batch(4)).embeddings
    alone, _ = objective([first, first], small_batch(4)).embeddings
    assert torch.equal(z1, alone)
