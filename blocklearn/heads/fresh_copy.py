"""Copies of modules with weights of their own, and what makes features fit in front of them."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.errors import UserError


@torch.no_grad()
def fresh_copy(modules: Sequence[nn.Module]) -> nn.Sequential:
    """The same architecture, newly initialised from torch's default stream.

    Every weight is drawn anew from a normal distribution that has the mean and the standard
    deviation of the copied weight. So each layer of a network that has not learned yet keeps the
    scale that its family gives it, and what was constant stays so. Running statistics begin anew.

    Args:
        modules: that run one after the other; they are left as they are.
    """
    copied = copy.deepcopy(nn.Sequential(*modules))
    for weight in copied.parameters():
        mean, spread = weight.mean(), weight.std(correction=0)
        weight.normal_().mul_(spread).add_(mean)
    for module in copied.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()
    return copied


class Fit(nn.Module):
    """Brings features to the size and the width that another layer takes: the mean over windows as
    large as the strides' ratio, and a 1x1 convolution without bias. For maps and for sound.

    Args:
        have: of the features.
        want: of what the other layer takes.

    Raises:
        UserError: for tokens, another layout, or a stride that is no multiple.
    """

    def __init__(self, have: StageSpec, want: StageSpec) -> None:
        super().__init__()
        same = have.layout == want.layout and not have.layout.is_tokens
        if not same or want.stride % have.stride:
            raise UserError(
                f"objective: no auxiliary layer makes what {have.name} hands on ({have.layout}, "
                f"stride {have.stride}) into what lies behind {want.name} ({want.layout}, stride "
                f"{want.stride}); give these blocks another objective (--model.per_block)"
            )
        self.layout, ratio = have.layout, want.stride // have.stride
        window = (1, ratio) if have.layout.is_sound else ratio
        self.pool = nn.AvgPool2d(window, ceil_mode=True)
        self.conv = nn.Conv2d(have.channels, want.channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        fitted = self.conv(self.pool(self.layout.as_map(x)))
        if self.layout.is_sound:
            return fitted.squeeze(2)
        return fitted if self.layout.channel == 1 else fitted.permute(0, 2, 3, 1)


def fits(have: StageSpec, want: StageSpec) -> bool:
    """Whether a layer that takes `want` takes `have` as it is."""
    return (have.channels, have.stride, have.layout) == (want.channels, want.stride, want.layout)
