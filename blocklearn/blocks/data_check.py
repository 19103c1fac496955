"""What data a network can take: reported before any of it is read."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor, nn

from blocklearn.backbones.input_spec import InputSpec, first_convolution
from blocklearn.backbones.patches import Patches
from blocklearn.backbones.stage import Stage
from blocklearn.blocks.mask_check import require_mask
from blocklearn.errors import UserError
from blocklearn.masks.mask import Mask
from blocklearn.training.trial import evaluating
from blocklearn.weights.structure import NetworkStructure

MOST_POSITIONS = 2**20  # of a sample that is tried; larger ones leave enough, and take long
REMEDY = (
    "take larger ones (--data.image_size, or window of --data.recipe), or a backbone with a "
    "smaller stride (--model.network.small_stem true, or output_stride in "
    "--model.network.backbone_kwargs where the family has them)"
)


class CutNetwork(Protocol):
    """What is compared with the data."""

    structure: NetworkStructure
    patches: Patches | None
    mask: Mask | None

    @property
    def input_spec(self) -> InputSpec: ...
    @property
    def walked(self) -> Sequence[Any]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def eval(self) -> Any: ...


def require_fit(network: CutNetwork, data: object, learns: bool = True) -> None:
    """Refuse data of which a network can make nothing: sound for images, another number of
    channels, images of a size that its patches do not fit, clips of another number of frames,
    labels of frames where it learns from labels of samples, or the other way round; views that are
    too small for what the blocks learn from them, or of another number.

    Args:
        network: to be trained or evaluated.
        data: a data module. What it does not state (`input_spec`, `frame_labels`) is not looked at.
        learns: whether the objectives are going to be used.

    Raises:
        UserError: saying what fits.
    """
    takes, makes = network.input_spec, getattr(data, "input_spec", None)
    if makes is not None:
        _require_same_input(network, takes, makes, data)
    has = {True: "frame", False: "sample", None: None}[getattr(data, "frame_labels", None)]
    labels = {block.objective.labels for block in network.walked} - {"none", has}
    if labels and learns and has:
        raise UserError(
            f"objective: the data has a label for every {has}, the objective takes one per "
            f"{labels.pop()}: choose another --data.target or --model.objective"
        )
    if learns:
        require_mask(network.mask, [block.objective for block in network.walked])
    if network.patches:
        _require_patches(network, takes, makes)
    if learns and makes is not None:
        _require_one_size(network, takes, makes, data)
        _require_views(network, data, makes)


def _require_same_input(
    network: CutNetwork, takes: InputSpec, makes: InputSpec, data: object
) -> None:
    name = network.structure.backbone
    if takes.kind != makes.kind:
        raise UserError(
            f"backbone: {name} takes {takes.kind}, the data is {makes.kind}: change "
            "--model.backbone or --data"
        )
    if takes.channels != makes.channels:
        other = getattr(getattr(data, "recipe", None), "other_channels", None)
        raise UserError(
            f"backbone: {name} takes {takes.channels} channels, the data makes {makes.channels}: "
            f"add in_chans: {makes.channels} to --model.network.backbone_kwargs"
            f"{f', or {other}' if other else ''}"
        )
    if makes.kind == "video":
        _require_clips(name, takes, makes)
    elif takes.size and makes.size and takes.size != makes.size and not network.patches:
        raise UserError(
            f"backbone: {name} takes images of {takes.size} pixels, the data makes {makes.size}: "
            f"set --data.image_size {takes.size}, or --model.network.backbone_kwargs "
            f"'{{img_size: {makes.size}, patch_size: 4}}'"
        )


def _require_clips(name: str, takes: InputSpec, makes: InputSpec) -> None:
    """Of as many frames, and of the size, that a network insists on; None stands for any."""
    other_frames = takes.frames and makes.frames and takes.frames != makes.frames
    other_size = takes.size and makes.size and takes.size != makes.size
    if other_frames or other_size:
        frames, size = takes.frames or makes.frames, takes.size or makes.size
        raise UserError(
            f"backbone: {name} takes clips of {frames} frames of {size} pixels, the data makes "
            f"{makes.told}: set --data.frames {frames} --data.image_size {size}, or "
            f"--model.network.backbone_kwargs '{{frames: {makes.frames}, img_size: {makes.size}}}'"
        )


def _require_views(network: CutNetwork, data: object, makes: InputSpec) -> None:
    """One sample of zeros through the stages, and what comes out of each before its objective: a
    stage may leave nothing of a small image or a short window, or too few positions for a grid or
    for steps."""
    recipe = getattr(data, "recipe", None)
    num_views = getattr(recipe, "num_views", None)
    if num_views is None:
        return
    for view in _sizes(recipe, makes):
        shape = view.shape
        if shape is not None and math.prod(shape[1:]) <= MOST_POSITIONS:
            _require_view(network, view, shape, num_views)


def _require_view(
    network: CutNetwork, makes: InputSpec, shape: Sequence[int], num_views: int
) -> None:
    """The same for views of one size."""
    weight = first_convolution(network.modules()).weight
    x = weight.new_zeros(1, *shape)
    with evaluating(network):
        for block in network.walked:
            for stage in block.stages:
                x = _passed(stage, x, f"{network.structure.backbone} makes nothing of {makes.told}")
            if block.noise:
                block.noise.require(block.spec)
            block.objective.require_views(x, num_views)


def _sizes(recipe: Any, makes: InputSpec) -> list[InputSpec]:
    """Of the training views, each size once, the data's own first."""
    sizes = recipe.sizes(makes.size) if hasattr(recipe, "sizes") else [makes.size]
    return [replace(makes, size=size) for size in dict.fromkeys([makes.size, *sizes])]


