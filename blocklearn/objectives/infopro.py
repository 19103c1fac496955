"""InfoPro: a block keeps what is needed of the image beside what tells its label."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.criteria.supcon import SupCon
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.errors import UserError
from blocklearn.heads.conv_head import ConvHead
from blocklearn.heads.image_decoder import ImageDecoder
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput, Published
from blocklearn.objectives.supervised import Supervised
from blocklearn.training.contract import LocalBlock

FAR_OUTSIDE = (
    0.25  # of [0, 1]; another data set's statistics, or noise in the views, miss it by less
)
TOO_MANY = 0.05  # of the pixels so far outside


class InfoPro(Objective):
    """Information propagation (arXiv 2101.10832, eq. 6 with the bounds of section 3.2; constants of
    the released code). A block's loss is `l1 * reconstruction + l2 * task`:

    - reconstruction: the binary cross-entropy, mean over pixels, of a small decoder that paints the
      batch's own images, pixels in [0, 1], from the block's features (`ImageDecoder`);
    - task: what the labels say of a small head (`ConvHead`) on the features. `contrast`: the
      embeddings of the same label, of all views, are to be nearer than all others (supervised
      contrastive loss, arXiv 2004.11362, of temperature 0.07); `softmax`: cross-entropy.

    `l1` and `l2` go in equal steps from their values at the first block to those at the last but
    one. A part of weight 0 is not there at all. The last block has the cross-entropy of a linear
    classifier on the mean of its features, and nothing else, as has a network of one block. Losses
    are means over samples and views, over all processes.

    Another task: `Combined` adds any objective to one whose `label_weights` are `[0, 0]`.

    Metrics:
        reconstruction: the first part; a grey image has 0.693, and the true one, whose pixels are
            neither 0 nor 1, more than 0.
        contrast: the second, of `contrast`, with the metrics of `SupCon`.
        accuracy: of a classifier, where there is one.

    Args:
        spec: the block's last stage; a map, or tokens of a square image.
        num_classes: labels are 0 to `num_classes - 1`, all samples labelled.
        task: what the labels are asked for.
        image_weights: `l1` of the first block and of the last but one, >= 0; the first alone where
            there are two blocks. Published for ResNet-110: `[1, 0]` for 4 blocks, `[5, 0]` for 2.
        label_weights: `l2` likewise; `[0, 1]` and `[0.5, 0]`.
        hidden: width of the head and of the embeddings compared.
        temperature: of the contrast, > 0.
        squeeze: of `ImageDecoder`, for wide stages; null for none.
        mean: of the data's pixels in [0, 1], one a channel, with which the views were normalised.
        std: likewise.

    Raises:
        ValueError: for a value out of range.
        UserError: for features of sound, and where both weights of a block are 0; with a batch,
            where many pixels are far outside [0, 1], and for labels out of range.
    """

    labels = "sample"
    needs_images = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: StageSpec,
        num_classes: int,
        task: Literal["contrast", "softmax"] = "contrast",
        image_weights: tuple[float, float] = (1.0, 0.0),
        label_weights: tuple[float, float] = (0.0, 1.0),
        hidden: int = 128,
        temperature: float = 0.07,
        squeeze: int | None = None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        _require_sound_values(task, (*image_weights, *label_weights), temperature, mean, std)
        if spec.layout.is_sound:
            raise UserError(
                f"InfoPro paints images, {spec.name} is of sound; take another objective"
            )
        self.spec, self.num_classes, self.task_kind = spec, num_classes, task
        self.image_weights, self.label_weights = tuple(image_weights), tuple(label_weights)
        self.hidden, self.temperature, self.squeeze = hidden, temperature, squeeze
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).reshape(-1, 1, 1), persistent=False)
        self._take_place(0, 2)

    def join(self, index: int, blocks: Sequence[LocalBlock]) -> None:
        self._take_place(index, len(blocks))

    def _take_place(self, index: int, count: int) -> None:
        """As block `index` of `count`; by itself a block is the first of two."""
        last, share = index == count - 1, index / (count - 2) if count > 2 else 0.0
        ends = ((0.0, 0.0), (1.0, 1.0)) if last else (self.image_weights, self.label_weights)
        self.weights = tuple(first + (end - first) * share for first, end in ends)
        if not any(self.weights):
            raise UserError(
                f"InfoPro: block {index + 1} of {count} has weight 0 for its image and for its "
                "labels; change --model.objective.image_weights or label_weights"
            )
        self.decoder = self.task = None
        if self.weights[0]:
            self.decoder = ImageDecoder(self.spec, len(self.mean), squeeze=self.squeeze)
        if self.weights[1]:
            self.task = self._build_task(last)
        self.needs_images = self.decoder is not None

    def _build_task(self, last: bool) -> Objective:
        if last:
            return Supervised(self.spec, self.num_classes)
        head = partial(ConvHead, hidden=self.hidden)
        if self.task_kind == "softmax":
            return Supervised(self.spec, self.num_classes, head)
        return _Contrast(head(self.spec), self.hidden, self.temperature)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Features `(B, C, H, W)`, one per view, to the loss."""
        losses: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        if self.decoder is not None:
            losses.append(self.weights[0] * (loss := self._reconstruction(local, self.decoder)))
            metrics["reconstruction"] = loss.detach()
        if self.task is not None:
            output: ObjectiveOutput = self.task(local)
            losses.append(self.weights[1] * output.loss)
            metrics |= output.metrics
        return ObjectiveOutput(torch.stack(losses).sum(), metrics)

    def _reconstruction(self, local: LocalBatch, decoder: nn.Module) -> Tensor:
        sums = torch.zeros((), device=self.mean.device)
        for features, view in zip(local.features, local.batch.views, strict=True):
            image = self.pixels(view)
            painted = decoder(features, image.shape[2:])
            with torch.autocast(painted.device.type, enabled=False):
                sums = sums + _errors(at_least_float32(painted), image)
        loss, far, count = sum_over_processes(sums).unbind()
        if far > TOO_MANY * count:
            raise UserError(
                f"InfoPro: {float((far / count).detach()):.0%} of the pixels of this batch are far "
                f"outside [0, 1] once mean {_told(self.mean)} and std {_told(self.std)} are taken "
                "back; give --model.objective.mean and .std those of the data"
            )
        return loss / count.detach()

    @torch.no_grad()
    def pixels(self, view: Tensor) -> Tensor:
        """A normalised view `(B, C, H, W)` with the pixels that it had, in [0, 1]."""
        if view.ndim != 4 or view.shape[1] != len(self.mean):
            raise UserError(
                f"InfoPro paints images of {len(self.mean)} channels, got views of "
                f"{tuple(view.shape[1:])}; give --model.objective.mean and .std one value a channel"
            )
        return at_least_float32(view) * self.std + self.mean

    def published(self) -> Sequence[Published]:
        return self.task.published() if self.task is not None else ()

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse tokens of an image that is no square; any number of views will do."""
        self.spec.as_map(features)

    def extra_repr(self) -> str:
        return "image_weight={}, label_weight={}".format(*self.weights)


class _Contrast(Objective):
    """The supervised contrastive loss of a head's embeddings."""

    def __init__(self, head: ConvHead, width: int, temperature: float) -> None:
        super().__init__()
        self.head = head
        self.projector = nn.Linear(head.out_features, width)
        self.criterion = SupCon(width, temperature)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        _require_labels(local.batch.label)
        z = [self.projector(self.head(view)) for view in local.features]
        loss, metrics = self.criterion(z, local.batch.label)
        return ObjectiveOutput(loss, {"contrast": loss.detach(), **metrics})

    def published(self) -> Sequence[Published]:
        return [Published("head", self.head.out_features, self.head, self.head)]


