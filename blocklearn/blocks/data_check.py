"""What data a network can take: told before any of it is read."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from timm.layers import PatchEmbed  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor, nn

from blocklearn.errors import UserError

if TYPE_CHECKING:
    from blocklearn.backbones.stage import Stage
    from blocklearn.blocks.blockwise import BlockwiseModule

Conv = nn.Conv1d | nn.Conv2d
MOST_POSITIONS = 2**20  # of a sample that is tried; larger ones leave enough, and take long
REMEDY = (
    "take larger ones (--data.image_size, or window of --data.recipe), or a backbone with a "
    "smaller stride (--model.small_stem true, or output_stride in --model.backbone_kwargs where "
    "the family has them)"
)


def require_fit(network: "BlockwiseModule", data: object, learns: bool = True) -> None:
    """Refuse data of which a network can make nothing: sound for images, another number of
    channels, images of a size that its patches do not fit, labels of frames where it learns from
    labels of samples, or the other way round; views that are too small for what the blocks learn
    from them, or of another number.

    Args:
        network: to be trained or evaluated.
        data: a data module. What it does not say (`image_size`, `channels`, `frame_labels`) is not
            looked at.
        learns: whether the objectives are going to be used.

    Raises:
        UserError: saying what fits.
    """
    first = next(
        module for module in network.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d))
    )
    channels, image_size = getattr(data, "channels", None), getattr(data, "image_size", None)
    name, takes_sound = network.structure["backbone"], isinstance(first, nn.Conv1d)
    if channels and takes_sound != (image_size is None):
        takes, makes = ("sound", "images") if takes_sound else ("images", "sound")
        raise UserError(
            f"backbone: {name} takes {takes}, the data is {makes}: change --model.backbone or "
            "--data"
        )
    if channels and channels != first.in_channels:
        other = getattr(getattr(data, "recipe", None), "other_channels", None)
        raise UserError(
            f"backbone: {name} takes {first.in_channels} channels, the data makes {channels}: add "
            f"in_chans: {channels} to --model.backbone_kwargs{f', or {other}' if other else ''}"
        )
    has = {True: "frame", False: "sample", None: None}[getattr(data, "frame_labels", None)]
    takes = (
        {block.objective.labels for block in network.walked} - {"none", has}
        if learns and has
        else set()
    )
    if takes:
        raise UserError(
            f"objective: the data has a label for every {has}, the objective takes one a "
            f"{takes.pop()}: choose another --data.target or --model.objective"
        )
    if network.patches:
        _require_patches(network, image_size, first)
    else:
        _require_image_size(network, image_size)
    if learns:
        _require_views(network, data, first, image_size)


def _require_views(
    network: "BlockwiseModule", data: object, first: Conv, image_size: int | None
) -> None:
    """One sample of zeros through the stages, and what comes out of each before its objective: a
    stage may leave nothing of a small image or a short window, or too few positions for a grid or
    for steps."""
    recipe = getattr(data, "recipe", None)
    length, num_views = getattr(recipe, "window", None), getattr(recipe, "num_views", None)
    size = [image_size, image_size] if image_size else [length] if length else []
    if not size or num_views is None or math.prod(size) > MOST_POSITIONS:
        return
    x = first.weight.new_zeros(1, first.in_channels, *size)
    pixels = f"images of {image_size} pixels" if image_size else f"windows of {length} samples"
    with evaluating(network):
        for block in network.walked:
            for stage in block.stages:
                x = _passed(stage, x, f"{network.structure['backbone']} makes nothing of {pixels}")  # pyright: ignore
            if block.noise:
                block.noise.require(block.spec)
            block.objective.require_views(x, num_views)


def _passed(stage: "Stage", x: Tensor, complaint: str) -> Tensor:
    """Through `forward`: a stage that is compiled would be so for this one sample."""
    try:
        x = stage.forward(x)
    except (RuntimeError, AssertionError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        told = " ".join(str(error).split())
        raise UserError(f"backbone: {complaint} ({told}): {REMEDY}") from error
    if not x.numel():
        raise UserError(f"backbone: {complaint}, {stage.spec.name} leaves no position: {REMEDY}")
    return x


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In eval mode, without graph or random numbers; afterwards every module is in the mode that it
    was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _require_patches(network: "BlockwiseModule", image_size: int | None, first: Conv) -> None:
    patches, name = network.patches, network.structure["backbone"]
    assert patches is not None
    if isinstance(first, nn.Conv1d):
        raise UserError("patches: sound is not cut into patches; set --model.patches null")
    if image_size and image_size != patches.image_size:
        raise UserError(
            f"patches: {patches.grid} x {patches.grid} patches of {patches.size} pixels, one every "
            f"{patches.stride}, cover images of {patches.image_size} pixels, the data makes "
            f"{image_size}: set --data.image_size {patches.image_size}, or change --model.patches"
        )
    x = first.weight.new_zeros(1, first.in_channels, patches.image_size, patches.image_size)
    try:
        with evaluating(network):
            for block in network.walked:
                for stage in block.stages:
                    x = stage.forward(x)  # pyright: ignore[reportCallIssue]
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"patches: {name} makes nothing of {patches.size} pixels ({error}): take larger "
            "patches, or make the backbone's stride or img_size smaller with "
            "--model.backbone_kwargs"
        ) from error


def _require_image_size(network: "BlockwiseModule", given: int | None) -> None:
    for module in network.modules():
        size = getattr(module, "img_size", None)
        if (
            isinstance(module, PatchEmbed)
            and module.strict_img_size
            and size
            and given
            and size != (given, given)
        ):
            raise UserError(
                f"backbone: {network.structure['backbone']} takes images of {size[0]} pixels, the "
                f"data makes {given}: set --data.image_size {size[0]}, or --model.backbone_kwargs "
                f"'{{img_size: {given}, patch_size: 4}}'"
            )
