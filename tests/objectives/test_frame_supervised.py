import pytest
import torch

from blocklearn import Batch, FrameSupervised, StageSpec, UserError
from blocklearn.objectives.objective import LocalBatch

SPEC = StageSpec("conv5", channels=4, stride=160, layout="NCL")


def batch_of(label: torch.Tensor) -> Batch:
    return Batch([], label, torch.arange(len(label)))


def test_the_loss_is_the_mean_cross_entropy_of_the_frames_that_have_a_label() -> None:
    objective = FrameSupervised(SPEC, num_classes=3).double()
    features = torch.randn(2, 4, 5, dtype=torch.float64)
    label = torch.tensor([[0, 2, -1, 1, 1], [-1, -1, 0, 2, 2]])
    losses, hits = [], []
    for b in range(2):
        for t in range(5):
            if label[b, t] >= 0:
                logits = objective.classifier(features[b, :, t])
                losses.append(logits.logsumexp(0) - logits[label[b, t]])
                hits.append(float(logits.argmax() == label[b, t]))
    output = objective(LocalBatch([features], batch_of(label)))
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    assert float(output.metrics["accuracy"]) == pytest.approx(sum(hits) / len(hits))


def test_a_stage_with_finer_positions_is_averaged_to_the_frames() -> None:
    objective = FrameSupervised(SPEC, num_classes=3)
    coarse, label = torch.randn(2, 4, 5), torch.randint(3, (2, 5))
    fine = coarse.repeat_interleave(4, dim=2) + torch.tensor([1.0, -1.0, 2.0, -2.0]).repeat(5)
    torch.testing.assert_close(
        objective(LocalBatch([fine], batch_of(label))).loss,
        objective(LocalBatch([coarse], batch_of(label))).loss,
    )


def test_several_views_are_averaged() -> None:
    objective, label = FrameSupervised(SPEC, num_classes=3), torch.randint(3, (2, 5))
    views = [torch.randn(2, 4, 5) for _ in range(2)]
    alone = [objective(LocalBatch([view], batch_of(label))).loss for view in views]
    torch.testing.assert_close(
        objective(LocalBatch(views, batch_of(label))).loss, torch.stack(alone).mean()
    )


def test_frames_without_any_label_have_no_gradient_and_no_nan() -> None:
    objective = FrameSupervised(SPEC, num_classes=3)
    features = torch.randn(2, 4, 5, requires_grad=True)
    output = objective(LocalBatch([features], batch_of(torch.full((2, 5), -1))))
    output.loss.backward()
    assert output.loss.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_a_label_above_the_classes_is_told() -> None:
    with pytest.raises(UserError, match="1 frames have labels above 2; set num_classes"):
        FrameSupervised(SPEC, num_classes=3)(
            LocalBatch([torch.randn(1, 4, 2)], batch_of(torch.tensor([[3, 0]])))
        )


def test_maps_and_a_single_class_are_refused() -> None:
    with pytest.raises(UserError, match="layer1 makes maps: take Supervised"):
        FrameSupervised(StageSpec("layer1", 4, 4), num_classes=3)
    with pytest.raises(ValueError, match="num_classes >= 2"):
        FrameSupervised(SPEC, num_classes=1)
