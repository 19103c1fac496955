"""The fused expansion, 1x1 and 3x3, against convolution, BatchNorm, ReLU and mean as PyTorch has
them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from blocklearn import ExpandPooling, StageSpec
from blocklearn.kernels.expanded_mean import chunks, expanded_mean, positions_last
from blocklearn.kernels.packed_mask import pack_positive, where_positive
from blocklearn.kernels.recomputed_mean import recomputed_mean
from blocklearn.objectives import expanded_mean as chunking

FUSED: dict[int, Callable[..., Tensor]] = {1: expanded_mean, 3: recomputed_mean}
FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
SHAPES = [((3, 5, 7, 6), 13), ((4, 16, 3, 3), 40), ((2, 8, 16, 16), 24), ((5, 3, 1, 9), 1)]


@pytest.fixture(autouse=True)
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "CPU_ENTRIES", 500)


def plain(x: Tensor, weight: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    return norm(nn.functional.conv2d(x, weight, padding=weight.shape[-1] // 2)).relu().mean((2, 3))


def a_norm(width: int, dtype: torch.dtype) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width).to(dtype)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)  # pyright: ignore
    nn.init.uniform_(norm.running_var, 0.5, 2)  # pyright: ignore
    return norm


def value_gradients_and_statistics(
    mean: Callable[..., Tensor], x: Tensor, weight: Tensor, norm: nn.BatchNorm2d, pull: Tensor
) -> list[Tensor]:
    leaves = [
        x.clone(memory_format=torch.preserve_format).requires_grad_(),
        weight.clone().requires_grad_(),
    ]
    y = mean(*leaves, norm)
    gradients = torch.autograd.grad((y * pull).sum(), [*leaves, norm.weight, norm.bias])
    return [y.detach(), *gradients, *norm.buffers()]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize(("shape", "width"), SHAPES)
@pytest.mark.parametrize("kernel", FUSED)
def test_value_gradients_and_running_statistics_are_those_of_plain_pytorch(
    kernel: int, shape: tuple[int, ...], width: int, layout: str, training: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    x = (torch.randn(shape, dtype=torch.float64) + 1).contiguous(memory_format=FORMATS[layout])
    weight = torch.randn(width, shape[1], kernel, kernel, dtype=torch.float64)
    norm = a_norm(width, torch.float64).train(training)
    pull = torch.randn(shape[0], width, dtype=torch.float64)
    slow = value_gradients_and_statistics(plain, x, weight, copy.deepcopy(norm), pull)
    fast = value_gradients_and_statistics(FUSED[kernel], x, weight, norm, pull)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kernel", FUSED)
def test_in_float32_it_is_as_near_to_the_truth_as_plain_pytorch(kernel: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(6, 32, 10, 10) * 3 + 4, torch.randn(64, 32, kernel, kernel)
    norm, pull = a_norm(64, torch.float32), torch.randn(6, 64)
    truth = value_gradients_and_statistics(
        plain, x.double(), weight.double(), copy.deepcopy(norm).double(), pull.double()
    )
    slow = value_gradients_and_statistics(plain, x, weight, copy.deepcopy(norm), pull)
    fast = value_gradients_and_statistics(FUSED[kernel], x, weight, norm, pull)
    for exact, ours, theirs in zip(truth[:7], fast, slow, strict=False):
        allowed = 4 * float((theirs - exact).norm()) + 1e-6 * float(exact.norm())
        assert float((ours - exact).norm()) <= allowed


@pytest.mark.parametrize("kernel", FUSED)
def test_under_autocast_the_loss_in_accuracy_is_that_of_plain_pytorch(kernel: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(6, 32, 10, 10) + 1, torch.randn(64, 32, kernel, kernel)
    norm, pull = a_norm(64, torch.float32), torch.randn(6, 64)
    truth = value_gradients_and_statistics(plain, x, weight, copy.deepcopy(norm), pull)
    with torch.autocast("cpu", torch.bfloat16):
        slow = value_gradients_and_statistics(plain, x, weight, copy.deepcopy(norm), pull)
        fast = value_gradients_and_statistics(FUSED[kernel], x, weight, norm, pull)
    for exact, ours, theirs in zip(truth[:7], fast, slow, strict=False):
        assert float((ours - exact).norm()) <= 2 * float((theirs - exact).norm()) + 1e-3 * float(
            exact.norm()
        )
    assert fast[1].dtype == fast[2].dtype == torch.float32


@pytest.mark.parametrize("kernel", FUSED)
def test_a_dead_channel_passes_the_gradient_that_plain_pytorch_passes(kernel: int) -> None:
    x, weight = (
        torch.randn(3, 4, 5, 5, dtype=torch.float64),
        torch.randn(16, 4, kernel, kernel, dtype=torch.float64),
    )
    norm, pull = a_norm(16, torch.float64), torch.randn(3, 16, dtype=torch.float64)
    with torch.no_grad():
        norm.weight[:4] = 0
        norm.bias[0], norm.bias[1] = 0.0, -0.0  # activations of 0 throughout
    slow = value_gradients_and_statistics(plain, x, weight, copy.deepcopy(norm), pull)
    fast = value_gradients_and_statistics(FUSED[kernel], x, weight, norm, pull)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-10)
    assert not fast[4][:2].any()


@pytest.mark.parametrize("kernel", FUSED)
def test_a_map_that_needs_no_gradient_gets_none(kernel: int) -> None:
    x = torch.randn(3, 4, 5, 5)
    weight = torch.randn(16, 4, kernel, kernel, requires_grad=True)
    FUSED[kernel](x, weight, a_norm(16, torch.float32)).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


def test_what_backward_keeps_of_the_expanded_map_is_a_bit_an_activation() -> None:
    pooling, kept = ExpandPooling(StageSpec("layer1", 8, 4), width=64), []
    x = torch.randn(4, 8, 16, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        pooling(x)
    small = x.nbytes + 8 * (64 * 8 + 8 * 8 + 8 * 64)  # the input; weights and statistics
    expanded = 4 * 64 * 16 * 16
    assert sum(tensor.nbytes for tensor in kept) <= small + expanded // 8
    with (
        torch.no_grad(),
        torch.autograd.graph.saved_tensors_hooks(lambda _: pytest.fail("kept"), lambda _: _),
    ):
        pooling(x)


@pytest.mark.parametrize("kernel", FUSED)
def test_the_pooling_chooses_it_where_the_expansion_is_fourfold_and_can_be_told_not_to(
    kernel: int,
) -> None:
    assert ExpandPooling(StageSpec("layer1", 4, 4), width=16, kernel_size=kernel).fused
    assert not ExpandPooling(StageSpec("layer1", 4, 4), width=15, kernel_size=kernel).fused
    torch.manual_seed(0)
    fused = ExpandPooling(StageSpec("layer1", 4, 4), width=16, kernel_size=kernel)
    unfused = ExpandPooling(StageSpec("layer1", 4, 4), width=16, kernel_size=kernel, fused=False)
    unfused.load_state_dict(fused.state_dict())
    x = torch.randn(3, 4, 6, 6)
    torch.testing.assert_close(fused(x), unfused(x))
    torch.testing.assert_close(fused.state_dict(), unfused.state_dict())
    torch.testing.assert_close(fused.eval()(x), unfused.eval()(x))


@pytest.mark.parametrize("layout", ["NHWC", "NLC", "NCL"])
def test_every_layout_of_features_passes(layout: str) -> None:
    spec = StageSpec("blocks.2", 4, 16, layout, prefix_tokens=int(layout == "NLC"))  # pyright: ignore
    shape = {"NHWC": (3, 5, 5, 4), "NLC": (3, 26, 4), "NCL": (3, 4, 25)}[layout]
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    fused, unfused = (ExpandPooling(spec, width=16, fused=on).double() for on in (True, False))
    unfused.load_state_dict(fused.state_dict())
    first, second = (
        torch.autograd.grad(pooling(x).square().sum(), x)[0] for pooling in (fused, unfused)
    )
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("samples", "positions", "width"), [(7, 10, 20), (3, 90, 20), (1, 1, 2000), (5, 25, 20)]
)
def test_chunks_cover_every_position_of_every_sample_once(
    samples: int, positions: int, width: int
) -> None:
    rows, seen = torch.zeros(samples, positions, 2), torch.zeros(samples, positions)
    for part in chunks(rows, width):
        seen[part] += 1
        assert seen[part].numel() * width <= max(500, width)
    assert bool((seen == 1).all())


def test_positions_are_a_view_in_both_memory_formats() -> None:
    for memory_format in FORMATS.values():
        x = torch.zeros(2, 3, 4, 5).contiguous(memory_format=memory_format)
        positions_last(x)[1, 7, 2] = 1
        assert float(x[1, 2, 1, 2]) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 16), (3, 5), (1, 1), (2, 3, 33)])
def test_packed_bits_say_which_activations_were_above_0(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    activations = torch.randn(shape).to(dtype).clamp_min(0)
    activations.view(-1)[::3] = 0.0
    activations.view(-1)[-1] = torch.finfo(dtype).tiny
    values = torch.randn(shape[-1]).to(dtype)
    expected = (activations > 0) * values
    packed = pack_positive(activations)
    assert packed.nbytes * 8 <= expected.numel() + 8 * packed.element_size()
    assert torch.equal(where_positive(packed, values, shape), expected)
