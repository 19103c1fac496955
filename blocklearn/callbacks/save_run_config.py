"""Keep a run's configuration beside it."""

from pathlib import Path
from typing import Any

from lightning.pytorch.cli import SaveConfigCallback

from blocklearn.runs.received import ROOTS
from blocklearn.runs.run_folder import RunFolder
from blocklearn.weights.atomic_write import replacing

OF_ONE_COMMAND = ("config", "ckpt_path", "resume", "accept_changes", "then_test", "save_as")


class SaveRunConfig(SaveConfigCallback):
    """`config.yaml` in the run's folder: everything that `--config` needs to repeat the run."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Nothing yet: a run that is resumed wrongly must not lose its configuration."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if self.already_saved or not trainer.is_global_zero:
            return
        with replacing(RunFolder(Path(trainer.default_root_dir)).config) as unfinished:
            unfinished.write_text(written(self.parser, _from_anywhere(self.config)))
        self.already_saved = True


def written(parser: Any, config: Any) -> str:
    """A configuration as YAML: all that repeats a run, without what belongs to one command."""
    config = config.clone()
    for key in OF_ONE_COMMAND:
        config.pop(key, None)
    return parser.dump(config, skip_unset=False)


def _from_anywhere(config: Any) -> Any:
    """With the folders of the data as they are found from any working folder."""
    config = config.clone()
    for name in ROOTS:
        key = f"data.init_args.{name}"
        given = config.get(key)
        if given and "://" not in str(given) and Path(str(given)).exists():
            config[key] = str(Path(str(given)).absolute())
    return config
