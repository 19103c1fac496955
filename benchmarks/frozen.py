"""`python -m benchmarks.frozen`: sequential training with the output of frozen blocks kept on disk.

Baseline: the same run without `CacheFrozenBlocks`. Both train in this process, in turns, and whether they end with the
same weights is told.
"""

import argparse
import json
import logging
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch
from lightning.pytorch import Trainer, seed_everything

from blocklearn import BlockwiseModule, ExpandPooling, JointEmbedding, Projector, Sequential
from blocklearn.callbacks import CacheFrozenBlocks
from blocklearn.data import Digits, ImageFolder, SmallImageViews
from blocklearn.reporting.tables import print_table

BASELINE, CACHED = "recomputed", "kept on disk"


def run(way: str, settings: argparse.Namespace, folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """Seconds of a whole run, filling the cache included, and the weights that it ends with."""
    seed_everything(0, verbose=False)
    objective = partial(
        JointEmbedding, pooling=partial(ExpandPooling, width=256), projector=partial(Projector, widths=[256, 256])
    )
    kwargs = {"layers": [1, 1, 1, 1], "channels": [32, 64, 96, 128], "output_stride": 8}
    network = BlockwiseModule(objective, "resnet18", schedule=Sequential(), backbone_kwargs=kwargs, channels_last=True)
    if settings.root is None:
        data = Digits(fixed_views=True, batch_size=settings.batch_size)
    else:
        data = ImageFolder(
            settings.root,
            SmallImageViews,
            image_size=32,
            fixed_views=True,
            batch_size=settings.batch_size,
            num_workers=settings.num_workers,
        )
    trainer = Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
        callbacks=[CacheFrozenBlocks()] if way == CACHED else [],
    )
    start = time.perf_counter()
    trainer.fit(network, datamodule=data)
    return time.perf_counter() - start, network.state_dict()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frozen", description=__doc__)
    parser.add_argument(
        "--root", type=Path, help="an image folder, taken at 32 pixels; scikit-learn's digits if absent"
    )
    parser.add_argument("--epochs", type=int, default=40, help="of the whole run, a quarter for each block")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--num_workers", type=int, default=0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/frozen.json"))
    settings = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    seconds: dict[str, list[float]] = {BASELINE: [], CACHED: []}
    for turn in range(settings.turns):
        weights = {}
        for way, found in seconds.items():
            folder = Path(tempfile.mkdtemp())
            took, weights[way] = run(way, settings, folder)
            shutil.rmtree(folder)
            found.append(took)
            print(f"turn {turn + 1} of {settings.turns}: {way}, {took:.1f} s", flush=True)
        same = all(torch.equal(weights[BASELINE][name], weights[CACHED][name]) for name in weights[BASELINE])
        print(f"  the same weights, bitwise: {same}")
    ratios = [cached / plain for cached, plain in zip(seconds[CACHED], seconds[BASELINE], strict=True)]
    rows = [(way, f"{median(found):.1f}", f"{min(found):.1f} to {max(found):.1f}") for way, found in seconds.items()]
    print_table(f"Sequential training, {settings.epochs} epochs", ("frozen blocks' output", "s a run", "range"), rows)
    print(f"Ratio: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}. Baseline: {BASELINE}.")
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps({"seconds": seconds, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
