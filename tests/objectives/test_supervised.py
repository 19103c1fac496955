from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from small import (
    assert_same_value_and_gradient,
    small_batch,
    small_data,
    small_network,
    small_trainer,
    weights,
)

from blocklearn import BlockwiseModule, ExpandPooling, StageSpec, Supervised, UserError
from blocklearn.objectives.objective import LocalBatch
from blocklearn.training.contract import Carried

SPEC = StageSpec("layer2", channels=6, stride=8)


def maps(views: int) -> list[torch.Tensor]:
    return [torch.randn(6, 6, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(views)]


@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_value_and_gradient_equal_the_plain_formula(views: int, smoothing: float) -> None:
    objective = Supervised(SPEC, num_classes=3, label_smoothing=smoothing).double()
    features, batch = maps(views), small_batch(6)
    loss = objective(LocalBatch(features, batch)).loss
    expected = torch.zeros((), dtype=torch.float64)
    for view in features:
        for sample, label in zip(view, batch.label, strict=True):
            logits = objective.classifier.weight @ sample.mean((1, 2)) + objective.classifier.bias
            likelihood = logits - logits.exp().sum().log()
            expected = (
                expected - (1 - smoothing) * likelihood[label] - smoothing * likelihood.mean()
            )
    expected = expected / (6 * views)
    assert_same_value_and_gradient(loss, expected, [*features, *objective.parameters()])


def test_accuracy_is_the_share_of_views_whose_label_is_likeliest() -> None:
    objective = Supervised(StageSpec("layer1", channels=3, stride=4), num_classes=3)
    with torch.no_grad():
        objective.classifier.weight.copy_(torch.eye(3))
        objective.classifier.bias.zero_()
    batch = small_batch(6)  # labels 0 1 2 0 1 2
    right = torch.eye(3)[batch.label][:, :, None, None]
    wrong = right.clone()
    wrong[:2] = right[:2].roll(1, 1)
    assert float(objective(LocalBatch([right, right], batch)).metrics["accuracy"]) == 1
    assert float(objective(LocalBatch([right, wrong], batch)).metrics["accuracy"]) == pytest.approx(
        10 / 12
    )


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_the_data_sets_fault(label: int) -> None:
    batch = small_batch(6)
    batch.label[:2] = label
    with pytest.raises(
        UserError, match=r"2 samples of this batch have labels outside 0 to 2 .* take labelled data"
    ):
        Supervised(SPEC, num_classes=3)(LocalBatch([view.float() for view in maps(2)], batch))


def test_its_probed_feature_is_the_poolings() -> None:
    objective = Supervised(SPEC, num_classes=3, pooling=lambda spec: ExpandPooling(spec, width=10))
    x = torch.randn(4, 6, 3, 3)
    (published,) = objective.published()
    assert published.width == 10
    assert torch.equal(published.feature(x), objective.pooling(x))


@pytest.mark.parametrize(("classes", "smoothing"), [(1, 0.0), (3, 1.0)])
def test_values_out_of_range_are_refused(classes: int, smoothing: float) -> None:
    with pytest.raises(ValueError, match="Supervised needs"):
        Supervised(SPEC, classes, label_smoothing=smoothing)


def test_supervised_blocks_learn_the_labels_of_their_data(tmp_path: Path) -> None:
    data = small_data()
    network = small_network(objective=lambda spec: Supervised(spec, num_classes=data.num_classes))
    before = weights(network)
    small_trainer(tmp_path).fit(network, datamodule=data)
    assert not any(torch.equal(p, before[name]) for name, p in network.named_parameters())


def instantiate(model: dict[str, object] | None, folder: Path, *arguments: str) -> BlockwiseModule:
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(BlockwiseModule, "model")
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump({"model": model or {}}))
    small = [
        "--model.backbone=resnet18",
        "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8]}",
    ]
    return parser.instantiate(parser.parse_args([f"--config={path}", *small, *arguments])).model


def test_the_command_line_chooses_it_in_two_words(tmp_path: Path) -> None:
    network = instantiate(
        None, tmp_path, "--model.objective=Supervised", "--model.objective.num_classes=10"
    )
    for block in network.walked:
        assert isinstance(block.objective, Supervised)
        assert block.objective.num_classes == 10


def test_yaml_sets_it_beside_a_self_supervised_one(tmp_path: Path) -> None:
    model = {
        "objective": {
            "class_path": "blocklearn.objectives.Combined",
            "init_args": {
                "weights": [0.5, 1.0],
                "objectives": [
                    {
                        "class_path": "blocklearn.objectives.Supervised",
                        "init_args": {"num_classes": 5},
                    },
                    {
                        "class_path": "blocklearn.objectives.JointEmbedding",
                        "init_args": {
                            "pooling": {"class_path": "blocklearn.objectives.GlobalPooling"},
                            "projector": {
                                "class_path": "blocklearn.objectives.Projector",
                                "init_args": {"widths": [8, 8]},
                            },
                            "criterion": {"class_path": "blocklearn.objectives.VICReg"},
                        },
                    },
                ],
            },
        }
    }
    network = instantiate(model, tmp_path)
    batch = small_batch()
    for block, later in zip(network.walked, network.walked[1:], strict=False):
        assert {p.data_ptr() for p in block.parameters()}.isdisjoint(
            p.data_ptr() for p in later.parameters()
        )
    metrics = network.walked[0].local_step(Carried(batch.views), batch).metrics
    assert metrics.keys() == {
        *(f"supervised/{name}" for name in ("loss", "accuracy")),
        *(f"jointembedding/{name}" for name in ("loss", "invariance", "std", "covariance")),
    }
