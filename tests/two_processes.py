"""What two gloo processes compute on halves of a batch, and one process on the whole of it, by the
same functions.

`launch(FOLDER)` starts two real processes of this file; each leaves `FOLDER/RANK.pt`.
"""

import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, seed_everything
from masked import DECODER, KINDS
from ranks import run_ranks
from small import OBJECTIVE, small_data, small_network, small_trainer, weights
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from blocklearn import (
    BYOL,
    CLAPP,
    DINO,
    LPL,
    AugLocal,
    BarlowTwins,
    Batch,
    BlockwiseDDPStrategy,
    CLAPPPlusPlus,
    Combined,
    DINOHead,
    ExpandPooling,
    GlobalPooling,
    InfoPro,
    JointEmbedding,
    LookAheadEmbedding,
    MLPSRPooling,
    MoCo,
    MomentumAuxiliary,
    PatchInfoNCE,
    PredSim,
    Projector,
    SimCLR,
    SimSiam,
    StageSpec,
    SupCon,
    Supervised,
    SwAV,
    TemporalInfoNCE,
    UserError,
    VICReg,
)
from blocklearn.blocks.noise import GaussianNoise
from blocklearn.blocks.settings import BlockSettings
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.distributed.collectives import (
    broadcast_state,
    first_row,
    gather_batch,
    sum_over_processes,
)
from blocklearn.distributed.groups import world_size
from blocklearn.distributed.sync_norm import synchronise_norms
from blocklearn.objectives.objective import LocalBatch, ObjectiveOutput
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.runs.little_noise import QUIET
from blocklearn.training.schedule import SequentialSchedule

SAMPLES = 12
SPEC = StageSpec("layer1", channels=3, stride=4)
CRITERIA: dict[str, Callable[[], nn.Module]] = {
    "barlow_twins": BarlowTwins,
    "barlow_twins_gram": partial(BarlowTwins, form="gram"),
    "barlow_twins_published": partial(BarlowTwins, published_gradient=True),
    "barlow_twins_published_gram": partial(BarlowTwins, published_gradient=True, form="gram"),
    "simclr": SimCLR,
    "supcon": SupCon,
    "lpl": LPL,
    "vicreg": VICReg,
    "vicreg_gram": partial(VICReg, form="gram"),
}


class InfoNCEOfMaps(TemporalInfoNCE):
    """Takes the positions of a map for a sequence."""

    def __init__(self, spec: StageSpec, **changes: Any) -> None:
        own = {"steps": 2, "negatives": 4, "window": 3, "gather": True, **changes}
        super().__init__(replace(spec, layout="NCL"), **own)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        flat = [view.flatten(2) for view in local.features]
        return super().forward(replace(local, features=flat))


EMBEDDING = partial(
    JointEmbedding, pooling=GlobalPooling, projector=partial(Projector, widths=[6, 5])
)
OBJECTIVES: dict[str, Callable[..., nn.Module]] = {
    "supervised": partial(Supervised, num_classes=3),
    "patch_infonce": partial(PatchInfoNCE, steps=1, skip=0, negatives=4, gather=True),
    "temporal_infonce": partial(InfoNCEOfMaps, sampling="permutation"),
    "temporal_infonce_cyclic": partial(InfoNCEOfMaps, sampling="cyclic"),
    "expansion": partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=12),
        projector=partial(Projector, widths=[5]),
    ),
    "expansion_3x3": partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=12, kernel_size=3),
        projector=partial(Projector, widths=[5]),
    ),
    "byol": partial(
        BYOL,
        projector=partial(Projector, widths=[6, 5]),
        predictor=partial(Projector, widths=[6, 5]),
    ),
    "infopro": partial(
        InfoPro,
        num_classes=3,
        image_weights=(2.0, 0.0),
        label_weights=(0.5, 0.0),
        hidden=5,
        mean=[0.5] * 3,
        std=[0.1] * 3,
    ),
    "simsiam": partial(SimSiam, projector=partial(Projector, widths=[6, 24], last_norm=True)),
    "moco": partial(MoCo, projector=partial(Projector, widths=[6, 5]), queue_size=7),
    "moco_of_the_batch": partial(MoCo, projector=partial(Projector, widths=[6, 5]), queue_size=0),
    "dino": partial(
        DINO, head=partial(DINOHead, hidden=6, bottleneck=4, prototypes=5), frozen_epochs=0
    ),
    "swav": partial(EMBEDDING, criterion=partial(SwAV, prototypes=4)),
    "supcon": partial(EMBEDDING, criterion=SupCon),
    "clapp": partial(CLAPP, steps=1, skip=0),
    "clapp_pp": partial(CLAPPPlusPlus, grid=2, context_grid=1),
    "predsim": partial(PredSim, num_classes=3),
    "predsim without labels": partial(PredSim, labels=False),
    "mlp-sr": partial(Supervised, num_classes=3, pooling=MLPSRPooling),
    "combined": partial(
        Combined, objectives=[partial(Supervised, num_classes=3), EMBEDDING], weights=[0.5, 2.0]
    ),
}
NORMS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm2d": partial(nn.BatchNorm2d, 3),
    "BatchNormAct2d": partial(BatchNormAct2d, 3),
    "without affine": partial(nn.BatchNorm2d, 3, affine=False),
    "cumulative": partial(nn.BatchNorm2d, 3, momentum=None),
}


