"""`blocklearn views`: what the network really sees."""

from pathlib import Path

from blocklearn.backbones.patches import Patches
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.pictures.image_sheet import draw_sheet


def draw_views(data: KeyedDataModule, count: int, patches: Patches | None, path: Path) -> Path:
    """The training views of epoch 0 of the first samples: a row a sample, a column a view.

    Args:
        data: ready for training.
        count: samples at most.
        patches: how the network cuts them, told in the title.
        path: of the PNG.
    """
    batch = data.few_samples(count)
    views = [data.as_seen(view) for view in batch.views]
    shape = " x ".join(map(str, batch.views[0].shape[1:]))
    cut = (
        f", cut into {patches.grid} x {patches.grid} patches of {patches.size} pixels, "
        f"{patches.stride} apart"
        if patches
        else ""
    )
    names = [f"view {number + 1}" for number in range(len(views))]
    return draw_sheet(
        list(zip(*views, strict=True)),
        path,
        f"Views of {data.title} ({shape}{cut})",
        f"{len(views[0])} training samples of {data.title}, each in {len(views)} augmented views.",
        [f"sample {int(index)}" for index in batch.index],
        names,
    )
