import pytest
import torch
from torch import Tensor

from benchmarks.lars import plain_step
from blocklearn import LARS


@pytest.fixture(params=["fused", "together"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As on a CPU, and as on a GPU."""
    if request.param == "together":
        monkeypatch.setattr(Tensor, "is_cpu", False)
    return request.param


def make_params() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (5,), (2, 3, 3, 3), (7, 2)]
    params = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    with torch.no_grad():
        params[3].zero_()  # a zero weight has no norm to adapt to
    params[2].data = params[2].data.contiguous(memory_format=torch.channels_last)
    return params


@pytest.mark.usefixtures("way")
def test_lars_equals_the_plain_loop_over_parameters() -> None:
    fast, slow = make_params(), make_params()
    momenta = [torch.zeros_like(p) for p in slow]
    optimizer = LARS(fast, lr=0.3, momentum=0.9, eta=0.02, weight_decay=0.01)
    generator = torch.Generator().manual_seed(1)
    for step in range(4):
        for a, b in zip(fast, slow, strict=True):
            # a zero gradient on a weight without decay leaves nothing to divide by
            a.grad = torch.randn(a.shape, generator=generator, dtype=torch.float64) * (step != 2)
            b.grad = a.grad.clone()
            if a.ndim == 4 and step % 2:  # in the order of the weight, and in another
                a.grad = a.grad.contiguous(memory_format=torch.channels_last)
        optimizer.step()
        plain_step(slow, momenta, 0.3, 0.9, 0.02, 0.01)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_biases_are_neither_decayed_nor_adapted() -> None:
    bias = torch.ones(3, requires_grad=True)
    bias.grad = torch.full((3,), 2.0)
    LARS([bias], lr=0.5, weight_decay=0.9).step()
    torch.testing.assert_close(bias.detach(), torch.zeros(3))


def test_a_parameter_without_gradient_is_left_alone() -> None:
    used, unused = torch.ones(2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    used.grad = torch.ones(2, 2)
    optimizer = LARS([used, unused], lr=0.1)
    optimizer.step()
    assert torch.equal(unused, torch.ones(2, 2))
    assert unused not in optimizer.state


def test_the_momentum_is_saved_and_restored() -> None:
    def trained(steps: int, restore_after: int | None) -> Tensor:
        param = torch.ones(2, 2, requires_grad=True)
        optimizer = LARS([param], lr=0.1)
        for step in range(steps):
            param.grad = torch.full((2, 2), float(step + 1))
            optimizer.step()
            if step == restore_after:
                state = optimizer.state_dict()
                optimizer = LARS([param], lr=0.1)
                optimizer.load_state_dict(state)
        return param.detach()

    assert torch.equal(trained(4, None), trained(4, 1))


@pytest.mark.parametrize(
    "wrong", [{"lr": 0.0}, {"momentum": 1.0}, {"eta": 0.0}, {"weight_decay": -1.0}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="LARS needs"):
        LARS([torch.ones(1)], **wrong)
