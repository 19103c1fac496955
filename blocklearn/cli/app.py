"""The command line: fit, validate, test, predict."""

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

import blocklearn.data
import blocklearn.objectives
import blocklearn.optim  # noqa: F401  (imported so that their classes can be named without a path)
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.callbacks.export_backbone import ExportBackbone
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.callbacks.progress_bar import BlockProgressBar
from blocklearn.callbacks.run_settings import RunSettings
from blocklearn.callbacks.save_run_config import SaveRunConfig, written
from blocklearn.callbacks.stop_on_signal import StopOnSignal, Stopped
from blocklearn.callbacks.write_features import WriteFeatures
from blocklearn.cli.parser import CommandParser, first_reason
from blocklearn.cli.trainer import BlocklearnTrainer
from blocklearn.cli.verbs import DESCRIPTION, TRAINER_VERBS
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.launch import asks_for_several, is_first_process, one_of
from blocklearn.distributed.lost import complain_of_lost_processes, started_by_first_process
from blocklearn.distributed.strategy import IsolatedStrategy
from blocklearn.errors import UserError
from blocklearn.evaluation.fine_tune import run_fine_tune
from blocklearn.evaluation.frame_probe import run_frame_probe
from blocklearn.evaluation.linear_probe import ProbeRow, ProbeSettings, run_linear_probe
from blocklearn.interop.checkpoint_io import StreamingCheckpointIO
from blocklearn.reporting.loggers import (
    MetricsCSV,
    WandbSettings,
    build_wandb,
    finish_wandb,
    log_probe,
)
from blocklearn.reporting.plots import plot_accuracy
from blocklearn.reporting.results import ProbeResults, write_results
from blocklearn.reporting.tables import print_blocks, print_probe, print_validation
from blocklearn.runs.ending import ending
from blocklearn.runs.refusals import refuse_flags, refuse_plan, refuse_seed
from blocklearn.runs.resume import go_on_from
from blocklearn.runs.room import require_room
from blocklearn.runs.run_folder import RESULTS, UNTRAINED, RunFolder
from blocklearn.training.trainer_parts import OF_TRAINING
from blocklearn.weights.checkpoint import STRUCTURE, as_large_as, is_checkpoint, read_weights


