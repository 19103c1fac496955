"""Weights after a few batches of every family of recipes, as hashes in tests/golden/weights.json.

`python tests/golden_weights.py` makes the file anew. As in `golden_runs`, nothing is computed with
instructions that only some processors have.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from golden_runs import FOLDER, PLAIN, computed_with

WEIGHTS = FOLDER / "weights.json"
UNITS = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}


def families(folder: Path) -> dict[str, Callable[[], tuple[Any, Any, dict[str, Any]]]]:
    """By name: a network, its data and what the Trainer is told."""
    from small import per_block, small_data, small_network
    from sounds import write_spoken_digits

    from blocklearn import (
        LARS,
        BarlowTwins,
        ExpandPooling,
        GaussianNoise,
        GlobalPooling,
        JointEmbedding,
        Patches,
        PatchInfoNCE,
        Projector,
        RecurrentContext,
        SequentialSchedule,
        SimCLR,
        Supervised,
        TemporalInfoNCE,
        VICReg,
        WarmupCosine,
    )
    from blocklearn.callbacks import CacheFrozenBlocks
    from blocklearn.data import Digits, SpokenDigits

    def judged_by(criterion: Any) -> Any:
        projector = partial(Projector, widths=[16, 16])
        return partial(
            JointEmbedding, pooling=GlobalPooling, projector=projector, criterion=criterion
        )

    def images(**changes: Any) -> Any:
        data = changes.pop("data", {})
        trainer = changes.pop("trainer", {})
        return lambda: (small_network(**changes), small_data(**data), trainer)

    def sound() -> Any:
        network = small_network(
            objective=partial(TemporalInfoNCE, steps=4, window=None),
            per_block=per_block(
                objective=[
                    None,
                    partial(TemporalInfoNCE, steps=4, context=partial(RecurrentContext, hidden=8)),
                ]
            ),
            backbone="gim_speech",
            backbone_kwargs={"channels": 8},
            blocks=[["conv1", "conv2", "conv3", "conv4", "conv5"], []],
        )
        return (
            network,
            SpokenDigits(
                root=str(write_spoken_digits(folder / "sounds")), batch_size=6, num_workers=0
            ),
            {},
        )

    return {
        "published": images(
            objective=partial(
                JointEmbedding,
                pooling=partial(ExpandPooling, width=64),
                projector=partial(Projector, widths=[32, 32]),
                criterion=BarlowTwins,
            ),
            backbone="resnet50",
            backbone_kwargs={"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]},
            noise="all",
            optimizer=partial(LARS, lr=0.2, weight_decay=1e-6),
            lr_reference_batch=256,
            identical_projectors=True,
            lr_schedule=WarmupCosine(warmup_epochs=0.5, final_factor=0.001),
        ),
        "digits": lambda: (
            small_network(small_stem=True, noise="hw", backbone_kwargs=UNITS, channels_last=True),
            Digits(batch_size=32, num_workers=0, image_size=16),
            {"limit_train_batches": 4},
        ),
        "simclr": images(objective=judged_by(SimCLR)),
        "vicreg": images(objective=judged_by(VICReg), gradient_clip_norm=0.5, accumulate_batches=2),
        "supervised": images(objective=partial(Supervised, num_classes=10)),
        "loco": images(blocks=[["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]),
        "per_unit": images(
            blocks="per_unit", backbone_kwargs={**UNITS, "layers": [2, 1, 1, 1]}, recompute="units"
        ),
        "per_block": images(
            per_block=per_block(
                noise=["none", "channel", GaussianNoise("hw", 0.1), "all"],
                objective=[None, None, judged_by(SimCLR), partial(Supervised, num_classes=10)],
                lr_factor=[1.0, 0.5, 2.0, 1.0],
                loss_weight=[1.0, 2.0, 1.0, 0.5],
                recompute=["nothing", "cheap", "views", "units"],
                stop_epoch=[1, None, None, 2],
            ),
            trainer={"max_epochs": 2},
        ),
        "projectors": images(
            per_block=per_block(
                projector=[
                    None,
                    partial(Projector, widths=[8]),
                    None,
                    partial(Projector, widths=[8, 8]),
                ]
            )
        ),
        "sequential": images(schedule=SequentialSchedule(), trainer={"max_epochs": 4}),
        "cached": images(
            schedule=SequentialSchedule(),
            data={"fixed_views": True},
            trainer={"max_epochs": 4, "callbacks": [CacheFrozenBlocks(str(folder / "cache"))]},
        ),
        "patches": images(
            objective=partial(PatchInfoNCE, steps=2, skip=0),
            patches=Patches(size=16, stride=8, grid=4),
            data={"image_size": 40},
        ),
        "tokens": images(
            backbone="vit_tiny_patch16_224",
            backbone_kwargs={
                "img_size": 32,
                "patch_size": 8,
                "depth": 2,
                "embed_dim": 24,
                "num_heads": 2,
                "drop_path_rate": 0.1,
            },
            objective=judged_by(partial(BarlowTwins, form="matrix")),
        ),
        "sound": sound,
    }


def hashes() -> dict[str, str]:
    """Of the weights of every family, trained in this process."""
    from lightning.pytorch import seed_everything
    from small import small_trainer

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in families(Path(folder)).items():
            seed_everything(0, verbose=False)
            network, data, changes = make()
            small_trainer(Path(folder), **changes).fit(network, datamodule=data)
            digest = hashlib.sha256()
            for key, tensor in sorted(network.state_dict().items()):
                digest.update(key.encode())
                digest.update(tensor.detach().contiguous().numpy().tobytes())
            found[name] = digest.hexdigest()
    return found


def run() -> dict[str, str]:
    """The same in a process of its own, without the instructions that only some processors have."""
    command = [sys.executable, "-W", "ignore", __file__, "here"]
    done = subprocess.run(
        command, env={**os.environ, **PLAIN}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    if sys.argv[1:] == ["here"]:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        print(json.dumps(hashes()))
    else:
        WEIGHTS.write_text(
            json.dumps({"made_with": computed_with(), "hashes": run()}, indent=1) + "\n"
        )
        print(WEIGHTS)
