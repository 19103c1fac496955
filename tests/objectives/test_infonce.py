import math

import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor

from blocklearn.kernels.indexed_products import indexed_products
from blocklearn.objectives.infonce import contrast


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_products_by_index_equal_gathered_copies_in_value_and_gradient() -> None:
    anchors, pool = doubles(7, 3), doubles(5, 3)
    index = torch.randint(5, (7, 4))
    fast, slow = (
        indexed_products(anchors, pool, index),
        (anchors.unsqueeze(1) * pool[index]).sum(dim=2),
    )
    assert_same_value_and_gradient(
        fast, slow, [anchors, pool], value=(1e-12, 1e-14), gradient=(1e-12, 1e-14)
    )


def test_products_by_index_pass_a_numerical_check_of_their_gradient() -> None:
    index = torch.tensor([[0, 0], [2, 1], [1, 0]])
    assert torch.autograd.gradcheck(
        lambda a, p: indexed_products(a, p, index), (doubles(3, 2), doubles(4, 2))
    )


def test_no_copies_of_the_pool_are_kept_for_the_backward_pass() -> None:
    saved: list[Tensor] = []
    anchors, pool = torch.randn(50, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        indexed_products(anchors, pool, torch.randint(40, (50, 16)))
    floats = sum(x.numel() for x in saved if x.is_floating_point())
    assert floats == anchors.numel() + pool.numel()


def test_loss_and_accuracy_of_known_logits() -> None:
    anchors = torch.eye(2)
    pool = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    positives, negatives = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([[0], [1]])
    (result,) = contrast([anchors], [positives], pool, [negatives])
    assert float(result.loss) == pytest.approx(
        (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    )
    assert float(result.accuracy) == 0.5


def test_features_that_are_all_alike_are_never_right() -> None:
    same = torch.ones(6, 3)
    (result,) = contrast([same], [same], same, [torch.randint(6, (6, 4))])
    assert float(result.accuracy) == 0
    assert float(result.loss) == pytest.approx(math.log(5))


def test_a_hopeless_positive_still_has_a_gradient() -> None:
    anchor = torch.tensor([[30.0]], requires_grad=True)
    contrast([anchor], [torch.tensor([[-10.0]])], torch.tensor([[10.0]]), [torch.tensor([[0]])])[
        0
    ].loss.backward()
    assert anchor.grad is not None
    assert float(anchor.grad) == pytest.approx(20)


def test_half_precision_features_are_judged_in_float32() -> None:
    anchors, pool = torch.randn(6, 4).bfloat16(), torch.randn(6, 4).bfloat16()
    index = torch.randint(6, (6, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (low,) = contrast([anchors], [pool], pool, [index])
    assert low.loss.dtype == torch.float32
    (full,) = contrast([anchors.float()], [pool.float()], pool.float(), [index])
    torch.testing.assert_close(low.loss, full.loss)


def test_steps_are_judged_apart_though_they_share_a_pool() -> None:
    pool = torch.randn(9, 3)
    steps = [(torch.randn(n, 3), torch.randn(n, 3), torch.randint(9, (n, 2))) for n in (4, 1, 6)]
    together = contrast([s[0] for s in steps], [s[1] for s in steps], pool, [s[2] for s in steps])
    for result, (anchors, positives, negatives) in zip(together, steps, strict=True):
        (alone,) = contrast([anchors], [positives], pool, [negatives])
        torch.testing.assert_close(result.loss, alone.loss)
        assert result.accuracy == alone.accuracy
