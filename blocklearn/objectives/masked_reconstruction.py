"""Masked reconstruction: the pixels of the tokens that a block did not get to see."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from blocklearn.backbones.stage import StageSpec
from blocklearn.backbones.visible_tokens import at
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.errors import UserError
from blocklearn.heads.token_decoder import TokenDecoder, others
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput

EPSILON = 1e-6  # of a patch's variance, as in MAE's released code


class MaskedReconstruction(Objective):
    """A decoder of the block's own paints the hidden tokens, and the loss is its mean squared error
    over them (blockwise: arXiv 2601.09040 for video, arXiv 2311.17218 for images; end to end: MAE,
    arXiv 2111.06377). `model.mask` says which tokens are hidden; all blocks see the same ones.

    Whatever the block's inputs are, targets are the pixels of the batch's own views. With several
    views the loss is their mean; over several processes it is the mean over all samples.

    Metrics:
        masked_mse: the loss.
        mean_mse: what the error would be if the mean of the hidden tokens' targets, value by value,
            were predicted for all of them: 1 or a little less for normalised targets. A decoder
            that has learned anything is below it.

    Args:
        spec: the block's last stage, of a vision transformer.
        depth: layers of the decoder, >= 1; without any the hidden tokens would not see the others.
        width: of its tokens, even.
        heads: of its attention; they divide the width.
        normalise: targets are the pixels of each patch brought to mean 0 and variance 1 (MAE's
            better ones), not the pixels as the data module makes them.
        decoder: builds another decoder from the `StageSpec`, with `forward` and `of_all` as
            `TokenDecoder` has them; null for that one.

    Raises:
        ValueError: for a value out of range.
        UserError: for features that are no tokens, or images of any size; with a batch, where
            nothing is hidden.
    """

    needs_images = True
    tokens = "visible"

    def __init__(
        self,
        spec: StageSpec,
        depth: int = 4,
        width: int = 192,
        heads: int = 3,
        normalise: bool = True,
        decoder: Callable[[StageSpec], TokenDecoder] | None = None,
    ) -> None:
        super().__init__()
        if depth < 1 or heads < 1 or width < 2 or width % 2 or width % heads:
            raise ValueError(
                "MaskedReconstruction needs depth >= 1 and an even width that heads divide, got "
                f"{depth}, {width} and {heads}"
            )
        if spec.tokens is None:
            raise UserError(
                f"MaskedReconstruction hides tokens, {spec.name} makes {spec.layout.kind}"
                f"{' of images of any size' if spec.layout.is_tokens else ''}: take a vision "
                "transformer (vit_tiny_patch16_224, video_vit_tiny) without dynamic_img_size"
            )
        self.grid, self.normalise = spec.tokens, normalise
        self.decoder = decoder(spec) if decoder else TokenDecoder(spec, depth, width, heads)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Tokens `(B, P + V, C)`, one per view, to the loss.

        Raises:
            UserError: where nothing is hidden, and where the batch holds no pixels.
        """
        batch = local.batch
        if not batch.visible or not batch.views:
            missing = "a mask: set --model.mask" if batch.views else "the pixels of the batch"
            raise UserError(f"MaskedReconstruction needs {missing}")
        losses, means = [], []
        for features, view, visible in zip(local.features, batch.views, batch.visible, strict=True):
            hidden = others(visible, self.grid.count)
            painted = self.decoder(features, visible, hidden)
            loss, mean = _errors(painted, self.targets(view, hidden))
            losses.append(loss)
            means.append(mean)
        loss, mean = torch.stack(losses).mean(), torch.stack(means).mean()
        return ObjectiveOutput(loss, {"masked_mse": loss.detach(), "mean_mse": mean})

    @torch.no_grad()
    def targets(self, view: Tensor, positions: Tensor | None = None) -> Tensor:
        """What is to be painted, `(B, L, D)`.

        Args:
            view: `(B, C, H, W)` or `(B, C, T, H, W)`.
            positions: `(B, L)` of the tokens; null for all.
        """
        patches = self.grid.patches(at_least_float32(view))
        if positions is not None:
            patches = at(patches, positions)
        if not self.normalise:
            return patches
        mean, scale = _statistics(patches)
        patches = patches - mean  # one copy at a time: of clips they are large
        return patches.div_(scale)

    @torch.no_grad()
    def reconstruct(self, features: Tensor, visible: Tensor) -> Tensor:
        """Painted targets of all tokens, `(B, L, D)`, from the features of the visible ones."""
        return self.decoder.of_all(features, visible, others(visible, self.grid.count))

    def denormalise(self, painted: Tensor, view: Tensor) -> Tensor:
        """Painted targets as pixels, `(B, L, D)`, with each patch's true mean and variance where
        targets are normalised, as they are otherwise."""
        if not self.normalise:
            return painted
        mean, scale = _statistics(self.grid.patches(at_least_float32(view)))
        return painted * scale + mean

    def extra_repr(self) -> str:
        return f"normalise={self.normalise}"


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    mean = patches.mean(dim=2, keepdim=True)
    return mean, (patches.var(dim=2, keepdim=True) + EPSILON).sqrt()


def _errors(painted: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared errors over all processes: of what was painted, and of the targets' mean.
    Nothing as large as they are is made besides."""
    with torch.autocast(painted.device.type, enabled=False):
        error = mse_loss(at_least_float32(painted), targets, reduction="sum")
        rows = targets.new_full((), targets.shape[0] * targets.shape[1])
        own = torch.stack([error, torch.linalg.vector_norm(targets).square(), rows])
        sums = sum_over_processes(torch.cat([own, targets.sum(dim=(0, 1))]))
        count = sums[2].detach() * targets.shape[2]
        spread = sums[1] - (sums[3:].square() / sums[2]).sum()
        return sums[0] / count, (spread / count).detach()
