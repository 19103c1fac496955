"""The command that tests a run."""

from blocklearn.runs.run_folder import RunFolder


def command_of_test(folder: RunFolder, *more: str) -> list[str]:
    """What follows `blocklearn`: the test of a run's last checkpoint, as its configuration says.

    Args:
        folder: of the run.
        more: words that change how it is tested, e.g. `--evaluation KNN`.
    """
    return [
        *("test", "--config", str(folder.config), *more),
        *("--model.checkpoint", str(folder.last_checkpoint)),
        *("--trainer.default_root_dir", str(folder.path), "--wandb.mode", "disabled"),
    ]
