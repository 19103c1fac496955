"""What the decoder of each block paints in the place of hidden tokens."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.errors import UserError
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.seen_pixels import SeenPixels
from blocklearn.evaluation.tracked import tracked
from blocklearn.objectives.masked_reconstruction import MaskedReconstruction
from blocklearn.pictures.image_sheet import draw_sheet

GREY = 0.5  # of hidden tokens
FRAMES = 8  # of a clip that are shown, at most


@dataclass
class Errors:
    """Of one block, added up over the test samples.

    Attributes:
        squares: of what was painted from the targets, over all hidden values.
        targets: sum of the hidden tokens' targets, `(D,)`.
        target_squares: sum of their squares.
        tokens: number of hidden tokens.
    """

    squares: float = 0.0
    targets: Tensor = field(default_factory=lambda: torch.zeros(()))
    target_squares: float = 0.0
    tokens: int = 0

    def add(self, painted: Tensor, targets: Tensor) -> None:
        """Hidden tokens, `(M, D)` each."""
        painted, targets = painted.double(), targets.double()
        self.squares += float((painted - targets).square().sum())
        self.target_squares += float(targets.square().sum())
        self.targets = self.targets + targets.sum(dim=0).cpu()
        self.tokens += len(targets)

    def values(self) -> dict[str, float]:
        """`masked_mse`, and `mean_mse`, the error of predicting the targets' mean over all test
        samples."""
        count = self.tokens * len(self.targets)
        spread = self.target_squares - float(self.targets.square().sum()) / self.tokens
        return {"masked_mse": self.squares / count, "mean_mse": spread / count}


class Reconstruction(Evaluation):
    """Networks of `MaskedReconstruction`: the test samples are masked as in validation, each block
    gets the visible tokens alone, and its decoder paints the hidden ones. `masked_mse` is the
    mean squared error over the hidden tokens, in the space of the targets, and `mean_mse` that of
    predicting the mean of all hidden tokens' targets, value by value: what has learned anything is
    below it. Unlike the figures of validation both are of the whole test set, not means over
    batches.

    `leave` writes `reconstruction.png`: a few test samples, what is visible of them (the rest is
    grey), and what each block makes of that. Visible tokens are shown as they are, since no loss
    asks for them; hidden ones of normalised targets are given the true mean and standard deviation
    of their patch, as in MAE's demonstration. Clips are shown as strips of frames.

    Args:
        shown: test samples in the picture, evenly spaced, >= 1.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "reconstruction"
    title: ClassVar[str] = "Masked reconstruction"
    learns: ClassVar[bool] = False
    unit: ClassVar[str] = "mean squared error"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, shown: int = 4) -> None:
        if shown < 1:
            raise ValueError(f"Reconstruction needs shown >= 1, got {shown}")
        self.shown = shown
        self._pictures: list[list[Tensor]] = []
        self._names: list[str] = []
        self._dataset = ""

    @property
    def main(self) -> str:
        return "masked_mse"

    @torch.no_grad()
    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for a network of other objectives, or without a mask, and for errors that are
                not finite.
        """
        objectives = _objectives(network)
        grid = objectives[0].grid
        pixels = SeenPixels(data, grid.channels, "Reconstruction")
        wanted = set(evenly_spaced(len(data.test_samples()), self.shown))
        errors = [Errors() for _ in objectives]
        self._names = ["input", "visible", *(block.name for block in network.walked)]
        self._dataset, self._pictures, begin = data.title, [], 0
        for batch, hidden, painted in self._painted(network, data):
            view = batch.views[0]
            for objective, own, found in zip(objectives, painted, errors, strict=True):
                found.add(own[hidden], objective.targets(view)[hidden])
            places = [n for n in range(len(view)) if begin + n in wanted]
            if places:
                some = [own[places] for own in painted]
                self._keep(objectives, pixels, view[places], hidden[places], some)
            begin += len(view)
        return list(_rows(network, errors))

    def leave(self, folder: Path) -> Sequence[Path]:
        """`reconstruction.png`."""
        samples, frames = len(self._pictures), self._pictures[0][0].shape[0]
        shown = evenly_spaced(frames, FRAMES)
        strips = [[kept[shown].numpy() for kept in kinds] for kinds in self._pictures]
        if frames == 1:
            rows = [[kept[0] for kept in kinds] for kinds in strips]
            row_names, columns = [], self._names
        else:
            rows = [list(kept) for kinds in strips for kept in kinds]
            row_names, columns = self._names * samples, [f"frame {n + 1}" for n in shown]
        blocks = len(self._names) - 2
        text = (
            f"{samples} test sample{'s' * (samples > 1)}, what is left under the mask, and what "
            f"the decoder{'s' * (blocks > 1)} of {blocks} block{'s' * (blocks > 1)} make of that."
        )
        path, title = folder / "reconstruction.png", f"Masked reconstruction on {self._dataset}"
        return [draw_sheet(rows, path, title, text, row_names, columns)]

    def _painted(
        self, network: BlockwiseModule, data: KeyedDataModule
    ) -> Iterator[tuple[Batch, Tensor, list[Tensor]]]:
        """Each batch of test samples, which of its tokens are hidden, `(B, L)`, and what each
        block's decoder paints, `(B, L, D)`."""
        device = self.trainer().strategy.root_device
        network = network.to(device).eval()
        for plain in tracked("Reconstructing", data.test_dataloader()):
            views = [view.to(device) for view in plain.views]
            batch = network.masked(plain._replace(views=views, index=plain.index.to(device)))
            (visible,) = batch.visible
            features, painted = views[0], []
            for block in network.walked:
                for stage in block.stages:
                    features = stage(features, visible)
                painted.append(block.objective.reconstruct(features, visible))  # pyright: ignore
            hidden = torch.ones(painted[0].shape[:2], dtype=torch.bool, device=device)
            yield batch, hidden.scatter_(1, visible, False), painted

    def _keep(
        self,
        objectives: Sequence[MaskedReconstruction],
        pixels: SeenPixels,
        view: Tensor,
        hidden: Tensor,
        painted: Sequence[Tensor],
    ) -> None:
        """Of each sample, frames `(T, S, S, 3)` by what they show."""
        grid = objectives[0].grid
        true, gone = grid.patches(view), hidden.unsqueeze(2)
        seen = pixels.frames(view)
        covered = grid.view(gone.expand_as(true))[:, :1].cpu()  # (B, 1, S, S) or (B, 1, T, S, S)
        covered = covered.reshape(*seen.shape[:-1], 1)
        kinds = [seen, seen.where(~covered, torch.tensor(GREY))]
        for objective, own in zip(objectives, painted, strict=True):
            patches = objective.denormalise(own, view)
            kinds.append(pixels.frames(grid.view(patches.where(gone, true))))
        self._pictures += [list(kept) for kept in zip(*kinds, strict=True)]


