"""The `(B, B)` form of criteria against their `(D, D)` form. Over two processes:
distributed/test_two_processes.py."""

import re

import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from blocklearn import BarlowTwins, VICReg
from blocklearn.kernels.product_norm import squared_norm_of_product


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            self.numel = max(self.numel, tensor.numel() if isinstance(tensor, Tensor) else 0)
        return made


def views(count: int, width: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shared, *own = (torch.randn(count, width, dtype=dtype) for _ in range(3))
    return [(1 + shared + view).requires_grad_() for view in own]


def largest(criterion: torch.nn.Module, count: int, width: int) -> int:
    z = views(count, width)
    with LargestTensor() as made:
        criterion(z).loss.backward()
    return made.numel


@pytest.mark.parametrize(("count", "width"), [(3, 50), (17, 40), (9, 9), (40, 6), (5, 1)])
@pytest.mark.parametrize("criterion", [BarlowTwins, VICReg])
def test_the_gram_form_has_value_gradient_and_metrics_of_the_matrix(
    criterion: type[BarlowTwins | VICReg], count: int, width: int
) -> None:
    z = views(count, width)
    gram, matrix = (criterion(form=form)(z) for form in ("gram", "matrix"))
    assert_same_value_and_gradient(
        gram.loss, matrix.loss, z, value=(1e-10, 1e-12), gradient=(1e-10, 1e-12)
    )
    torch.testing.assert_close(gram.metrics, matrix.metrics, rtol=1e-10, atol=1e-12)


def test_the_sum_of_squares_equals_the_matrixs_and_its_gradient_finite_differences() -> None:
    z1, z2 = views(4, 6)
    assert_same_value_and_gradient(
        squared_norm_of_product(z1, z2), (z1.T @ z2).square().sum(), [z1, z2]
    )
    assert_same_value_and_gradient(
        squared_norm_of_product(z1, z1), (z1.T @ z1).square().sum(), [z1]
    )
    assert torch.autograd.gradcheck(squared_norm_of_product, (z1, z2))


@pytest.mark.parametrize("criterion", [BarlowTwins, VICReg])
def test_a_batch_smaller_than_the_width_makes_no_matrix_of_width_by_width(
    criterion: type[BarlowTwins | VICReg],
) -> None:
    assert largest(criterion(), count=4, width=60) == 4 * 60
    assert largest(criterion(form="matrix"), count=4, width=60) == 60 * 60
    assert largest(criterion(), count=60, width=4) == 4 * 60
    assert largest(criterion(form="gram"), count=60, width=4) == 60 * 60


def test_the_gradient_is_computed_in_float32_where_backward_is_called_inside_autocast() -> None:
    z = views(6, 20, torch.float32)
    expected = torch.autograd.grad(BarlowTwins(form="gram")(z).loss, z)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(BarlowTwins(form="gram")(z).loss, z)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("criterion", [BarlowTwins, VICReg])
def test_an_unknown_form_is_refused(criterion: type[BarlowTwins | VICReg]) -> None:
    with pytest.raises(ValueError, match=re.escape("needs form auto, matrix or gram, got square")):
        criterion(form="square")  # pyright: ignore[reportArgumentType]
