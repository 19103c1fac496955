"""What Lightning's flags do here, in place of its own texts, which speak to its authors. Names as
the parser has them."""

from typing import Any

REFUSED = {  # each with a line that names what does its job; see `blocklearn.runs.refusals`
    "trainer.accumulate_grad_batches",
    "trainer.barebones",
    "trainer.gradient_clip_algorithm",
    "trainer.gradient_clip_val",
    "trainer.model_registry",
    "trainer.overfit_batches",
}
NAMED = {  # what can be given, where the types do not say it
    "trainer.accelerator": ["auto", "cpu", "gpu", "cuda", "mps"],
    "trainer.strategy": ["auto", "blockwise_ddp", "block_parallel"],
    "trainer.precision": ["32-true", "bf16-mixed", "bf16-true", "64-true"],
    "trainer.profiler": ["simple", "advanced", "pytorch"],
}
VALUES = {  # what to call a value, by the whole key or its last word
    "config": "NAME_OR_PATH",
    "print_config": "",
    "seed_everything": "N",
    "backbone": "NAME",
    "model.blocks": "NAME|LIST",
    "model.noise": "NAME",
    "model.per_block": "{BLOCK: SETTINGS}",
    "model.network.patches": "{size: N, ...}",
    "root": "DIR",
    "probe_root": "DIR",
    "default_root_dir": "DIR",
    "feature_cache": "DIR",
    "cache_dir": "DIR",
    "checkpoint": "FILE",
    "ckpt_path": "FILE",
    "out": "FILE",
    "trainer.accelerator": "NAME",
    "trainer.strategy": "NAME",
    "trainer.precision": "NAME",
    "trainer.profiler": "NAME",
    "trainer.logger": "NAME",
    "trainer.callbacks": "NAME",
    "trainer.plugins": "CLASS_PATH",
    "trainer.devices": "N|LIST",
    "trainer.max_time": "DD:HH:MM:SS",
    "trainer.val_check_interval": "N|X",
}
TEXTS = {
    "config": "a recipe or a file of yours, several stack; the later one wins, and flags win "
    "over all.",
    "print_config": "print the whole configuration as it would be used, and exit.",
    "seed_everything": "seed of all that is drawn; true draws one.",
    "ckpt_path": "a state to go on from, in another folder than the run's own; --resume auto finds "
    "that of the run itself.",
    "data": "the data set.",
    "trainer.accelerator": "where to compute.",
    "trainer.strategy": "how several devices share the work; all blocks on each (auto), or "
    "consecutive blocks on consecutive devices.",
    "trainer.devices": "how many devices, -1 for all, or which, [0, 2].",
    "trainer.num_nodes": "machines.",
    "trainer.precision": "of the arithmetic; 32-true where null. Those of 16 bits that are not "
    "bf16 are refused.",
    "trainer.logger": "in the place of Weights & Biases; metrics.csv is written in any case.",
    "trainer.callbacks": "what else happens around training; the arguments of the last one follow "
    "as --trainer.callbacks.KEY VALUE.",
    "trainer.fast_dev_run": "so many batches of each part for a trial, which leaves no file; true "
    "for one.",
    "trainer.max_epochs": "end after so many epochs; -1 for no end.",
    "trainer.min_epochs": "epochs before a callback may end the run.",
    "trainer.max_steps": "end after so many batches; -1 for no such end.",
    "trainer.min_steps": "batches before a callback may end the run.",
    "trainer.max_time": "end after this time; all parts of a run together count, and its "
    "state is saved.",
    "trainer.limit_train_batches": "batches an epoch, or a part up to 1.0; learning-rate "
    "curves follow.",
    "trainer.limit_val_batches": "batches of a validation, or a part up to 1.0; 0 for none.",
    "trainer.limit_test_batches": "batches to test on, or the part of them up to 1.0.",
    "trainer.limit_predict_batches": "batches to predict, or the part of them up to 1.0.",
    "trainer.val_check_interval": "batches from one validation to the next, or the part of an "
    "epoch up to 1.0; a duration DD:HH:MM:SS too.",
    "trainer.check_val_every_n_epoch": "epochs from one validation to the next; null counts "
    "batches across epochs by val_check_interval.",
    "trainer.num_sanity_val_steps": "batches of a trial validation before training.",
    "trainer.log_every_n_steps": "batches from one row of metrics.csv to the next; 50 where null.",
    "trainer.enable_checkpointing": "last.ckpt, and what callbacks keep.",
    "trainer.enable_progress_bar": "the bar.",
    "trainer.enable_model_summary": "Lightning's table of modules, beside ours of blocks.",
    "trainer.deterministic": "only deterministic algorithms of PyTorch; warn where there is none.",
    "trainer.benchmark": "let cuDNN try its algorithms and take the fastest.",
    "trainer.inference_mode": "evaluate under torch.inference_mode rather than no_grad.",
    "trainer.use_distributed_sampler": "of no effect: the data's own sampler divides the batches.",
    "trainer.profiler": "where the time goes, by Lightning's profilers.",
    "trainer.detect_anomaly": "PyTorch's search for what made a gradient not finite; slow.",
    "trainer.plugins": "Lightning's plugins, by class path.",
    "trainer.sync_batchnorm": "of no effect: norms are synchronised in any case.",
    "trainer.reload_dataloaders_every_n_epochs": "make the loaders anew every so many epochs.",
    "trainer.default_root_dir": "the run's folder, runs/DATE_TIME_NAME where it is not given.",
    "trainer.enable_autolog_hparams": "of Lightning's loggers; W&B gets the configuration anyway.",
}


def say_it_our_way(parser: Any) -> None:
    """Put `TEXTS` in the place of Lightning's in the parser of a verb."""
    for action in parser._actions:
        if action.dest in TEXTS:
            action.help = TEXTS[action.dest].replace("%", "%%")