def _objectives(network: BlockwiseModule) -> list[MaskedReconstruction]:
    """Of the blocks.

    Raises:
        UserError: where one is another, or there is no mask.
    """
    found = [block.objective for block in network.walked]
    other = [type(own).__name__ for own in found if not isinstance(own, MaskedReconstruction)]
    if other:
        raise UserError(
            f"evaluation: Reconstruction shows what MaskedReconstruction paints, this network has "
            f"{other[0]}; choose another --evaluation"
        )
    if network.mask is None:
        raise UserError(
            "evaluation: Reconstruction hides tokens, and this network has no mask; set "
            "--model.mask RandomMask (TubeMask for video)"
        )
    return found  # pyright: ignore[reportReturnType]


def _rows(network: BlockwiseModule, errors: Sequence[Errors]) -> Iterator[Row]:
    stages: list[str] = []
    index = 0
    for block, found in zip(network.walked, errors, strict=True):
        index += len(block.stages)
        stages.append(block.published_at(stages))
        values = found.values()
        if not all(map(math.isfinite, values.values())):
            raise UserError(
                f"evaluation: Reconstruction: the error of {block.name} is not finite: the network "
                "diverged there; take an earlier checkpoint"
            )
        yield Row(stages[-1], index, "decoder", values, {"block": block.name})
