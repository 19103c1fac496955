"""The kernels on a device, against plain PyTorch on the CPU, in float64."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from blocklearn import BarlowTwins, VICReg
from blocklearn.distributed.sync_norm import _Normalise
from blocklearn.kernels import expanded_mean as chunking
from blocklearn.kernels.expanded_mean import expanded_mean
from blocklearn.kernels.indexed_products import indexed_products
from blocklearn.kernels.packed_mask import pack_positive, where_positive
from blocklearn.kernels.recomputed_mean import recomputed_mean
from blocklearn.kernels.redrawn_noise import redrawn_noise
from blocklearn.seeding import keyed_generator, keyed_randomness, keyed_uniform

Computation = Callable[..., Tensor]


def draws(*shapes: Sequence[int]) -> list[Tensor]:
    return [torch.randn(*shape, dtype=torch.float64) for shape in shapes]


def assert_same(
    fast: Computation, slow: Computation, values: Sequence[Tensor], device: torch.device
) -> None:
    """Value and gradients of `fast` on the device, and of `slow` on the CPU."""
    found = []
    for compute, place in ((fast, device), (slow, torch.device("cpu"))):
        leaves = [value.to(place).requires_grad_() for value in values]
        out = compute(*leaves)
        pull = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view(out.shape).to(place)
        gradients = torch.autograd.grad((out * pull).sum(), leaves)
        found.append([tensor.detach().cpu() for tensor in (out, *gradients)])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_an_expansion_that_is_never_held_is_the_one_that_is(
    device: torch.device, kernel: int, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CPU_ENTRIES", "DEVICE_ENTRIES"):
        monkeypatch.setattr(chunking, name, 500)
    norms = {"slow": nn.BatchNorm2d(40).double().train(training)}
    norms["fast"] = copy.deepcopy(norms["slow"]).to(device)
    mean = expanded_mean if kernel == 1 else recomputed_mean

    def expand(x: Tensor, weight: Tensor) -> Tensor:
        z = nn.functional.conv2d(x, weight, padding=kernel // 2)
        return norms["slow"](z).relu().mean((2, 3))

    values = draws((4, 16, 5, 3), (40, 16, kernel, kernel))
    assert_same(lambda x, weight: mean(x, weight, norms["fast"]), expand, values, device)
    for name, buffer in norms["slow"].named_buffers():
        torch.testing.assert_close(dict(norms["fast"].named_buffers())[name].cpu(), buffer)


@pytest.mark.parametrize("criterion", [BarlowTwins, VICReg])
def test_the_gram_form_is_the_matrix_form(device: torch.device, criterion: type) -> None:
    forms = {form: criterion(form=form) for form in ("gram", "matrix")}
    assert_same(
        lambda *z: forms["gram"](z).loss,
        lambda *z: forms["matrix"](z).loss,
        [1 + each for each in draws((6, 20), (6, 20))],
        device,
    )


def test_noise_is_the_written_formulas_and_drawn_again_the_same(device: torch.device) -> None:
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    n = torch.randn(
        x.shape, generator=keyed_generator(device, 1, 2), device=device, dtype=x.dtype
    ).cpu()
    assert_same(
        lambda x: redrawn_noise(x, (2, 3), 0.25, keyed_generator(device, 1, 2)),
        lambda x: x + 0.25 * x.std((2, 3), keepdim=True) * n,
        [x],
        device,
    )


def test_products_with_rows_that_are_named_by_index_are_those_with_copies(
    device: torch.device,
) -> None:
    index = torch.randint(0, 9, (7, 5))
    index[index == 3] = 4  # a row that nobody chose
    assert_same(
        lambda anchors, pool: indexed_products(anchors, pool, index.to(device)),
        lambda anchors, pool: (anchors.unsqueeze(1) * pool[index]).sum(2),
        draws((7, 6), (9, 6)),
        device,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_packed_bits_say_what_is_above_0(device: torch.device, dtype: torch.dtype) -> None:
    x, values = torch.randn(5, 13).clamp_min(0).to(dtype), torch.randn(13).to(dtype)
    packed = pack_positive(x.to(device).clone())
    found = where_positive(packed, values.to(device), x.shape)
    assert torch.equal(found.cpu(), (x > 0) * values)


def test_the_joined_moments_normalise_as_batchnorm_does(device: torch.device) -> None:
    x, weight, bias = draws((4, 3, 5, 5), (3,), (3,))
    assert_same(
        lambda *all: _Normalise.apply(*all, 1e-5)[0],  # pyright: ignore
        lambda x, weight, bias: batch_norm(x, None, None, weight, bias, training=True),
        [x, weight, bias],
        device,
    )


def test_numbers_keyed_to_a_sample_are_the_same_on_every_device(device: torch.device) -> None:
    index = torch.tensor([0, 5, 2**40])
    one_by_one = torch.cat([keyed_uniform(each[None], 8, 1, 2) for each in index])
    assert torch.equal(keyed_uniform(index.to(device), 8, 1, 2).cpu(), one_by_one)


def test_what_a_device_draws_in_a_step_depends_on_the_keys_and_nothing_outside_moves(
    device: torch.device,
) -> None:
    def draw() -> Tensor:
        return torch.rand(4, device=device)

    def keyed() -> Tensor:
        with keyed_randomness(1, 2, device=device):
            return draw()

    torch.manual_seed(0)
    expected = [draw(), draw()]
    torch.manual_seed(0)
    found = [draw(), keyed(), draw(), keyed()]
    assert torch.equal(found[1], found[3])
    assert torch.equal(torch.stack(found[::2]), torch.stack(expected))