def _require_labels(label: Tensor) -> None:
    """On every process, where one of them has a sample without."""
    if unknown := int(sum_over_processes((label < 0).sum())):
        raise UserError(
            f"InfoPro: {unknown} samples of this batch have no label; take labelled data"
        )


def _errors(painted: Tensor, image: Tensor) -> Tensor:
    """Sums over the samples: of the mean error of their pixels, of the part of them that are far
    outside [0, 1], and 1."""
    error = binary_cross_entropy_with_logits(painted, image.clamp(0, 1), reduction="none")
    far = ((image - 0.5).abs() > 0.5 + FAR_OUTSIDE).to(error.dtype)
    sums = [values.flatten(1).mean(dim=1).sum() for values in (error, far)]
    return torch.stack([*sums, error.new_full((), len(image))])


def _told(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.flatten().tolist()]


def _require_sound_values(
    task: str, weights: Sequence[float], temperature: float, mean: Any, std: Any
) -> None:
    sound = all(0 <= weight < math.inf for weight in weights) and 0 < temperature < math.inf
    if task not in ("contrast", "softmax") or not sound or len(weights) != 4:
        raise ValueError(
            "InfoPro needs the task contrast or softmax, two pairs of weights >= 0 and a "
            f"temperature > 0, all finite, got {task}, {list(weights)} and {temperature}"
        )
    if not mean or len(mean) != len(std) or min(std) <= 0:
        raise ValueError(
            f"InfoPro needs mean and std > 0 for every channel, got {list(mean)} and {list(std)}"
        )
