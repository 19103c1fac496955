"""Images a second that the input pipeline makes, in two views at 224 pixels.

P3: what one host core does, with the colour work left to the device, over the same recipe on PIL.
Both read the same JPEG files through the same keyed data set; turns alternate in one process on one
thread. More rows inform: the rate of decoding alone; the seconds of the device part here, which
without a GPU the training process has to spare; small images that live on the device, over a loader
without processes of its own; and, where lightly is installed, its BYOL transform, the same recipe,
as a baseline.

On a machine with a GPU `P3 loader` is what the whole host delivers: all its loader processes, the
colours on the GPU. Its target is what the network takes, where `--step FILE` names what
`benchmarks.step` found.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate

from benchmarks.rows import Row, in_turns, load_rows, one_thread, run_rows
from benchmarks.together import wait_for
from blocklearn.data import BarlowTwinsViews, ImageDataModule, ImageFolder
from blocklearn.data.images.digits import ImageArray
from blocklearn.data.images.views import SmallImageViews
from blocklearn.machine import available_cores

SIZE = 224


class InMemory(ImageDataModule):
    """CIFAR-like noise: 32 x 32 pixels in colour."""

    title, num_classes = "noise", 10

    def __init__(self, num_images: int, device: torch.device, **arguments: object) -> None:
        super().__init__(SmallImageViews, image_size=32, num_workers=0, seed=0, **arguments)  # pyright: ignore
        pixels = np.random.default_rng(0).integers(0, 256, (num_images, 32, 32, 3), dtype=np.uint8)
        self.images, self.device = ImageArray(pixels, np.arange(num_images) % 10), device

    def pretraining_samples(self) -> ImageArray:
        return self.images

    test_samples = pretraining_samples

    def _device(self) -> torch.device:
        return self.device


def make_photographs(folder: Path, count: int) -> None:
    """Noise with a spectrum like a photograph's, 500 x 400 pixels."""
    draw = np.random.default_rng(0)
    (folder / "train" / "noise").mkdir(parents=True)
    for number in range(count):
        pixels = np.full((400, 500, 3), 128.0)
        for octave in range(1, 8):
            field = draw.normal(0, 1, (400 >> (8 - octave) or 1, 500 >> (8 - octave) or 1, 3))
            coarse = Image.fromarray((128 + 40 * field).clip(0, 255).astype(np.uint8)).resize(
                (500, 400), Image.Resampling.BICUBIC
            )
            pixels += (np.asarray(coarse) - 128.0) * 2.0 ** -(octave / 2)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / "train" / "noise" / f"{number}.jpeg", quality=90)


def host_rows(settings: argparse.Namespace, device: torch.device) -> list[Row]:
    with ExitStack() as stack:
        root = settings.root
        if root is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            make_photographs(root, settings.images + 2)
        places = ("device", "host")
        recipes = {
            place: lambda spec, place=place: BarlowTwinsViews(spec, colour=place)
            for place in places
        }
        data = {
            place: ImageFolder(root, recipe, held_out=0.01, image_size=SIZE, num_workers=0, seed=0)
            for place, recipe in recipes.items()
        }
        files = data["host"].pretraining_samples()
        count = min(settings.images, len(files))
        views = {place: data[place].every_training_view().dataset for place in places}
        peer = lightly_views()
        ways = {
            **{
                place: lambda keyed=keyed: [keyed[i] for i in range(count)]
                for place, keyed in views.items()
            },
            "decode": lambda: [files[i] for i in range(count)],
            **({"peer": lambda: [peer(files[i][0]) for i in range(count)]} if peer else {}),
        }
        seconds = in_turns(ways, settings.turns)
        batch = default_collate([views["device"][i % count] for i in range(settings.batch_size)])
        recipe = data["device"].recipe

        def device_part() -> None:
            for view in batch.views:
                recipe.finish(view, device)
            wait_for(device)

        finishing = in_turns({"finish": device_part}, settings.turns)["finish"]
    rates = {name: [count / s for s in times] for name, times in seconds.items()}
    notes = {
        "images": count,
        "size": SIZE,
        "files": "given" if settings.root else "synthetic, 500 x 400",
    }
    what = f"two views at {SIZE} px on one core"
    on_device = f"device part of {settings.batch_size} images in two views, on {device.type}"
    rows = [
        Row(
            "P3",
            what,
            "colours by PIL",
            "images/s",
            rates["device"],
            rates["host"],
            3.0,
            at_least=True,
            notes=notes,
        ),
        Row("P3 decode", "decoding alone", "", "images/s", rates["decode"], notes=notes),
        Row(
            "P3 device",
            on_device,
            "",
            "s",
            finishing,
            notes={**notes, "batch_size": settings.batch_size},
        ),
    ]
    if peer:
        rows.append(
            Row(
                "P3 peer",
                what,
                "lightly.BYOLTransform",
                "images/s",
                rates["device"],
                rates["peer"],
                notes=notes,
            )
        )
    return rows