def _require_one_size(
    network: CutNetwork, takes: InputSpec, makes: InputSpec, data: object
) -> None:
    """Of all views, where the backbone, or the patches that images are cut into, insist on it."""
    insists = network.patches.image_size if network.patches else takes.size
    others = [view for view in _sizes(getattr(data, "recipe", None), makes)[1:] if insists]
    if not others:
        return
    name, kinds = network.structure.backbone, type(getattr(data, "recipe", None)).__name__
    remedy = (
        "set --model.network.patches null"
        if network.patches
        else "add dynamic_img_size: true to --model.network.backbone_kwargs (vision transformers "
        "of timm), take a convolutional network"
    )
    raise UserError(
        f"backbone: {name} takes images of {insists} pixels alone, {kinds} makes views of "
        f"{others[0].size} pixels too: {remedy}, or leave the small views out with "
        "--data.recipe.num_small 0"
    )


def _passed(stage: Stage, x: Tensor, complaint: str) -> Tensor:
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


def _require_patches(network: CutNetwork, takes: InputSpec, makes: InputSpec | None) -> None:
    patches, name = network.patches, network.structure.backbone
    assert patches is not None
    if takes.kind != "images":
        raise UserError(
            f"patches: {takes.kind} is not cut into patches; set --model.network.patches null"
        )
    if makes and makes.size and makes.size != patches.image_size:
        raise UserError(
            f"patches: {patches.grid} x {patches.grid} patches of {patches.size} pixels, one every "
            f"{patches.stride}, cover images of {patches.image_size} pixels, the data makes "
            f"{makes.size}: set --data.image_size {patches.image_size}, or change "
            "--model.network.patches"
        )
    first = first_convolution(network.modules())
    x = first.weight.new_zeros(1, first.in_channels, patches.image_size, patches.image_size)
    try:
        with evaluating(network):
            for block in network.walked:
                for stage in block.stages:
                    x = stage.forward(x)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"patches: {name} makes nothing of {patches.size} pixels ({error}): take larger "
            "patches, or make the backbone's stride or img_size smaller with "
            "--model.network.backbone_kwargs"
        ) from error
