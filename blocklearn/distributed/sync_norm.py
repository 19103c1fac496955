"""BatchNorm over the samples of all processes."""

from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from blocklearn.distributed.collectives import all_reduce
from blocklearn.distributed.groups import world_size
from blocklearn.distributed.moments import join_moments
from blocklearn.errors import UserError

_KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)


class SyncedBatchNorm(_BatchNorm):
    """BatchNorm of `(B, C, ...)` with the statistics of all processes' samples, on any device;
    torch's own SyncBatchNorm refuses CPU tensors. In eval mode, or in a single process, it is plain
    BatchNorm. The running variance takes in the unbiased variance of the whole batch, as one
    process with the whole batch would. Computed in float32 at least, by PyTorch's own kernels: each
    process' moments are joined over the processes, and what the joined ones change in the gradient
    is added to it (`global_moments` and autograd are the slow reference).

    Args:
        norm: what it replaces; parameters and buffers are taken over, not copied, and so are the
            dropout and activation of timm's `BatchNormAct2d`.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        for name, parameter in norm.named_parameters(recurse=False):
            setattr(self, name, parameter)
        for name, buffer in norm.named_buffers(recurse=False):
            setattr(self, name, buffer)
        for name, child in norm.named_children():
            self.add_module(name, child)
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        x = self._normalise(x) if self.training and world_size() > 1 else super().forward(x)
        for child in self.children():
            x = child(x)
        return x

    def _normalise(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            exact = x if x.dtype == torch.float64 else x.float()
            out, mean, variance, count = _Normalise.apply(exact, self.weight, self.bias, self.eps)  # pyright: ignore
            track_moments(self, mean, variance * count / (count - 1))
            return out.to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:  # any number of axes will do
        pass


class _Normalise(torch.autograd.Function):
    """`x` to its normalised values, and the batch's mean `(C,)`, biased variance `(C,)` and count
    of values a channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
        mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        mean, variance, count = join_moments(mean, variance, x.numel() // x.shape[1])
        out = torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return out, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, mean, variance, count = ctx.saved_tensors
        # as if the moments were constants, and the sums of the gradient and of its product with
        # the normalised values
        grad, products, sums = torch.ops.aten.native_batch_norm_backward(
            grads[0],
            x,
            weight,
            mean,
            variance,
            None,
            None,
            False,
            ctx.eps,
            [True, True, True],
        )
        scale = (variance + ctx.eps).rsqrt()
        total_products, total_sums = all_reduce(torch.stack([products, sums])) / count
        shape = [1, -1, *[1] * (x.ndim - 2)]
        gain = scale if weight is None else scale * weight
        slope = -gain * scale * total_products
        grad.addcmul_(x, slope.view(shape))
        grad.add_((-gain * total_sums - slope * mean).view(shape))
        own = (None, None) if weight is None else (products, sums)
        return grad, *own, None


def is_synchronised(norm: _BatchNorm) -> bool:
    """Whether its statistics are those of several processes' samples."""
    return world_size() > 1 and isinstance(norm, (SyncedBatchNorm, nn.SyncBatchNorm))


def track_moments(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Take a batch's mean and unbiased variance, each `(C,)`, into the running statistics, as
    BatchNorm does."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    factor = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean), factor)
    norm.running_var.lerp_(variance.to(norm.running_var), factor)


def synchronise_norms(root: nn.Module) -> None:
    """Replace every BatchNorm below `root`, in place, by one over all processes: `SyncedBatchNorm`
    on a CPU; elsewhere torch's SyncBatchNorm in timm's version, which keeps the activation of
    `BatchNormAct2d`. Names in the `state_dict` and the parameters themselves stay, and a norm that
    sits in two places stays one.

    Raises:
        UserError: for a BatchNorm of a class that nothing is known about.
    """
    made: dict[nn.Module, nn.Module] = {}
    for path, parent in list(root.named_modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(
                child, (SyncedBatchNorm, nn.SyncBatchNorm)
            ):
                if child not in made:
                    made[child] = _synchronised(child, f"{path}.{name}".lstrip("."))
                setattr(parent, name, made[child])


def _synchronised(norm: _BatchNorm, name: str) -> nn.Module:
    if type(norm) not in _KNOWN:
        raise UserError(
            f"{name}: a {type(norm).__name__} cannot be synchronised over processes, a plain "
            "BatchNorm can; use one device, or another norm"
        )
    tensors = [*norm.parameters(), *norm.buffers()]
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    return SyncedBatchNorm(norm) if on_cpu else convert_sync_batchnorm(norm)