RUNS: dict[str, dict[str, Any]] = {
    "simultaneous": {},
    "sequential": {"schedule": SequentialSchedule(), "max_steps": 4},
    "a block that stops early": {"per_block": {"block2": BlockSettings(stop_epoch=1)}},
    "overlapping": {"blocks": [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]},
    "empty block": {"blocks": [["layer1", "layer2"], [], ["layer3"], ["layer4"]]},
    "accumulated": {"accumulate_batches": 2},
    "clipped": {"gradient_clip_norm": 0.1},
    "one block": {"blocks": "end_to_end"},
    "recomputed": {"recompute": "units"},
    "hidden tokens": {**KINDS["images"], "objective": DECODER, "blocks": 3},
    "copies of other blocks": {
        "objective": partial(LookAheadEmbedding, refresh=1, **OBJECTIVE.keywords),
        "per_block": {
            "block1": BlockSettings(objective=partial(AugLocal, objective=OBJECTIVE)),
            "block2": BlockSettings(objective=partial(MomentumAuxiliary, objective=OBJECTIVE)),
        },
    },
}


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def share(x: Tensor, shares: tuple[int, int] = (SAMPLES // 2, SAMPLES // 2)) -> Tensor:
    """The rows of this process."""
    return x if world_size() == 1 else x.split(shares)[rank()]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """What DistributedDataParallel does, one gradient after the other."""
    for parameter in parameters if world_size() > 1 else ():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()


def judge(criterion: nn.Module, **split: Any) -> dict[str, Any]:
    """Loss, metrics and averaged gradient of a criterion on linear embeddings of 12 samples, not
    centred."""
    weight = draw(5, 4, seed=3).requires_grad_()
    z1, z2 = (share(1 + draw(SAMPLES, 5, seed=seed), **split) @ weight for seed in (1, 2))
    loss, metrics = criterion([z1, z2])
    loss.backward()
    average_gradients([weight])
    return {"loss": loss.detach(), "metrics": metrics, "gradients": {"weight": weight.grad}}


def batch_of_maps() -> Batch:
    return Batch(
        [share(draw(SAMPLES, 3, 2, 2, seed=seed)) for seed in (1, 2)],
        share(torch.arange(SAMPLES) % 3),
        share(torch.arange(SAMPLES)),
    )


def learn(objective: Callable[..., nn.Module]) -> dict[str, Any]:
    torch.manual_seed(0)
    module: Any = objective(SPEC).double()
    module.bind(())
    synchronise_norms(module)
    batch = batch_of_maps()
    loss, metrics, _ = module(LocalBatch(batch.views, batch, batch.views))
    loss.backward()
    average_gradients(module.parameters())
    return {
        "loss": loss.detach(),
        "metrics": metrics,
        "gradients": {name: p.grad for name, p in module.named_parameters()},
        "state": dict(module.named_buffers()),  # queues, centres, statistics of norms
    }


def normalise(norm: Callable[[], nn.Module]) -> dict[str, Any]:
    """Two steps of a norm behind a convolution: outputs, averaged gradients, and state, its running
    statistics too."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 1), norm()).double()
    synchronise_norms(module)
    for seed in (1, 2):
        out = module(3 + share(draw(SAMPLES, 2, 4, 4, seed=seed)))
        (out * share(draw(SAMPLES, 3, 4, 4, seed=9))).square().mean().backward()
    average_gradients(module.parameters())
    return {
        "outputs": gather_batch(out.detach()),
        "gradients": {name: p.grad for name, p in module.named_parameters()},
        "state": weights(module),
        "evaluated": gather_batch(module.eval()(share(draw(SAMPLES, 2, 4, 4, seed=5))).detach()),
    }


def collect() -> dict[str, Any]:
    own = torch.full((2 + rank(), 2), float(rank()))
    module = nn.Conv2d(4, 4, 2).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    nn.init.constant_(module.weight, rank())
    broadcast_state(module)
    return {
        "sum": sum_over_processes(torch.tensor([1.0, rank()])),
        "gathered": gather_batch(own, even=False),
        "first_row": first_row(own, even=False),
        "weight": module.weight.detach(),
    }


def complaint_about_one_bad_label() -> str:
    batch = batch_of_maps()
    label = batch.label.clone()
    label[0] = -1 if rank() == 0 else label[0]
    try:
        local = LocalBatch(batch.views, batch._replace(label=label))
        Supervised(SPEC, num_classes=3).double()(local)
    except UserError as error:
        return str(error)
    return ""


class SeedsOfNoise(GaussianNoise):
    """Notes which stream every draw came from, in one list for all copies."""

    seeds: list[int] = []

    def forward(self, features: Tensor, generator: torch.Generator, *context: Any) -> Tensor:
        self.seeds.append(generator.initial_seed())
        return super().forward(features, generator, *context)


class Die(Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            raise KeyError("killed")


def train(
    folder: Path,
    precision: Any = "64-true",
    callbacks: Any = (),
    resume: str | None = None,
    images: int = 16,
    max_steps: int = -1,
    strategy: Any = None,
    **changes: Any,
) -> dict[str, Any]:
    """The small network for two epochs of two batches: its weights and statistics, and what was
    logged."""
    seed_everything(0, verbose=False)
    network = small_network(**changes)
    several: dict[str, Any] = (
        {"devices": 2, "strategy": strategy or BlockwiseDDPStrategy()} if world_size() > 1 else {}
    )
    trainer = small_trainer(
        folder,
        max_epochs=2,
        max_steps=max_steps,
        precision=precision,
        log_every_n_steps=1,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        callbacks=[LastCheckpoint(folder / "checkpoints", minutes=0), *callbacks],
        enable_checkpointing=True,
        **several,
    )
    size = 16 if network.mask else 32
    data = small_data(num_images=images, image_size=size)
    trainer.fit(network, datamodule=data, ckpt_path=resume, weights_only=True)
    return {"state": weights(network), "logged": trainer.callback_metrics}


def train_with_noise(folder: Path, **changes: Any) -> dict[str, Any]:
    return train(folder, "32-true", noise=SeedsOfNoise(), **changes)


def train_cut_short(folder: Path) -> dict[str, Any]:
    """The same run, killed after batch 3 of 4 and resumed from its last checkpoint, that of the
    first epoch."""
    try:
        train_with_noise(folder, callbacks=[Die()])
    except KeyError:
        return train_with_noise(folder, resume=str(folder / "checkpoints" / "last.ckpt"))
    raise AssertionError("nothing was cut short")


def train_divided(folder: Path) -> dict[str, Any]:
    """With blocks whose parameters are divided among the processes, killed after batch 3 of 4 and
    resumed: the last checkpoint, and the weights that each process had."""
    last, here = folder / "checkpoints" / "last.ckpt", []

    class Look(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            here.append({n: p.to_local().numel() for n, p in pl_module.named_parameters()})

    for killed, resume in ((True, None), (False, str(last))):
        try:
            train(
                folder,
                callbacks=[Look(), *([Die()] if killed else [])],
                resume=resume,
                strategy=BlockwiseDDPStrategy(shard=True),
                gradient_clip_norm=0.1,
            )
        except KeyError:
            assert killed
    content = torch.load(last, weights_only=True)
    return {name: content[name] for name in ("state_dict", "optimizer_states")} | {"here": here[-1]}


def train_in_parts(folder: Path, *stops: int) -> dict[str, Any]:
    """Eight batches of which four make an epoch and three an update, stopped by `max_steps` after
    so many."""
    last = folder / "checkpoints" / "last.ckpt"
    for stop in (*stops, 8):
        result = train(
            folder,
            resume=str(last) if last.exists() else None,
            images=32,
            max_steps=stop,
            accumulate_batches=3,
            lr_schedule=ConstantLR(),
            noise=SeedsOfNoise(),
        )
    return result


def compute(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = {
        "criteria": {name: judge(criterion()) for name, criterion in CRITERIA.items()},
        "uneven": {name: judge(make().eval(), shares=(7, 5)) for name, make in CRITERIA.items()},
        "objectives": {name: learn(objective) for name, objective in OBJECTIVES.items()},
        "norms": {name: normalise(norm) for name, norm in NORMS.items()},
        "trained": {name: train(folder / name, **changes) for name, changes in RUNS.items()},
        "noise": {**train_with_noise(folder / "noise"), "seeds": list(SeedsOfNoise.seeds)},
    }
    if world_size() > 1:
        results |= {
            "collect": collect(),
            "complaint": complaint_about_one_bad_label(),
            "resumed": train_cut_short(folder / "cut"),
            "divided": train_divided(folder / "divided"),
            "in_parts": {
                name: train_in_parts(folder / name, *stops)["state"]
                for name, stops in {
                    "whole": (),
                    "between updates": (2,),
                    "everywhere": (1, 3, 4, 6),
                }.items()
            },
        }
    return results


def launch(folder: Path) -> list[dict[str, Any]]:
    """Results of two real processes, by rank."""
    return run_ranks(__file__, folder, folder, 2)


if __name__ == "__main__":
    warnings.simplefilter("error")
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.save(compute(Path(sys.argv[1])), Path(sys.argv[1]) / f"{rank()}.pt")
    dist.destroy_process_group()
