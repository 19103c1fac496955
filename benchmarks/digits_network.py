"""The network of `bt_digits.yaml`, and data for it: what benchmarks of whole runs train."""

import argparse
from functools import partial
from typing import Any

from blocklearn import BlockwiseModule, ExpandPooling, JointEmbedding, Projector
from blocklearn.blocks.settings import NetworkOptions
from blocklearn.data import Digits, ImageFolder, SmallImageViews


def digits_network(**changes: Any) -> BlockwiseModule:
    """Four blocks of Barlow Twins."""
    objective = partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=256),
        projector=partial(Projector, widths=[256, 256]),
    )
    kwargs = {"layers": [1, 1, 1, 1], "channels": [32, 48, 64, 96], "output_stride": 8}
    network = NetworkOptions(backbone_kwargs=kwargs, channels_last=True)
    return BlockwiseModule(objective, "resnet18", network=network, **changes)


def small_images(settings: argparse.Namespace, **changes: Any) -> Any:
    """The digits, or the image folder `settings.root` at 32 pixels."""
    own = {"batch_size": settings.batch_size, "num_workers": settings.num_workers, **changes}
    if settings.root:
        return ImageFolder(settings.root, SmallImageViews, image_size=32, **own)
    return Digits(**own)
