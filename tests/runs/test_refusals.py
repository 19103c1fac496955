"""Configurations that cannot be meant: one line, quickly, and nothing is written."""

from pathlib import Path

import pytest
from sounds import write_spoken_digits
from test_cli import SMALL

from blocklearn.__main__ import main

NET = "layers: [1,1,1,1], channels: [8,8,8,8]"
SUPERVISED = "{class_path: blocklearn.Supervised, init_args: {num_classes: 10}}"


def net(text: str) -> list[str]:
    return [f"--model.network.backbone_kwargs={{{text}}}"]


def vit(text: str) -> list[str]:
    return [
        "--model.backbone=vit_tiny_patch16_224",
        *net(f"img_size: 20, patch_size: 4, embed_dim: 8, {text}"),
    ]


def part(key: str, name: str, **settings: object) -> list[str]:
    return [
        f"--model.{key}={name}",
        *(f"--model.{key}.{setting}={value}" for setting, value in settings.items()),
    ]


def criterion(name: str, **settings: object) -> list[str]:
    return part("objective.criterion", name, **settings)


def patches(**settings: object) -> list[str]:
    return part("objective", "PatchInfoNCE", **settings)


LOCO = "--model.blocks=[[layer1,layer2],[layer2,layer3],[layer3,layer4]]"
NOISE = "blocklearn.GaussianNoise"