class BlocklearnCLI(LightningCLI):
    """LightningCLI over `BlockwiseModule` and any `KeyedDataModule`, with a folder for every run.

    Args:
        args: one of `TRAINER_VERBS`, and its arguments.
    """

    folder: RunFolder

    def __init__(self, args: list[str]) -> None:
        self.arguments = args
        super().__init__(
            BlockwiseModule,
            KeyedDataModule,
            trainer_class=BlocklearnTrainer,
            save_config_callback=SaveRunConfig,
            trainer_defaults={"enable_model_summary": False, "num_sanity_val_steps": 0},
            seed_everything_default=0,
            parser_kwargs={
                "prog": "blocklearn",
                "description": DESCRIPTION,
                args[0]: {"description": TRAINER_VERBS[args[0]]},
            },
            parser_class=CommandParser,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=args,
        )

    def subcommands(self) -> dict[str, set[str]]:
        """The verb that is asked for alone: building the parsers of all takes as long as
        parsing."""
        own = {
            "model",
            "datamodule",
            "dataloaders",
            "train_dataloaders",
            "val_dataloaders",
            "weights_only",
        }
        evaluation = own | {"ckpt_path", "verbose"}
        skipped = {
            "fit": own,
            "validate": evaluation,
            "test": evaluation,
            "predict": evaluation | {"return_predictions"},
            "isolation": own,
        }
        return {self.arguments[0]: skipped[self.arguments[0]]}

    def add_arguments_to_parser(self, parser: Any) -> None:
        if self.arguments[0] == "fit":
            parser.add_argument(
                "--resume",
                type=Literal["auto"] | None,
                help=(
                    "auto: begin, or go on from the latest checkpoint where "
                    "--trainer.default_root_dir holds one; the same command does both, for "
                    "schedulers that start it again."
                ),
            )
            parser.add_argument(
                "--accept_changes",
                type=bool,
                default=False,
                help=(
                    "Go on with settings that differ from those of the run so far; they are "
                    "written to changes.csv."
                ),
            )
        else:
            parser.add_argument(
                "--trust_config",
                type=bool,
                default=False,
                help=(
                    "The configuration beside the checkpoint may name any class: it is your own, "
                    "or you know its author."
                ),
            )
        if self.arguments[0] == "predict":
            parser.add_argument(
                "--split", type=str, default="all", help="Of the data: all, train, test, ..."
            )
        parser.add_class_arguments(ProbeSettings, "probe")
        parser.add_class_arguments(WandbSettings, "wandb")

    def parse_arguments(self, parser: Any, args: Any) -> None:
        self.config = parser.parse_args(args)
        refuse_seed(self.config[self.arguments[0]].seed_everything)

    def _parse_ckpt_path(self) -> None:
        """Lightning would merge the checkpoint's hyper-parameters over the configuration; ours
        holds none."""

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        self.size_limit: AbstractContextManager[None] = nullcontext()
        refuse_flags(config.trainer, trains=self.subcommand == "fit")
        if self.subcommand == "fit":
            self.plain = yaml.safe_load(written(self._parser(self.subcommand), config))
            self.going_on = go_on_from(config, self.plain)
            config.ckpt_path = self.going_on.checkpoint
            return
        self.save_config_callback = None
        if self.subcommand == "isolation":
            config.data.init_args.batch_size = min(config.data.init_args.batch_size, 8)
            config.data.init_args.num_workers = 0
            config.model.network.compile = False  # minutes, for a few samples
            return
        if config.model.checkpoint:
            content = read_weights(config.model.checkpoint)
            if is_checkpoint(content):
                # It says how its backbone is grouped, so that any of them can be probed under one
                # configuration.
                config.model.blocks = [list(block) for block in content[STRUCTURE].blocks]
                self.size_limit = as_large_as(content, config.model.checkpoint)
        else:
            print("No --model.checkpoint: the network has its initial weights.", file=sys.stderr)

    def instantiate_classes(self) -> None:
        try:
            with self.size_limit:
                super().instantiate_classes()
        except UserError:
            raise
        # a value out of range; jsonargparse lists what it tried, the class' own words first
        except ValueError as error:
            raise UserError(first_reason(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """With network and data there, so that what does not fit together is told before a folder
        is made."""
        config = self._get(self.config_init, "trainer")
        if self.subcommand == "fit" and is_first_process():
            refuse_plan(self.model, self.datamodule, config)
        self.folder = self._choose_folder(self.config[self.subcommand])
        self.folder.require_no_links()
        if self.subcommand not in ("fit", "isolation"):
            RunFolder(self._evaluation_folder).require_no_links()
        try:
            trainer = self._build_trainer(config, kwargs)
        except (
            MisconfigurationException,
            ImportError,
            TypeError,
            ValueError,
            RuntimeError,
        ) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error
        if self.subcommand == "fit" and is_first_process():
            require_room(self.model, self.folder.path)
        return trainer

    def _build_trainer(self, config: Any, kwargs: dict[str, Any]) -> Trainer:
        callbacks = list(config["callbacks"] or [])
        if self.subcommand != "fit":
            callbacks = [c for c in callbacks if not isinstance(c, OF_TRAINING)]
        if config["enable_progress_bar"] is not False and not any(
            isinstance(c, ProgressBar) for c in callbacks
        ):
            callbacks.append(BlockProgressBar())
        if self.subcommand == "fit" and not config["fast_dev_run"]:
            callbacks.append(ExportBackbone(self.folder.backbone))
            kept = (
                LastCheckpoint(self.folder.checkpoints)
                if config["enable_checkpointing"] is not False
                else None
            )
            callbacks += [
                RunSettings(self.plain, self.going_on, self.folder.changes),
                StopOnSignal(kept),
            ]
            callbacks += [kept] if kept else []
        if self.subcommand == "predict":
            self.writer = WriteFeatures(self.folder.features, {"checkpoint": self._checkpoint})
            callbacks.append(self.writer)
        if self.subcommand == "test":  # the trainer's own budget was the training run's
            kwargs |= {
                "max_epochs": self._get(self.config_init, "probe").epochs,
                "max_steps": -1,
                "min_steps": None,
            }
        if self.subcommand != "fit":
            kwargs["enable_checkpointing"] = False
            asked = {arg.partition("=")[0] for arg in self.arguments}
            shortened = {
                name: value for name, value in WHOLE.items() if f"--trainer.{name}" not in asked
            }
            kwargs |= (
                shortened  # how a training run was cut short says nothing about its evaluation
            )
        plugins = config["plugins"] or []
        plugins = [
            *(plugins if isinstance(plugins, list) else [plugins]),
            StreamingCheckpointIO(self._checkpoint_folders),
        ]
        own = (
            self.folder.path if self.subcommand in ("fit", "isolation") else self._evaluation_folder
        )
        return super().instantiate_trainer(
            **{
                "default_root_dir": str(own),
                "callbacks": callbacks,
                "plugins": plugins,
                "logger": self._loggers(config["logger"]),
                **self._processes(config),
                **kwargs,
            }
        )

    def after_instantiate_classes(self) -> None:
        if self.subcommand == "predict" and self.datamodule.frame_labels:
            raise UserError(
                f"predict writes one label a sample, the target {self.datamodule.target} has one a "
                "frame; choose another --data.target"
            )
        if is_first_process():
            print_blocks(self.model)
            if self.subcommand != "isolation":
                print(f"Run folder: {self.folder.path}")

    def _checkpoint_folders(self) -> list[Path]:
        """Where this run keeps checkpoints: its own folder, and where the user's ModelCheckpoints
        were told to."""
        told = [
            getattr(callback, "dirpath", None) for callback in self.trainer.checkpoint_callbacks
        ]
        return [self.folder.path, *(Path(path) for path in told if path)]

    @property
    def _goes_on(self) -> bool:
        """Whether this is the run of its folder again, rather than a new one from another run's
        state."""
        state = self.config[self.subcommand].get("ckpt_path")
        return bool(state) and Path(state).resolve().is_relative_to(self.folder.path.resolve())

    def _run_subcommand(self, subcommand: str) -> None:
        failed = True
        try:
            self._run_and_explain(subcommand)
            failed = False
            unreadable = self.datamodule.unreadable_told() if is_first_process() else None
            if unreadable:
                print(unreadable, file=sys.stderr)
        finally:
            finish_wandb(self.trainer.loggers, failed)

    def _run_and_explain(self, subcommand: str) -> None:
        """Run it; whatever ends it early is told in a line, with a status of its own."""
        try:
            super()._run_subcommand(subcommand)
        except Stopped as stop:
            if is_first_process():
                name = signal.Signals(stop.number).name
                print(
                    f"blocklearn: stopped by {name}{self._how_to_go_on(stop.saved)}",
                    file=sys.stderr,
                )
            # A process that rank 0 started must not look as if it had failed: its end would take
            # rank 0 with it.
            sys.exit(
                stop.status
                if is_first_process() or not started_by_first_process(self.trainer)
                else 0
            )
        except SystemExit as stop:  # Lightning leaves so, with status 0 or 1
            if not self.trainer.interrupted:
                raise
            if is_first_process():
                print(f"blocklearn: interrupted{self._how_to_go_on()}", file=sys.stderr)
            sys.exit(143 if isinstance(stop, SIGTERMException) else 130)
        except Exception as error:
            complain_of_lost_processes(self.trainer, error)
            raise

    def _how_to_go_on(self, saved: bool = False) -> str:
        if self.subcommand != "fit":
            return f"; {self.subcommand} begins anew when it is asked for again"
        if not self.folder.last_checkpoint.exists():
            return " before the first checkpoint; a run has to begin anew"
        state = f" at batch {self.trainer.global_step}, its state is saved" if saved else ""
        return (
            f"{state}; to go on from {'there' if saved else 'the last checkpoint'}, repeat the "
            f"command with --trainer.default_root_dir {self.folder.path} --resume auto"
        )

    def fit(
        self, model: BlockwiseModule, datamodule: KeyedDataModule, ckpt_path: str | None = None
    ) -> None:
        self.trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
        if not is_first_process():
            return
        for line in ending(self.trainer, self.going_on.step):
            print(line)
        written = [
            str(path)
            for path in (self.folder.last_checkpoint, self.folder.backbone)
            if path.exists()
        ]
        if written:  # a trial run leaves nothing
            print(f"Trained: {' and '.join(written)}")
        if self.folder.last_checkpoint.exists():
            print(f"Next: blocklearn test --model.checkpoint {self.folder.last_checkpoint}")

    def validate(self, model: BlockwiseModule, datamodule: KeyedDataModule) -> None:
        """The local losses on held-out samples, one line a block."""
        measured = self.trainer.validate(model, datamodule=datamodule, verbose=False)
        if is_first_process():
            print_validation(
                {name: value for metrics in measured for name, value in metrics.items()}
            )

    def predict(self, model: BlockwiseModule, datamodule: KeyedDataModule) -> None:
        """A vector for every sample of a split, or of all."""
        datamodule.predict_split = self.config[self.subcommand].split
        self.trainer.predict(model, datamodule=datamodule, return_predictions=False)
        if is_first_process():
            print(self.writer.told())

    def test(self, model: BlockwiseModule, datamodule: KeyedDataModule) -> list[ProbeRow]:
        """Fit a linear probe on every stage, or fine-tune the backbone; test, and report."""
        settings: ProbeSettings = self._get(self.config_init, "probe")
        datamodule.list_unreadable_in(self._evaluation_folder)
        evaluate = run_frame_probe if datamodule.frame_labels else run_linear_probe
        rows = (run_fine_tune if settings.finetune else evaluate)(
            model, datamodule, settings, self.trainer
        )
        results = ProbeResults(
            checkpoint=self._checkpoint,
            dataset=datamodule.title,
            target=datamodule.target,
            num_classes=datamodule.num_classes,
            settings=asdict(settings),
            rows=rows,
        )
        folder, title = (
            self._evaluation_folder,
            f"{settings.title(datamodule.target)} on {datamodule.title}",
        )
        table, picture = folder / RESULTS, folder / "accuracy_by_block.png"
        write_results(results, table)
        plot_accuracy({"": rows}, title, picture)
        log_probe(self.trainer.loggers, rows, picture)
        print_probe(rows, title)
        print(f"Written: {table} and {picture}")
        return rows

    @property
    def _checkpoint(self) -> str | None:
        checkpoint = self.config[self.subcommand].model.checkpoint
        return str(checkpoint) if checkpoint else None

    @property
    def _evaluation_folder(self) -> Path:
        """Where the results go. Those of an untrained network lie beside the ones of a run in the
        same folder."""
        name = self._get(self.config_init, "probe").name(self.datamodule.target)
        beside = self._checkpoint is None and self.folder.last_checkpoint.exists()
        return self.folder.evaluation(f"{name}{UNTRAINED}" if beside else name)

    def _choose_folder(self, config: Any) -> RunFolder:
        if self.subcommand == "isolation":
            return RunFolder(Path(config.trainer.default_root_dir or "."))
        if config.trainer.default_root_dir:
            return RunFolder(Path(config.trainer.default_root_dir))
        if self.subcommand != "fit" and config.model.checkpoint:
            return RunFolder.of_checkpoint(Path(config.model.checkpoint))
        if not is_first_process():
            return self._folder_of_first_process()
        folder = RunFolder.new(
            f"{config.model.backbone}_{config.data.class_path.rsplit('.', 1)[-1].lower()}"
        )
        os.environ[FOLDER_VARIABLE] = str(folder.path.absolute())
        return folder

    @staticmethod
    def _folder_of_first_process() -> RunFolder:
        if FOLDER_VARIABLE not in os.environ:
            raise UserError(
                "--trainer.default_root_dir is needed where the processes do not start one another"
            )
        return RunFolder(Path(os.environ[FOLDER_VARIABLE]))

    def _processes(self, config: Any) -> dict[str, Any]:
        """The strategy for several processes, where the user did not choose one; probing and
        writing features take one."""
        if not asks_for_several(config["accelerator"], config["devices"], config["num_nodes"]):
            return {}
        if self.subcommand in ("test", "predict"):
            print(f"{self.subcommand} runs on one device.", file=sys.stderr)
            return {"devices": one_of(config["devices"]), "num_nodes": 1, "strategy": "auto"}
        return {"strategy": IsolatedStrategy()} if config["strategy"] == "auto" else {}

    def _loggers(self, chosen: Any) -> Any:
        """The user's own, and a CSV file always; W&B where the user did not choose."""
        if chosen is False or self.subcommand not in ("fit", "test"):
            return [MetricsCSV(self.folder.path)] if self.subcommand == "fit" else False
        folder = self.folder.path if self.subcommand == "fit" else self._evaluation_folder
        loggers: list[Any] = [MetricsCSV(folder)]
        if chosen in (None, True):
            settings: WandbSettings = self._get(self.config_init, "wandb")
            config = self.config[self.subcommand].as_dict()
            loggers.append(
                build_wandb(settings, self.folder.path, config, str(self.subcommand), self._goes_on)
            )
        else:
            loggers += chosen if isinstance(chosen, list) else [chosen]
        return [logger for logger in loggers if logger is not None]


WHOLE = {
    **{f"limit_{part}_batches": 1.0 for part in ("train", "val", "test", "predict")},
    "overfit_batches": 0.0,
    "fast_dev_run": False,
    "max_time": None,
}
FOLDER_VARIABLE = (
    "BLOCKLEARN_RUN_FOLDER"  # how the first process tells those it starts where the run lies
)
