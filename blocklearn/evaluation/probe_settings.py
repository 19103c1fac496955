"""How the classifiers of an evaluation are trained."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from blocklearn.errors import UserError


@dataclass(frozen=True)
class ProbeSettings:
    """How classifiers on features are trained: by the linear evaluation of arXiv 2302.01647 by
    default. Greedy InfoMax (arXiv 1905.11786) takes Adam at a constant rate, without decay; from
    its released code three things differ here. Weights begin at N(0, 0.01) and biases at 0, there
    with PyTorch's default (images, speakers) or Xavier-normal (phones); all test samples count,
    there for speakers those of whole batches; and accuracy is taken over samples, there for images
    and speakers as the mean over batches.

    Attributes:
        epochs: passes over the labelled images.
        lr: peak learning rate.
        weight_decay: added to the gradient.
        batch_size: labelled images per step. Where labels are frame by frame a step is one
            utterance, whatever this says.
        optimizer: `sgd` has momentum 0.9.
        lr_schedule: `cosine` to 0, per epoch, or `constant`.
        augment: train on random crops and flips; otherwise every image is seen as it is, its
            features are computed once and kept in memory.
        standardise: affine-free BatchNorm on the features, so that one learning rate suits every
            stage. Not published.
        labelled_part: part of the labelled images of each class that is trained on, in (0, 1]; the
            run's seed draws them. 0.01 and 0.1 are the semi-supervised evaluations of arXiv
            2103.03230.
        feature_cache: a folder that keeps the features of images that are seen as they are, for the
            next evaluation of the same network on the same data; null for none.

    Raises:
        UserError: for values out of range, or batches of one where BatchNorm needs two.
    """

    epochs: int = 100
    lr: float = 0.1
    weight_decay: float = 1e-6
    batch_size: int = 256
    augment: bool = True
    standardise: bool = False
    labelled_part: float = 1.0
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    feature_cache: str | None = None

    def __post_init__(self) -> None:
        rates = 0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf
        if self.epochs < 1 or self.batch_size < 1 or not rates:
            raise UserError(
                "probe: epochs and batch_size must be at least 1, lr positive and weight_decay at "
                f"least 0, got {self.epochs}, {self.batch_size}, {self.lr} and {self.weight_decay}"
            )
        if self.batch_size < 2 and self.standardise:
            raise UserError("probe: standardise uses BatchNorm, so batch_size must be at least 2")
        if not 0 < self.labelled_part <= 1:
            raise UserError(
                f"probe: labelled_part must lie above 0 and be at most 1, got {self.labelled_part}"
            )

    def configure(self, parameters: Iterable[Any]) -> dict[str, Any]:
        """Optimizer and learning-rate schedule over parameters or groups of them, as Lightning
        takes them."""
        optimizer: torch.optim.Optimizer
        if self.optimizer == "adam":
            optimizer = torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                parameters, self.lr, momentum=0.9, weight_decay=self.weight_decay
            )
        if self.lr_schedule == "constant":
            return {"optimizer": optimizer}
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        return {"optimizer": optimizer, "lr_scheduler": schedule}