BROKEN: list[tuple[list[str], str]] = [
    # the Trainer
    (
        ["--trainer.devices=0"],
        "trainer.devices: 0 leaves no device to train on; give a number of them from 1 on",
    ),
    (["--trainer.devices=-3"], "trainer.devices: -3 leaves no device"),
    (["--trainer.devices=[]"], "trainer.devices: [] leaves no device"),
    (["--trainer.devices=[0,0]"], "trainer.devices: [0, 0] leaves no device"),
    (["--trainer.devices=two"], "trainer.devices: two leaves no device"),
    (["--trainer.devices=1.5"], "trainer.devices: 1.5 leaves no device"),
    (
        ["--trainer.devices=[0,1]", "--trainer.accelerator=cpu"],
        "trainer: `devices` selected with `CPUAccelerator`",
    ),
    (
        ["--trainer.devices=2", "--data.batch_size=17"],
        "batch_size 17 does not divide among 2 processes",
    ),
    (
        ["--trainer.devices=500"],
        "a batch of 0 sample: BatchNorm and the criterion need at least 2 on each of 500",
    ),
    (["--trainer.num_nodes=0"], "trainer.num_nodes must be at least 1, got 0"),
    (
        ["--trainer.accelerator=tpu"],
        "trainer.accelerator: there is no tpu on this machine; it can be auto, cpu",
    ),
    (["--trainer.accelerator=abacus"], "trainer.accelerator: there is no abacus on this machine"),
    (
        ["--trainer.max_epochs=-5"],
        "trainer.max_epochs: -5 trains nothing; give at least 1, or -1 for no limit",
    ),
    (["--trainer.max_epochs=0"], "trainer.max_epochs: 0 trains nothing"),
    (["--trainer.max_epochs=-1"], "set --trainer.max_epochs or --trainer.max_steps"),
    (["--trainer.max_epochs=2.5"], "trainer.max_epochs: should be a whole number"),
    (["--trainer.max_epochs=.inf"], "trainer.max_epochs: should be a whole number"),
    (["--trainer.max_steps=-5"], "trainer.max_steps: -5 trains nothing"),
    (["--trainer.max_steps=0"], "trainer.max_steps: 0 trains nothing"),
    (["--trainer.min_epochs=5"], "trainer.min_epochs: 5 is more than trainer.max_epochs, 1"),
    (["--trainer.min_epochs=-5"], "trainer.min_epochs must be at least 0, got -5"),
    (["--trainer.min_steps=50"], "trainer.min_steps: 50 is more than the 3 batches of this run"),
    (
        ["--trainer.min_steps=5", "--trainer.max_steps=2"],
        "trainer.min_steps: 5 is more than trainer.max_steps, 2",
    ),
    (
        ["--trainer.limit_train_batches=-1"],
        "trainer.limit_train_batches is a number of batches, or a part from 0.0",
    ),
    (
        ["--trainer.limit_train_batches=1.5"],
        "trainer.limit_train_batches is a number of batches, or a part from 0.0",
    ),
    (
        ["--trainer.limit_train_batches=.nan"],
        "trainer.limit_train_batches is a number of batches, or a part from 0.0",
    ),
    (
        ["--trainer.limit_train_batches=0"],
        "trainer.limit_train_batches: 0 leaves no batch to train on",
    ),
    (
        ["--trainer.limit_train_batches=0.0"],
        "trainer.limit_train_batches: 0 leaves no batch to train on",
    ),
    (
        ["--trainer.limit_train_batches=0.0001"],
        "trainer.limit_train_batches: 0.0001 of an epoch leaves no batch",
    ),
    (["--trainer.limit_val_batches=-1"], "trainer.limit_val_batches is a number of batches"),
    (
        ["--trainer.limit_val_batches=0.0001"],
        "trainer.limit_val_batches: 0.0001 of the held-out samples leaves no batch",
    ),
    (["--trainer.limit_val_batches=.inf"], "trainer.limit_val_batches is a number of batches"),
    (
        ["--trainer.check_val_every_n_epoch=0"],
        "trainer.check_val_every_n_epoch must be at least 1, got 0",
    ),
    (
        ["--trainer.val_check_interval=0"],
        "trainer.val_check_interval is a positive number of batches",
    ),
    (
        ["--trainer.val_check_interval=1.5"],
        "trainer.val_check_interval is a positive number of batches",
    ),
    (
        ["--trainer.val_check_interval=.nan"],
        "trainer.val_check_interval is a positive number of batches",
    ),
    (
        ["--trainer.val_check_interval=500"],
        "trainer.val_check_interval: 500 is more than the 3 batches of an epoch",
    ),
    (["--trainer.log_every_n_steps=0"], "trainer.log_every_n_steps must be at least 1, got 0"),
    (
        ["--trainer.num_sanity_val_steps=-5"],
        "trainer.num_sanity_val_steps must be at least -1, got -5",
    ),
    (
        ["--trainer.reload_dataloaders_every_n_epochs=-1"],
        "trainer.reload_dataloaders_every_n_epochs must be at least 0",
    ),
    (["--trainer.fast_dev_run=-1"], "trainer: fast_dev_run=-1 is not a valid configuration"),
    (
        ["--trainer.max_time=never"],
        "trainer.max_time: never is no duration; give DAYS:HOURS:MINUTES:SECONDS",
    ),
    (["--trainer.max_time=00:00:00:00"], "trainer.max_time: 00:00:00:00 is no duration"),
    (["--trainer.max_time={hours: -1}"], "is no duration"),
    (["--trainer.max_time={fortnights: 1}"], "is no duration"),
    (
        ["--trainer.overfit_batches=1"],
        "trainer.overfit_batches: it replaces the order of the samples",
    ),
    (
        ["--trainer.precision=16-mixed"],
        "trainer.precision: 16-mixed would let one block's overflow skip the others",
    ),
    (["--trainer.precision=16"], "trainer.precision: 16 would let"),
    (["--trainer.precision=16-true"], "trainer.precision: 16-true would let"),
    (["--trainer.precision=half"], "trainer.precision: "),
    (["--trainer.precision=transformer-engine"], "trainer: Requirement 'transformer_engine"),
    (["--trainer.strategy=ddp"], "trainer.strategy: ddp expects one backward pass per step"),
    (
        ["--trainer.strategy=lightning.pytorch.strategies.DDPStrategy"],
        "DDPStrategy expects one backward pass per step",
    ),
    (["--trainer.strategy=nonsense"], "trainer.strategy: nonsense expects one backward pass"),
    (["--trainer.barebones=true"], "trainer.barebones: it leaves out checkpoints and logs"),
    (
        ["--trainer.profiler=nonsense"],
        "trainer: When passing string value for the `profiler` parameter",
    ),
    (
        ["--trainer.gradient_clip_algorithm=nonsense"],
        "trainer.gradient_clip_algorithm: blocks are clipped by their",
    ),
    (
        ["--trainer.gradient_clip_val=1"],
        "--model.update.gradient_clip_norm 1 does it block by block",
    ),
    (
        ["--trainer.accumulate_grad_batches=0"],
        "--model.update.accumulate_batches 0 does it block by block",
    ),
    (["--trainer.callbacks=nonsense"], "trainer.callbacks: "),
    (["--seed_everything=-1"], "seed_everything: a seed lies between 0 and 4294967295, got -1"),
    (
        ["--seed_everything=99999999999"],
        "seed_everything: a seed lies between 0 and 4294967295, got 99999999999",
    ),
    (["--seed_everything=five"], "seed_everything: "),
    # the backbone
    (
        net("layers: [1,1,1,1], channels: [8,8,8]"),
        "channels of --model.network.backbone_kwargs has 3 entries for 4 stages",
    ),
    (
        net("layers: [1,1,1], channels: [8,8,8,8]"),
        "layers of --model.network.backbone_kwargs has 3 entries for 4 stages",
    ),
    (
        net("layers: [1,1,1,1,1], channels: [8,8,8,8,8]"),
        "layers of --model.network.backbone_kwargs has 5 entries for 4 stages",
    ),
    (
        net("layers: [1,1,1,1], channels: [8,8,8,0]"),
        "channels of --model.network.backbone_kwargs is made of numbers from 1 on",
    ),
    (
        net("layers: [1,1,1,1], channels: [8,8,8,-8]"),
        "is made of numbers from 1 on, got [8, 8, 8, -8]",
    ),
    (
        net("layers: [1,1,1,1], channels: [8,8,8,8.5]"),
        "is made of numbers from 1 on, got [8, 8, 8, 8.5]",
    ),
    (
        net("layers: [1,1,1,1], channels: [8,8,8,eight]"),
        "is made of numbers from 1 on, got [8, 8, 8, 'eight']",
    ),
    (net("layers: [1,1,1,1], channels: [[8],8,8,8]"), "backbone: timm cannot build 'resnet18'"),
    (net("layers: [1,1,1,1], channels: 8"), "backbone: timm cannot build 'resnet18'"),
    (
        net("layers: [0,1,1,1], channels: [8,8,8,8]"),
        "layers of --model.network.backbone_kwargs is made of numbers from 1 on",
    ),
    (
        net("layers: {a: 1}, channels: [8,8,8,8]"),
        "layers of --model.network.backbone_kwargs is made of numbers from 1 on",
    ),
    (net("layers: [], channels: []"), "backbone: timm cannot build 'resnet18'"),
    (net(f"{NET}, output_stride: 7"), "timm cannot build 'resnet18'"),
    (net(f"{NET}, drop_rate: .nan"), "backbone_kwargs: nan is more than any network has"),
    (
        net(f"{NET}, drop_path_rate: 2"),
        "drop_path_rate of --model.network.backbone_kwargs is at least 0 and below 1, got 2",
    ),
    (
        net(f"{NET}, in_chans: 0"),
        "in_chans of --model.network.backbone_kwargs is made of numbers from 1 on, got 0",
    ),
    (net(f"{NET}, in_chans: 1"), "resnet18 takes 1 channels, the data makes 3"),
    (net(f"{NET}, act_layer: nonsense"), "timm cannot build 'resnet18'"),
    (net(f"{NET}, nonsense: 0"), "unexpected keyword argument 'nonsense'"),
    (net(f"{NET}, features_only: true"), "a FeatureListNet cannot be cut into stages"),
    (
        ["--model.network.backbone_kwargs=[1]"],
        "model.network.backbone_kwargs: should be {KEY: VALUE}",
    ),
    (
        vit("depth: 0"),
        "depth of --model.network.backbone_kwargs is made of numbers from 1 on, got 0",
    ),
    (vit("depth: 4, num_heads: 3"), "timm cannot build 'vit_tiny_patch16_224'"),
    (
        [*vit("depth: 4, num_heads: 2"), "--model.noise=height"],
        "hands on tokens or sound, which have no height",
    ),
    (
        [
            "--model.backbone=swin_tiny_patch4_window7_224",
            *net("img_size: 20, embed_dim: 24, depths: [1,1,0,1]"),
        ],
        "depths of --model.network.backbone_kwargs is made of numbers from 1 on",
    ),
    (
        ["--model.backbone=convnext_atto", *net("depths: [1,1,1], dims: [8,8,8]")],
        "backbone: timm cannot build 'convnext_atto'",
    ),
    (
        ["--model.backbone=gim_resnet34", *net(NET)],
        "layers and channels are three positive numbers each",
    ),
    (["--model.backbone=gim_speech", *net("")], "gim_speech takes sound, the data is images"),
    (
        ["--model.network.small_stem=true", *vit("depth: 4, num_heads: 2")],
        "the stem of a VisionTransformer cannot be changed",
    ),
    (
        ["--model.network.patches={size: 0}"],
        "size and stride must be at least 1 and grid at least 2",
    ),
    (
        ["--model.network.patches={size: 8, stride: 4, grid: 7}"],
        "cover images of 32 pixels, the data makes 20",
    ),
    (
        ["--model.blocks=[]"],
        "every stage must be in one block; layer1, layer2, layer3, layer4 is in none",
    ),
    (["--model.blocks=[[layer1],[layer3],[layer2],[layer4]]"], "every stage must be in one block"),
    (
        [LOCO, "--model.schedule=SequentialSchedule"],
        "block1 and block2 share layer2, so they must learn from the same batches",
    ),
    (
        [
            LOCO,
            "--model.per_block={block1: {stop_epoch: 1}, block2: {stop_epoch: 2}}",
            "--trainer.max_epochs=3",
        ],
        "block1 and block2 share layer2, so they must learn from the same batches",
    ),
    # objectives and what they are made of
    (
        ["--model.objective.projector.widths=[0]"],
        "Projector needs at least one width, each at least 1, got [0]",
    ),
    (
        ["--model.objective.projector.widths=[-4]"],
        "Projector needs at least one width, each at least 1, got [-4]",
    ),
    (
        ["--model.objective.projector.widths=[4,0]"],
        "Projector needs at least one width, each at least 1, got [4, 0]",
    ),
    (["--model.objective.projector.widths=[]"], "Projector needs at least one width"),
    (["--model.objective.projector.widths=[.nan]"], "projector.widths: should be a "),
    (["--model.objective.pooling.width=0"], "ExpandPooling: width is at least 1, got 0"),
    (["--model.objective.pooling.width=-4"], "ExpandPooling: width is at least 1, got -4"),
    (["--model.objective.pooling.kernel_size=5"], "kernel_size is 1 or 3, got 5"),
    (
        part("objective.pooling", "TwoLayerPooling", width=0),
        "TwoLayerPooling: width is at least 1, got 0",
    ),
    (
        part("objective.pooling", "TwoLayerPooling", grid=0),
        "TwoLayerPooling: grid is at least 1, got 0",
    ),
    (
        part("objective.pooling", "LocalPooling", grid=-1),
        "LocalPooling: grid is at least 1, got -1",
    ),
    (
        part("objective.pooling", "LocalPooling", grid=40),
        "has a map of 5 x 5 positions, not 40 a side; lower grid",
    ),
    (
        part("objective.pooling", "ClassTokenPooling"),
        "hands on a map (NCHW), not tokens; take GlobalPooling",
    ),
    (
        ["--model.objective.criterion.lambd=.nan"],
        "BarlowTwins needs lambd >= 0, scale > 0 and eps >= 0, all finite",
    ),
    (
        ["--model.objective.criterion.lambd=.inf"],
        "BarlowTwins needs lambd >= 0, scale > 0 and eps >= 0, all finite",
    ),
    (
        ["--model.objective.criterion.scale=.nan"],
        "BarlowTwins needs lambd >= 0, scale > 0 and eps >= 0, all finite",
    ),
    (
        ["--model.objective.criterion.eps=-1"],
        "BarlowTwins needs lambd >= 0, scale > 0 and eps >= 0, all finite",
    ),
    (criterion("SimCLR", temperature=0), "SimCLR needs a finite temperature > 0, got 0"),
    (criterion("SimCLR", temperature=".nan"), "SimCLR needs a finite temperature > 0, got nan"),
    (criterion("VICReg", variance=".nan"), "VICReg needs invariance, variance, covariance >= 0"),
    (criterion("VICReg", gamma=".inf"), "VICReg needs invariance, variance, covariance >= 0"),
    (criterion("VICReg", invariance=0, variance=0, covariance=0), "covariance >= 0, not all 0"),
    (["--data.recipe=CropViews"], "JointEmbedding compares two views, the data recipe makes 1"),
    (patches(), "has a grid of 5 rows, so at most 3 steps with skip 1; lower steps"),
    (patches(steps=0), "PatchInfoNCE needs steps >= 1"),
    (patches(negatives=0), "PatchInfoNCE needs steps >= 1, skip >= 0, negatives >= 1"),
    (patches(skip=-1), "PatchInfoNCE needs steps >= 1, skip >= 0"),
    (patches(grid=0), "PatchInfoNCE needs a grid of at least 2 cells per side, or null, got 0"),
    (patches(grid=-3), "PatchInfoNCE needs a grid of at least 2 cells per side, or null, got -3"),
    (patches(grid=40), "has a map of 5 x 5 positions, not 40 a side; lower grid"),
    (patches(grid=3, steps=3), "has a grid of 3 rows, so at most 1 steps with skip 1"),
    (patches(directions="[down,down]"), "directions of ('down', 'up', 'right', 'left'), each once"),
    (
        [*patches(steps=4), "--model.network.patches={size: 8, stride: 4, grid: 4}"],
        "has a grid of 4 rows, so at most 2 steps",
    ),
    (
        [*patches(steps=1), *part("objective.context", "PixelCNN", layers=0)],
        "PixelCNN needs at least one layer",
    ),
    (
        [*patches(steps=1), *part("objective.context", "RecurrentContext")],
        "RecurrentContext does not read maps",
    ),
    (part("objective", "TemporalInfoNCE"), "TemporalInfoNCE predicts sound, layer1 makes maps"),
    (part("objective", "Supervised"), "num_classes"),
    (part("objective", "Supervised", num_classes=1), "Supervised needs num_classes >= 2"),
    (
        part("objective", "Supervised", num_classes=10, label_smoothing=".nan"),
        "0 <= label_smoothing < 1",
    ),
    (part("objective", "FrameSupervised", num_classes=10), "FrameSupervised learns from sound"),
    (part("objective", "Combined", objectives="[]"), "Combined needs at least one objective"),
    (
        part("objective", "Combined", objectives=f"[{SUPERVISED}]", weights="[.nan]"),
        "a weight >= 0 for each, finite",
    ),
    (
        part("objective", "Combined", objectives=f"[{SUPERVISED}]", weights="[0]"),
        "finite and not all 0",
    ),
    (["--model.per_block={block9: {noise: all}}"], "settings for block9, the network has block1"),
    # how blocks are updated, and when
    (
        ["--model.update.lr_reference_batch=0"],
        "lr_reference_batch must be at least 1 or null, got 0",
    ),
    (
        ["--model.update.gradient_clip_norm=0"],
        "gradient_clip_norm must be positive and finite, or null, got 0",
    ),
    (
        ["--model.update.gradient_clip_norm=.nan"],
        "gradient_clip_norm must be positive and finite, or null, got nan",
    ),
    (["--model.update.accumulate_batches=0"], "accumulate_batches must be at least 1"),
    (["--model.update.non_finite_limit=0"], "non_finite_limit at least 1"),
    (["--model.optimizer.lr=.nan"], "optimizer: Invalid learning rate: nan"),
    (["--model.optimizer.lr=.inf"], "optimizer: AdamW needs finite numbers, got lr inf"),
    (
        ["--model.optimizer.weight_decay=.inf"],
        "optimizer: AdamW needs finite numbers, got weight_decay inf",
    ),
    (["--model.optimizer.betas=[0.9,1.5]"], "optimizer: Invalid beta parameter at index 1: 1.5"),
    (["--model.optimizer.betas=[0.9]"], "betas"),
    (part("optimizer", "SGD", momentum=2), "SGD needs a momentum of at least 0 and below 1, got 2"),
    (part("optimizer", "LARS", lr=".nan"), "LARS needs lr > 0, eta > 0"),
    (part("optimizer", "LARS", eta=0), "LARS needs lr > 0, eta > 0"),
    (part("optimizer", "LBFGS"), "LBFGS cannot update a block from its gradient alone"),
    (part("optimizer", "SparseAdam"), "SparseAdam cannot update a block from its gradient alone"),
    (["--model.optimizer=Nonsense"], "model.optimizer: "),
    (["--model.lr_schedule.warmup_epochs=.nan"], "WarmupCosine needs finite warmup_epochs >= 0"),
    (["--model.lr_schedule.warmup_epochs=.inf"], "WarmupCosine needs finite warmup_epochs >= 0"),
    (
        ["--model.lr_schedule.warmup_epochs=2"],
        "the warm-up of 2 epochs (6 batches) is longer than block1 learns",
    ),
    (["--model.lr_schedule.final_factor=2"], "0 <= final_factor <= 1"),
    (part("noise", NOISE, sigma=-1), "GaussianNoise needs a finite sigma >= 0"),
    (part("noise", NOISE, sigma=".nan"), "GaussianNoise needs a finite sigma >= 0"),
    (["--model.noise=loud"], "model.noise: "),
    (["--model.per_block={block1: {noises: all}}"], "noises"),
    (
        ["--model.per_block={block4: {loss_weight: .nan}}"],
        "lr_factor and loss_weight must be positive",
    ),
    (
        ["--model.per_block={block4: {loss_weight: -1}}"],
        "lr_factor and loss_weight must be positive",
    ),
    (
        ["--model.per_block={block4: {lr_factor: .inf}}"],
        "lr_factor and loss_weight must be positive",
    ),
    (["--model.per_block={block1: {stop_epoch: 0}}"], "stop_epoch at least 1"),
    (
        part("schedule", "SequentialSchedule", shares="[1,1,1,.nan]"),
        "SequentialSchedule needs positive shares, all finite",
    ),
    (
        part("schedule", "SequentialSchedule", shares="[]"),
        "SequentialSchedule needs positive shares",
    ),
    (part("schedule", "SequentialSchedule", shares="[1,1]"), "2 shares for 4 blocks"),
    # data and probe
    (["--data.batch_size=0"], "batch_size must be at least 1"),
    (["--data.batch_size=1"], "a batch of 1 sample"),
    (["--data.batch_size=1437"], "1437 samples for training, so every epoch is one batch of 1437"),
    (["--data.batch_size=5000"], "fewer than one batch of 5000"),
    (["--data.image_size=1"], "image_size must be at least 8, got 1"),
    (
        ["--data.image_size=8", *vit("depth: 4, num_heads: 2")],
        "takes images of 20 pixels, the data makes 8",
    ),
    (["--data.num_workers=-1"], "num_workers at least 0"),
    (["--probe.lr=.nan"], "probe: epochs and batch_size must be at least 1, lr positive"),
    (["--probe.weight_decay=.inf"], "probe: epochs and batch_size must be at least 1, lr positive"),
    (["--probe.batch_size=0"], "epochs and batch_size must be at least 1"),
    (["--probe.labelled_part=2"], "labelled_part must lie above 0 and be at most 1"),
    (["--resume=maybe"], "resume: "),
    (["--ckpt_path=/nowhere.ckpt"], "there is no file /nowhere.ckpt"),
]
SOUND: list[tuple[list[str], str]] = [
    (["--data.recipe.window=800"], "conv5 makes 10 positions of a window, too few for 12 steps"),
    (["--data.recipe.window=1"], "gim_speech_8k makes nothing of windows of 1 samples"),
    (["--data.recipe.window=0"], "window and hop must be at least 1, got 0"),
    (["--model.objective.steps=40"], "too few for 40 steps; take a longer window"),
    (["--model.objective.negatives=0"], "TemporalInfoNCE needs steps >= 1, negatives >= 1"),
    (["--model.objective.window=5"], "a window of more positions than steps"),
    (
        ["--model.per_block=null", *part("objective.context", "RecurrentContext", hidden=0)],
        "needs hidden >= 1, got 0",
    ),
    (
        ["--model.per_block=null", *part("objective.context", "PixelCNN")],
        "PixelCNN does not read sound",
    ),
    (
        ["--model.network.backbone_kwargs={channels: 0}"],
        "channels of --model.network.backbone_kwargs is made of numbers from 1 on, got 0",
    ),
    (["--model.network.patches={size: 8}"], "sound is not cut into patches"),
]
FILES = [
    (
        "modle:\n  backbone: resnet18\n",
        "has a section 'modle', which there is not; did you mean model?",
    ),
    ("model: {backbone: resnet18\n", "line 2"),
    ("", "is empty; it should hold settings"),
    ("# nothing\n", "is empty; it should hold settings"),
    (
        "trainer: {max_epochs: 1}\nmodel: {noise: all}\ntrainer: {max_epochs: 2}\n",
        "line 3: 'trainer' stands in line 1",
    ),
    (
        "model: !!python/object:os.system {}\n",
        "the tag 'tag:yaml.org,2002:python/object:os.system' is refused",
    ),
    ("- trainer\n- model\n", "should hold settings as KEY: VALUE, it holds one list"),
    ("model:\n\tnoise: all\n", "line 2"),
    ("trainer:\n  max_epochs: [1, 2]\n", "trainer.max_epochs: "),
    (
        "model:\n  optimizer: {class_path: torch.optim.AdamW, init_args: {lr: fast}}\n",
        "lr: ",
    ),
    (
        "model:\n  lr_schedule: {init_args: {warmup_epochs: .nan}}\n",
        "WarmupCosine needs finite warmup_epochs",
    ),
    ("trainer: 5\n", "trainer should hold settings as KEY: VALUE, it holds 5"),
]


