"""Which flags of a verb stand on the page of its help, and where; what is said of them comes from
the parser."""

WHAT = (
    "What to train",
    (
        "config",
        "model.backbone",
        "model.blocks",
        "model.network.small_stem",
        "model.checkpoint",
    ),
)
NETWORK = ("The network", ("config", "model.checkpoint", "model.backbone", "model.blocks"))
OBJECTIVE = (
    "Objective of every block",
    (
        "model.objective",
        "model.objective.criterion",
        "model.objective.pooling",
    ),
)
DATA = (
    "Data and views",
    (
        "data",
        "data.root",
        "data.download",
        "data.batch_size",
        "data.image_size",
        "data.recipe",
    ),
)
SCHEDULE = (
    "Schedule and budget",
    (
        "trainer.max_epochs",
        "trainer.limit_train_batches",
        "model.schedule",
        "model.optimizer",
        "model.optimizer.lr",
        "model.lr_schedule",
        "model.lr_schedule.warmup_epochs",
    ),
)
NOISE = ("Masks, noise, and single blocks", ("model.mask", "model.noise", "model.per_block"))
SPEED = (
    "Devices, memory and speed",
    (
        "trainer.accelerator",
        "trainer.devices",
        "trainer.strategy",
        "trainer.precision",
        "model.recompute",
    ),
)
RUN = (
    "Run and logging",
    (
        "trainer.default_root_dir",
        "resume",
        "seed_everything",
        "trainer.callbacks",
        "model.metrics",
        "wandb.mode",
    ),
)
EVALUATED_LATER = ("Evaluation, for blocklearn test on this run", ("evaluation",))
EVALUATION = (
    "Evaluation",
    (
        "evaluation",
        "evaluation.k",
        "evaluation.features",
        "evaluation.lrs",
        "evaluation.backbone_lr",
        "save_as",
    ),
)
PROBE = (
    "How classifiers on features are trained",
    (
        "probe.epochs",
        "probe.lr",
        "probe.optimizer",
        "probe.lr_schedule",
        "probe.weight_decay",
        "probe.batch_size",
        "probe.augment",
        "probe.standardise",
        "probe.labelled_part",
        "probe.feature_cache",
    ),
)
TESTED_DATA = (
    "Data",
    ("data", "data.root", "data.download", "data.target", "data.image_size", "data.num_workers"),
)
WHERE = ("Device", ("trainer.accelerator", "trainer.precision"))
FOLDER = (
    "Run and logging",
    (
        "trainer.default_root_dir",
        "trust_config",
        "seed_everything",
        "trainer.enable_progress_bar",
        "wandb.mode",
        "wandb.project",
    ),
)
TRIED_BLOCKS = (
    "The network",
    (*WHAT[1], "model.objective", "model.objective.criterion", "model.noise", "model.per_block"),
)
SECTIONS = {
    "fit": (WHAT, OBJECTIVE, DATA, SCHEDULE, NOISE, SPEED, RUN, EVALUATED_LATER),
    "validate": (NETWORK, TESTED_DATA, WHERE, FOLDER),
    "test": (NETWORK, EVALUATION, PROBE, TESTED_DATA, WHERE, FOLDER),
    "predict": (NETWORK, ("What is written", ("split",)), TESTED_DATA, WHERE, FOLDER),
    "isolation": (TRIED_BLOCKS, DATA, WHERE),
    "plan": (
        ("What to plan for", ("devices", "data_parallel", "measure", "out")),
        TRIED_BLOCKS,
        DATA,
        WHERE,
    ),
    "views": (("What to draw", ("count", "out", "seed_everything")), NETWORK, DATA),
}
EXAMPLES = {
    "fit": (
        ("on handwritten digits, nothing to download", "blocklearn fit"),
        (
            "a recipe on your images, IMAGES/train/CLASS/FILE; repeat it to go on",
            "blocklearn fit --config bt_blockwise.yaml --data.root IMAGES \\\n"
            "    --trainer.default_root_dir runs/mine --resume auto",
        ),
        (
            "another criterion, one epoch, four cheap batches",
            "blocklearn fit --config bt_digits.yaml --model.objective.criterion SimCLR \\\n"
            "    --trainer.max_epochs 1 --trainer.limit_train_batches 4",
        ),
    ),
    "validate": (("", "blocklearn validate --model.checkpoint RUN/checkpoints/last.ckpt"),),
    "test": (
        (
            "linear probes on every stage",
            "blocklearn test --model.checkpoint RUN/checkpoints/last.ckpt",
        ),
        (
            "by a published protocol",
            "blocklearn test --model.checkpoint RUN/checkpoints/last.ckpt \\\n"
            "    --config probe_linear.yaml",
        ),
        (
            "nearest neighbours",
            "blocklearn test --model.checkpoint RUN/checkpoints/last.ckpt --evaluation KNN",
        ),
    ),
    "predict": (
        ("", "blocklearn predict --model.checkpoint RUN/checkpoints/last.ckpt --split test"),
    ),
    "isolation": (
        ("", "blocklearn isolation --config bt_digits.yaml"),
        (
            "with overlapping blocks",
            "blocklearn isolation --config bt_digits.yaml \\\n"
            "    --model.blocks '[[layer1,layer2],[layer2,layer3],[layer3,layer4]]'",
        ),
    ),
    "plan": (("", "blocklearn plan --config bt_blockwise.yaml --devices 4"),),
    "views": (("", "blocklearn views --config bt_digits.yaml --count 4 --out views.png"),),
}
