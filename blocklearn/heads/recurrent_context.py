"""A recurrent summary of the past."""

import torch
from torch import Tensor, nn

from blocklearn.heads.context import Context


class RecurrentContext(Context):
    """A GRU over time: one layer, forward, hidden state 0 at the start (arXiv 1905.11786, released
    code).

    Args:
        channels: of the input.
        hidden: of the state, which is the context, >= 1; 256 published.
        bptt: carry the gradient back through time. Without, every state takes the one before as a
            constant: its gradient reaches the current position only (the released code's
            `remove_BPTT`).

    Raises:
        ValueError: for a state without components.
    """

    reads = "sound"

    def __init__(self, channels: int, hidden: int = 256, bptt: bool = True) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"RecurrentContext needs hidden >= 1, got {hidden}")
        self.out_channels = hidden
        self.bptt = bptt
        self.gru = nn.GRU(channels, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, T)` to `(B, hidden, T)`."""
        x = x.transpose(1, 2)
        if self.bptt or not torch.is_grad_enabled():
            return self.gru(x)[0].transpose(1, 2)
        # Once all states are known, every step is a step by itself, so all are taken at once.
        with torch.no_grad():
            states = self.gru(x)[0]
        before = torch.cat([states.new_zeros(len(x), 1, self.out_channels), states[:, :-1]], dim=1)
        weights = (
            self.gru.get_parameter(f"{name}_l0")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        steps = torch.gru_cell(x.flatten(0, 1), before.flatten(0, 1), *weights)
        return steps.unflatten(0, x.shape[:2]).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"bptt={self.bptt}"