def assert_refused(
    arguments: list[str], run: Path, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    try:
        status = main(["fit", *arguments, f"--trainer.default_root_dir={run}"])
    except SystemExit as stop:
        status = stop.code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert status in (1, 2)
    assert line.startswith("blocklearn: error: ")
    assert told in line
    assert not run.exists()


def told_by(case: tuple[list[str], str]) -> str:
    return " ".join(case[0])


@pytest.mark.parametrize("broken", BROKEN, ids=told_by)
def test_what_cannot_be_meant_is_one_line_before_anything_is_written(
    broken: tuple[list[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused([*SMALL, *broken[0]], tmp_path / "run", broken[1], capsys)


@pytest.mark.parametrize("broken", FILES, ids=[told for _, told in FILES])
def test_a_file_that_cannot_be_meant_is_too(
    broken: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text(broken[0])
    assert_refused(
        [*SMALL, f"--config={tmp_path / 'own.yaml'}"], tmp_path / "run", broken[1], capsys
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spoken_digits(tmp_path_factory.mktemp("fsdd"), recordings=9)


@pytest.mark.parametrize("broken", SOUND, ids=told_by)
def test_sound_that_cannot_be_learnt_from_is_too(
    broken: tuple[list[str], str], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        "--config=gim_fsdd.yaml",
        f"--data.root={digits}",
        "--data.batch_size=4",
        "--model.network.backbone_kwargs.channels=8",
    ]
    assert_refused([*small, *broken[0]], tmp_path / "run", broken[1], capsys)


def test_what_is_sound_is_not_refused(tmp_path: Path) -> None:
    """Beside the limits of what is refused."""
    edge = [
        "--trainer.max_time=00:00:10:00",
        "--trainer.devices=1",
        "--trainer.min_epochs=1",
        "--trainer.val_check_interval=3",
        "--trainer.limit_train_batches=3",
        "--model.lr_schedule.warmup_epochs=1",
        "--model.objective.criterion.lambd=0",
        "--model.per_block={block1: {stop_epoch: 9}}",
        "--trainer.fast_dev_run=1",
    ]
    assert main(["fit", *SMALL, *edge, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 0
