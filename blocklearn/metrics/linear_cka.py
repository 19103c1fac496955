"""Linear CKA: how alike two representations of the same samples are."""

from torch import Tensor


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment (arXiv 1905.00414, eq. 3 with linear kernels):
    `|Y'X|^2 / (|X'X| |Y'Y|)` in Frobenius norms, with the columns of both centred. 1: the same up
    to rotation, reflection and one factor; 0: uncorrelated. With fewer samples than dimensions it
    comes out too high. NaN where one of them is constant.

    Args:
        x: `(N, D1)`.
        y: `(N, D2)`, of the same samples in the same order.

    Raises:
        ValueError: for different numbers of rows.
    """
    if len(x) != len(y):
        raise ValueError(f"CKA compares the same samples, got {len(x)} and {len(y)} rows")
    x, y = _centred(x), _centred(y)
    if len(x) < min(x.shape[1], y.shape[1]):  # the same through the samples' inner products
        k, gram = x @ x.T, y @ y.T
        return float((k * gram).sum() / (k.norm() * gram.norm()))
    return float((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def _centred(x: Tensor) -> Tensor:
    x = x.double()
    return x - x.mean(dim=0)
