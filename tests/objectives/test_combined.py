from functools import partial
from pathlib import Path

import pytest
import torch
from small import small_batch, small_data, small_network, small_trainer

from blocklearn import (
    Combined,
    ExpandPooling,
    GlobalPooling,
    JointEmbedding,
    Projector,
    SimCLR,
    StageSpec,
    Supervised,
)
from blocklearn.interop.trained_weights import read_trained
from blocklearn.objectives.objective import LocalBatch

SPEC = StageSpec("layer2", channels=6, stride=8)
SUPERVISED = partial(Supervised, num_classes=3)
EMBEDDING = partial(
    JointEmbedding,
    pooling=GlobalPooling,
    projector=partial(Projector, widths=[4]),
    criterion=SimCLR(),
)


def maps() -> list[torch.Tensor]:
    return [torch.randn(6, 6, 3, 3) for _ in range(2)]


def test_the_loss_is_the_weighted_sum_of_the_parts() -> None:
    objective = Combined(SPEC, [SUPERVISED, EMBEDDING], weights=[0.25, 3.0])
    features, batch = maps(), small_batch(6)
    first, second = (part(LocalBatch(features, batch)) for part in objective.parts.values())
    output = objective(LocalBatch(features, batch))
    torch.testing.assert_close(output.loss, 0.25 * first.loss + 3 * second.loss)
    assert torch.equal(output.metrics["supervised/loss"], first.loss.detach())
    assert torch.equal(
        output.metrics["jointembedding/contrastive_top1"], second.metrics["contrastive_top1"]
    )


def test_parts_of_one_class_are_counted() -> None:
    objective = Combined(SPEC, [SUPERVISED, EMBEDDING, SUPERVISED])
    assert list(objective.parts) == ["supervised1", "jointembedding", "supervised2"]
    assert objective.weights == [1, 1, 1]


def test_the_probed_feature_is_the_first_parts() -> None:
    objective = Combined(SPEC, [EMBEDDING, SUPERVISED])
    x = maps()[0]
    published = objective.published()[0]
    assert published.width == 6
    assert torch.equal(published.feature(x), x.mean((2, 3)))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, 1.0, 1.0]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="a weight >= 0 for each"):
        Combined(SPEC, [SUPERVISED, EMBEDDING], weights)


def test_no_objectives_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one objective"):
        Combined(SPEC, [])


def test_the_heads_of_all_parts_are_published_and_exported(tmp_path: Path) -> None:
    """Of two of one kind the later one is named after its part."""
    pooling = partial(ExpandPooling, width=12)
    embedding = partial(JointEmbedding, pooling=pooling, projector=partial(Projector, widths=[8]))
    tagged = partial(Supervised, num_classes=4, pooling=partial(ExpandPooling, width=10))
    network = small_network(objective=partial(Combined, objectives=[tagged, embedding]))
    kinds = [spec.kind for spec in network.feature_specs()[:3]]
    assert kinds == ["raw", "head", "jointembedding_head"]
    trainer = small_trainer(tmp_path, max_steps=1)
    trainer.fit(network, datamodule=small_data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    heads = read_trained(tmp_path / "last.ckpt").heads
    assert list(heads) == ["layer1", "layer2", "layer3", "layer4"]
    parts = network.walked[0].objective.parts
    assert torch.equal(heads["layer1"]["conv.weight"], parts["supervised"].pooling.conv.weight)
    name = "jointembedding_head.conv.weight"
    assert torch.equal(heads["layer1"][name], parts["jointembedding"].pooling.conv.weight)