def lightly_views() -> Callable[[Image.Image], Any] | None:
    """The recipe as lightly has it; null where lightly is not installed."""
    try:
        from lightly.transforms import (  # pyright: ignore[reportMissingImports]
            BYOLTransform,
            BYOLView1Transform,
            BYOLView2Transform,
        )
    except ImportError:
        return None
    return BYOLTransform(BYOLView1Transform(input_size=SIZE), BYOLView2Transform(input_size=SIZE))


def resident_row(settings: argparse.Namespace, device: torch.device) -> Row:
    count, batch_size = settings.small_images, min(256, settings.small_images)
    loaders = {
        name: InMemory(
            count, device, batch_size=batch_size, resident=name == "resident"
        ).train_dataloader()
        for name in ("resident", "loader")
    }

    def epoch(name: str) -> None:
        for _ in loaders[name]:
            pass
        wait_for(device)

    seconds = in_turns({name: lambda name=name: epoch(name) for name in loaders}, settings.turns)
    rates = {
        name: [count // batch_size * batch_size / s for s in times]
        for name, times in seconds.items()
    }
    what = f"two views of images in memory at 32 px, batch {batch_size}, resident on {device.type}"
    notes = {"images": count, "batch_size": batch_size, "processes of the loader": 0}
    return Row(
        "P3 resident",
        what,
        "loader on PIL",
        "images/s",
        rates["resident"],
        rates["loader"],
        notes=notes,
    )


def loader_row(settings: argparse.Namespace, device: torch.device) -> Row:
    """With as many processes as `fit` takes by default, unless told otherwise. The same few files
    stand under many names; decoding does not notice."""
    with tempfile.TemporaryDirectory() as folder:
        root = settings.root or Path(folder)
        if settings.root is None:
            make_photographs(root, min(settings.images, settings.loader_images))
            repeat_files(root / "train" / "noise", settings.loader_images)
        data = ImageFolder(
            root,
            partial(BarlowTwinsViews, colour="device"),
            held_out=0.01,
            image_size=SIZE,
            num_workers=settings.workers,
            batch_size=settings.loader_batch,
            seed=0,
        )
        data._device = lambda: device
        loader = data.train_dataloader()

        def epoch() -> None:
            for _ in loader:
                pass
            wait_for(device)

        seconds = in_turns({"loader": epoch}, settings.turns)["loader"]
        count, processes = len(loader) * settings.loader_batch, data.num_workers
    notes = {"processes": processes, "images": count, "cores": available_cores()}
    what = f"two views at {SIZE} px, {processes} loader processes, colours on {device.type}"
    rates = [count / s for s in seconds]
    needed = taken_by_the_network(settings.step)
    return Row("P3 loader", what, "", "images/s", rates, (), needed, at_least=True, notes=notes)


def repeat_files(folder: Path, count: int) -> None:
    """Further names for the same files, until there are so many."""
    files = sorted(folder.iterdir())
    for number in range(len(files), count):
        os.link(files[number % len(files)], folder / f"again{number}.jpeg")


def taken_by_the_network(step: Path | None) -> float | None:
    """Images a second, in two views each; null where that was not measured."""
    rows = load_rows(step) if step is not None and step.exists() else []
    return next((median(row.figures) for row in rows if row.name == "P9 images"), None)


def measure(settings: argparse.Namespace) -> list[Row]:
    """On one thread; the loader has its own."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with one_thread():
        rows = [*host_rows(settings, device), resident_row(settings, device)]
    return [*rows, loader_row(settings, device)] if settings.loader_images else rows


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(turns=5)
    parser.add_argument(
        "--root", type=Path, help="folder of JPEGs, one folder a class; without it they are made"
    )
    parser.add_argument("--images", type=int, default=100, help="a turn")
    parser.add_argument("--small_images", type=int, default=2048, help="a turn")
    parser.add_argument("--batch_size", type=int, default=32, help="of the device part")
    gpu = torch.cuda.is_available()
    parser.add_argument(
        "--loader_images", type=int, default=8192 if gpu else 0, help="an epoch; 0 for no such row"
    )
    parser.add_argument("--loader_batch", type=int, default=256)
    parser.add_argument("--workers", type=int, help="loader processes of that row")
    parser.add_argument("--step", type=Path, help="rows of benchmarks.step, for what is needed")


if __name__ == "__main__":
    run_rows(measure, __doc__, {"images": 8, "small_images": 128, "batch_size": 4}, more_arguments)
