import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor, nn

from blocklearn import (
    PatchInfoNCE,
    PixelCNN,
    RecurrentContext,
    StageSpec,
    TemporalInfoNCE,
    UserError,
)
from blocklearn.heads.pixel_cnn import GatedLayer


def cell_loop(context: RecurrentContext, x: Tensor) -> Tensor:
    """One cell step after the other; the state is cut off from its graph before each."""
    gru = context.gru
    cell = nn.GRUCell(gru.input_size, gru.hidden_size).to(x.dtype)
    cell.weight_ih, cell.weight_hh = gru.weight_ih_l0, gru.weight_hh_l0
    cell.bias_ih, cell.bias_hh = gru.bias_ih_l0, gru.bias_hh_l0
    state = x.new_zeros(len(x), gru.hidden_size)
    states = []
    for t in range(x.shape[2]):
        state = cell(x[:, :, t], state.detach())
        states.append(state)
    return torch.stack(states, dim=2)


def test_without_backpropagation_through_time_it_equals_a_loop_that_detaches_every_state() -> None:
    context = RecurrentContext(3, hidden=4, bptt=False).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    fast, slow = context(x), cell_loop(context, x)
    leaves = [x, *context.parameters()]
    assert_same_value_and_gradient(
        fast, slow, leaves, value=(1e-12, 1e-14), gradient=(1e-10, 1e-13)
    )


def test_with_it_the_values_are_the_same_and_the_gradient_reaches_the_first_position() -> None:
    whole, cut = RecurrentContext(3, hidden=4), RecurrentContext(3, hidden=4, bptt=False)
    cut.load_state_dict(whole.state_dict())
    x = torch.randn(2, 3, 6, requires_grad=True)
    torch.testing.assert_close(whole(x), cut(x))
    (reached,) = torch.autograd.grad(whole(x)[:, :, -1].sum(), x)
    assert (reached.abs().sum(dim=(0, 1)) > 0).tolist() == [True] * 6
    (reached,) = torch.autograd.grad(cut(x)[:, :, -1].sum(), x)
    assert (reached.abs().sum(dim=(0, 1)) > 0).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("layers", [1, 4])
def test_pixel_cnn_knows_its_own_row_and_those_above(layers: int) -> None:
    network = PixelCNN(3, layers)
    x = torch.randn(1, 3, 6, 5, requires_grad=True)
    (reached,) = torch.autograd.grad(network(x)[0, :, 3, 2].sum(), x)
    rows = reached.abs().sum(dim=(0, 1, 3)) > 0
    assert not rows[4:].any()
    assert rows[2:4].all()
    if layers == 4:
        assert reached[0, :, 3].abs().sum(dim=0).gt(0).all()  # its own row, on both sides
        assert rows[:4].all()


def test_pixel_cnn_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        network = PixelCNN(1024)
    assert sum(p.numel() for p in network.layers.parameters()) == 127_961_088
    assert sum(p.numel() for p in network.output.parameters()) == 1_049_600


def test_a_gated_layer_equals_its_masked_convolutions() -> None:
    layer = GatedLayer(2, residual=True)
    assert layer.vertical_residual is not None
    above, row = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 4, 4)
    mask = torch.ones(3, 3)
    mask[2] = 0
    vertical = nn.functional.conv2d(
        above, layer.vertical.weight * mask, layer.vertical.bias, padding=1
    )
    horizontal = layer.horizontal(row) + layer.link(vertical)
    gated = [
        torch.tanh(v[:, :2]) * torch.sigmoid(v[:, 2:])
        for v in (vertical + layer.vertical_residual(above), horizontal)
    ]
    got_above, got_row = layer(above, row)
    torch.testing.assert_close(got_above, gated[0])
    torch.testing.assert_close(got_row, layer.output(gated[1]) + row)


def test_no_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        PixelCNN(4, layers=0)


def test_a_context_network_of_the_other_kind_is_refused_when_the_network_is_built() -> None:
    with pytest.raises(
        UserError,
        match="PixelCNN does not read sound: take another context, such as RecurrentContext",
    ):
        TemporalInfoNCE(StageSpec("conv5", 4, 160, "NCL"), context=PixelCNN)
    with pytest.raises(
        UserError,
        match="RecurrentContext does not read maps: take another context, such as PixelCNN",
    ):
        PatchInfoNCE(StageSpec("layer1", 4, 4), context=RecurrentContext)
